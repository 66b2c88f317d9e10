"""Run tasks in this process, after the transaction that enqueued them has been committed.

Unfinished tasks are lost when the process dies.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Concatenate, Final, Generic, ParamSpec, Self
from uuid import UUID, uuid4

import structlog
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .auth.retention import expired_rows
from .database import Database, delete_in_batches, utcnow
from .mail import Mailer
from .settings import Settings

log = structlog.stdlib.get_logger(__name__)

Arguments = ParamSpec("Arguments")

CONCURRENCY: Final = 4
MAX_TASKS: Final = 1_000  # that run or wait
TIMEOUT_SECONDS: Final = 30  # for an attempt
RETRY_DELAYS: Final = (1, 5)  # seconds; the last one repeats
SHUTDOWN_SECONDS: Final = 10
FIRST_PURGE: Final = 600  # seconds after the start
PURGE_INTERVAL: Final = 86_400


@dataclass(frozen=True)
class Context:
    """The first argument of every task.

    Attributes:
        session: a transaction that is committed when the task has finished. Commit it before slow
            work elsewhere, to release its connection.
        job_id: the same at each attempt; use it as an idempotency key for other services.
    """

    session: AsyncSession
    mailer: Mailer
    settings: Settings
    job_id: UUID


@dataclass(frozen=True)
class Task(Generic[Arguments]):
    """A function that runs in the background."""

    name: str
    function: Callable[Concatenate[Context, Arguments], Awaitable[None]]
    max_attempts: int


@dataclass(frozen=True)
class Job:
    """A task with its arguments."""

    id: UUID
    task: Task[...]
    arguments: dict[str, object]


def task(
    *, max_attempts: int = 3
) -> Callable[[Callable[Concatenate[Context, Arguments], Awaitable[None]]], Task[Arguments]]:
    """Turn a function into a task.

    Args:
        max_attempts: number of attempts before the task fails.
    """

    def register(
        function: Callable[Concatenate[Context, Arguments], Awaitable[None]],
    ) -> Task[Arguments]:
        return Task(function.__name__, function, max_attempts)

    return register


async def enqueue(
    session: AsyncSession,
    task: Task[Arguments],
    *positional: Arguments.args,
    **arguments: Arguments.kwargs,
) -> None:
    """Run a task once the session's transaction is committed; if it is rolled back, do nothing.

    Args:
        arguments: of the task, by keyword.

    Raises:
        TypeError: an argument was passed by position.
        LookupError: no `Runner` has been created for the database.
    """
    if positional:
        raise TypeError("the arguments of a task must be passed by keyword")
    if "runner" not in session.info:
        raise LookupError("no Runner has been created for the database")
    session.info.setdefault("jobs", []).append(Job(uuid4(), task, arguments))


@event.listens_for(Session, "after_commit")
def _submit(session: Session) -> None:
    if not session.in_nested_transaction():  # the release of a savepoint
        for job in session.info.pop("jobs", ()):
            session.info["runner"].submit(job)


@event.listens_for(Session, "after_rollback")
def _discard(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop("jobs", None)


class Runner:
    """Run tasks, and delete expired rows daily.

    An async context manager, which waits up to SHUTDOWN_SECONDS for unfinished tasks.
    """

    def __init__(self, database: Database, mailer: Mailer, settings: Settings) -> None:
        database.write_sessions.configure(info={"runner": self})
        self._database, self._mailer, self._settings = database, mailer, settings
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._purging = asyncio.create_task(self._purge_daily())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._purging.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await self.join()
        for running in self._running:
            log.error("background task dropped", task=running.get_name())
            running.cancel()
        await asyncio.wait([self._purging, *self._running])

    def submit(self, job: Job) -> None:
        """Start a task, unless MAX_TASKS are unfinished."""
        if len(self._running) >= MAX_TASKS:
            log.error("background task dropped", task=job.task.name)
            return
        running = asyncio.create_task(self._run(job), name=job.task.name)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def join(self) -> None:
        """Wait until no task is unfinished."""
        while self._running:
            await asyncio.wait(self._running)

    async def purge(self) -> None:
        """Delete expired rows."""
        async with self._database.write_session() as session:
            for table, condition in expired_rows(self._settings, utcnow()):
                await delete_in_batches(session, table, condition)

    async def _run(self, job: Job) -> None:
        structlog.contextvars.bind_contextvars(task=job.task.name, job_id=str(job.id))
        attempt = 1
        while True:
            try:
                async with self._slots, asyncio.timeout(TIMEOUT_SECONDS):
                    await self._attempt(job)
            except Exception as error:
                if attempt >= job.task.max_attempts:
                    log.exception("background task failed", attempt=attempt)
                    return
                log.warning("background task is retried", attempt=attempt, error=error)
            else:
                return
            await asyncio.sleep(RETRY_DELAYS[min(attempt, len(RETRY_DELAYS)) - 1])
            attempt += 1

    async def _attempt(self, job: Job) -> None:
        async with self._database.write_session(queued=False) as session:
            context = Context(session, self._mailer, self._settings, job.id)
            await job.task.function(context, **job.arguments)

    async def _purge_daily(self) -> None:
        await asyncio.sleep(FIRST_PURGE)
        while True:
            try:
                await self.purge()
            except Exception:
                log.exception("purge failed")
            await asyncio.sleep(PURGE_INTERVAL)
