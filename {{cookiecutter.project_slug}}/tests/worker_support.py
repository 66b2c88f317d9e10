"""Shared parts of the tests of jobs."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from pgqueuer import JobId
from sqlalchemy import Row, select, text

from {{ cookiecutter.package_name }}.settings import Settings
from {{ cookiecutter.package_name }}.state import get_state
from {{ cookiecutter.package_name }}.worker.models import (
    Status,
    jobs,
    queue_log,
)
from {{ cookiecutter.package_name }}.worker.queue import (
    Arguments,
    Context,
    Task,
    enqueue,
)
from {{ cookiecutter.package_name }}.worker.runner import run_jobs

from support import environment_of

# The types of a task's body, and of the fixtures that create something.
Job = Row[*tuple[Any, ...]]
Body = Callable[[Context], Awaitable[Any]]
NewService = Callable[..., AbstractAsyncContextManager["Service"]]
NewTask = Callable[..., Task[[]]]


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 - that another process changes
            await asyncio.sleep(0.01)


@contextmanager
def worker(settings: Settings, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process until the block ends."""
    module = "{{ cookiecutter.package_name }}.cli"
    command = [sys.executable, "-m", module, "worker"]
    env = environment_of(settings) | environment
    with (
        log.open("ab") as output,
        subprocess.Popen(command, env=env, stdout=output, stderr=output) as process,  # noqa: S603
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass
class Service:
    """The application on a database of its own, and its jobs."""

    app: FastAPI

    def __post_init__(self) -> None:
        """Set shortcuts to the database and settings."""
        self.database = get_state(self.app).database
        self.settings = get_state(self.app).settings

    async def add(
        self, task: Task[Arguments], *none: Arguments.args, **arguments: Arguments.kwargs
    ) -> JobId:
        """Enqueue a job."""
        async with self.database.write_session() as session:
            return await enqueue(session, task, *none, **arguments)

    async def jobs(self, **values: object) -> list[Job]:
        """Return the unfinished jobs with these values, oldest first."""
        async with self.database.read_session() as session:
            found = await session.execute(select(jobs).filter_by(**values).order_by(jobs.c.id))
            return list(found)

    async def job(self, job_id: int) -> Job:
        """Return an unfinished job."""
        [job] = await self.jobs(id=job_id)
        return job

    async def outcomes(self, job_id: int) -> list[str]:
        """Return the statuses that the log has of a job, oldest first."""
        statement = select(queue_log.c.status).where(queue_log.c.job_id == job_id)
        async with self.database.read_session() as session:
            return list(await session.scalars(statement.order_by(queue_log.c.id)))

    async def becomes(self, job_id: int, status: Status, attempts: int = 1) -> Job:
        """Wait until a job has this status after this number of attempts."""

        async def is_reached() -> bool:
            found = await self.jobs(id=job_id)
            return [(job.status, job.attempts) for job in found] == [(status, attempts)]

        await until(is_reached)
        return await self.job(job_id)

    async def is_done(self, job_id: int) -> bool:
        """Return whether a job has succeeded."""
        return "successful" in await self.outcomes(job_id)

    async def finish(self, job_id: int) -> None:
        """Wait until a job has succeeded."""
        await until(lambda: self.is_done(job_id))

    async def execute(self, statement: str, **values: object) -> None:
        """Execute SQL in a transaction."""
        async with self.database.write_session() as session:
            await session.execute(text(statement), values)

    async def make_due(self) -> None:
        """Let the next attempt of each job start now."""
        await self.execute("UPDATE pgqueuer SET execute_after = now()")

    async def worker_of(self, job_id: int) -> UUID:
        """Return the id of the worker that has picked the job."""
        statement = text("SELECT queue_manager_id FROM pgqueuer WHERE id = :id")
        async with self.database.read_session() as session:
            return UUID(str(await session.scalar(statement, {"id": job_id})))

    async def lose_heartbeats(self, worker_id: UUID) -> None:
        """Make a worker look dead."""
        await self.execute(
            "UPDATE pgqueuer SET heartbeat = now() - interval '1 minute'"
            " WHERE queue_manager_id = :worker_id",
            worker_id=worker_id,
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run a worker until the block ends."""
        shutdown = asyncio.Event()
        worker = asyncio.create_task(run_jobs(self.app, shutdown))
        try:
            yield
        finally:
            shutdown.set()
            await worker
