"""The transactions in which administrators change data, and the audit log."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from ..audit.service import record as record_event
from ..auth.principal import Principal
from ..auth.service import begin_administration, is_recently_authenticated
from ..exceptions import PermissionDeniedError
from ..state import get_state

# The services of these models write their own audit events.
AUDITED_MODELS: Final = {"user", "login-session", "personal-access-token", "service-account"}

log = structlog.stdlib.get_logger(__name__)


@dataclass
class AdminTransaction:
    """A transaction of an administrator, with its lines of the audit log."""

    session: AsyncSession
    admin: Principal
    lines: list[dict[str, object]] = field(default_factory=list)

    def record(self, action: str, model: str, key: object, fields: Iterable[str] = ()) -> None:
        """Record a change, with the names of changed fields but not their values."""
        line = {"action": action, "model": model, "object_id": str(key)}
        self.lines.append({**line, "fields": sorted(fields) or None})
        if model not in AUDITED_MODELS:
            target = f"{model}:{key}"
            record_event(self.session, f"admin.{action}", None, by=self.admin, target=target)


@asynccontextmanager
async def transaction(request: Request) -> AsyncIterator[AdminTransaction]:
    """Open a transaction that locks the accounts of all administrators; then write the audit log.

    Hash passwords before: the locks are held until the transaction ends.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator, or logged in too long ago.
    """
    admin: Principal = request.state.principal
    state = get_state(request.app)
    if not is_recently_authenticated(state.settings, admin):
        raise PermissionDeniedError("Log in again to make changes.")
    async with state.database.write_session() as session:
        await begin_administration(session, admin)
        tx = AdminTransaction(session, admin)
        yield tx
    for line in tx.lines:
        log.info("admin action", user_id=str(admin.id), **line)
