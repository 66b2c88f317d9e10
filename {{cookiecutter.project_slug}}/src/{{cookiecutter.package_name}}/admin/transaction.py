"""The transactions in which administrators change data, and the audit log."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from ..auth.service import Principal
from ..dependencies import get_database
from ..users.service import begin_administration

log = structlog.stdlib.get_logger(__name__)


@dataclass
class AdminTransaction:
    """A transaction of an administrator, with its lines of the audit log."""

    session: AsyncSession
    admin: Principal
    lines: list[dict[str, object]] = field(default_factory=list)

    def record(self, action: str, model: str, key: object, fields: Iterable[str] = ()) -> None:
        """Add a line to the audit log, with the names of changed fields but not their values."""
        line = {"action": action, "model": model, "object_id": str(key)}
        self.lines.append({**line, "fields": sorted(fields) or None})


@asynccontextmanager
async def transaction(request: Request) -> AsyncIterator[AdminTransaction]:
    """Open a transaction that locks the accounts of all administrators; then write the audit log.

    Hash passwords before: the locks are held until the transaction ends.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
    """
    admin: Principal = request.state.principal
    database = await get_database(request)
    async with database.write_session() as session:
        await begin_administration(session, admin.id)
        tx = AdminTransaction(session, admin)
        yield tx
    for line in tx.lines:
        log.info("admin action", user_id=str(admin.id), **line)
