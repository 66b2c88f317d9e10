"""The transactions in which administrators change data, and the audit log."""

from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from ..auth.service import Principal
from ..dependencies import get_database
from ..exceptions import ServiceError, validation_message
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


async def change_by_form(request: Request, change: Awaitable[Any]) -> Any:
    """Return the result of a change whose exceptions sqladmin shows as text in the form.

    Raises:
        ServiceError: the form was rejected.
        Exception: another error; `raise_unexpected_error` raises it again.
    """
    try:
        return await change
    except ServiceError:
        raise
    except ValidationError as error:
        sentences = [
            f"{str(detail['loc'][0]).replace('_', ' ').capitalize()}: "
            f"{validation_message(detail).removesuffix('.')}."
            for detail in error.errors()
        ]
        raise ServiceError(" ".join(sentences)) from None
    except Exception as error:
        request.state.unexpected_error = error
        raise


def raise_unexpected_error(request: Request) -> None:
    """Raise the error that a form is not the place for, such as an outage of the database."""
    error: Exception | None = getattr(request.state, "unexpected_error", None)
    if error is not None:
        raise error
