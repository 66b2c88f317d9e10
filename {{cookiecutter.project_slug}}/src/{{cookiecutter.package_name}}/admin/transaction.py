"""The unit of work of a page that changes something, and the audit log."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import structlog
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from ..auth.service import AuthServices, Principal
from ..exceptions import ServiceError
from ..users.service import begin_administration

log = structlog.stdlib.get_logger(__name__)


class RejectedError(Exception):
    """A rule forbids it; the text is a sentence for the administrator."""


@dataclass
class AdminTransaction:
    """One transaction.

    Attributes:
        admin: who works, read at the beginning of the request by another session.
        error: why nothing may be committed.
    """

    _session: AsyncSession
    auth: AuthServices
    admin: Principal
    error: Exception | None = None
    _done: list[dict[str, object]] = field(default_factory=list)

    async def begin(self) -> AsyncSession:
        """Return the session, with the accounts of all administrators locked.

        Hash passwords before: the locks are held until the request ends.

        Raises:
            Problem: 403, the administrator is none any more.
        """
        if not self._session.in_transaction():
            await begin_administration(self._session, self.admin.id)
        return self._session

    def record(self, action: str, model: str, key: object, fields: Iterable[str] = ()) -> None:
        """Note what was done, for the audit log: names of fields, never their values."""
        what = {"action": action, "model": model, "object_id": str(key)}
        self._done.append({**what, "fields": sorted(fields) or None})

    def publish(self) -> None:
        """Write the audit log."""
        for line in self._done:
            log.info("admin action", user_id=str(self.admin.id), **line)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Keep what goes wrong in the block, as sqladmin shows any exception as a text."""
        try:
            yield
        except (ServiceError, ValidationError) as error:
            self.error = RejectedError(_sentence(error))
            raise self.error from None
        except Exception as error:
            self.error = error
            raise


@asynccontextmanager
async def transaction(
    app: FastAPI, request: Request, admin: Principal
) -> AsyncIterator[AdminTransaction]:
    """Commit what the block does, then write the audit log; nothing of both if it fails.

    Raises:
        RejectedError: a rule forbade it.
    """
    async with app.state.services.database.write_session() as session:
        work = request.state.work = AdminTransaction(session, app.state.services.auth, admin)
        yield work
        if work.error is not None:
            raise work.error
    work.publish()


def _sentence(error: ServiceError | ValidationError) -> str:
    if isinstance(error, ServiceError):
        return str(error)
    details = [(str(detail["loc"][0]), detail["msg"]) for detail in error.errors()]
    return " ".join(
        f"{name.replace('_', ' ').capitalize()}: "
        f"{message.removeprefix('Value error, ').removesuffix('.')}."
        for name, message in details
    )
