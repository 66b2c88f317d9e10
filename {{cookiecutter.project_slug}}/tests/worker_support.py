"""What the tests of jobs share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import FastAPI
from sqlalchemy import select, update

from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.worker.models import Job, State
from {{ cookiecutter.package_name }}.worker.outbox import (
    Arguments,
    Context,
    Task,
    enqueue,
)
from {{ cookiecutter.package_name }}.worker.runner import Worker
from {{ cookiecutter.package_name }}.worker.scheduler import Scheduler

# The types of what a task does, and of the fixtures that make something.
Body = Callable[[Context], Awaitable[Any]]
NewService = Callable[..., AbstractAsyncContextManager["Service"]]
NewTask = Callable[..., Task[[]]]


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 - that another process changes
            await asyncio.sleep(0.01)


@dataclass
class MailServer:
    """Takes mail, once it is open."""

    port: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    offered: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    rejects_recipients: bool = False

    @property
    def url(self) -> str:
        """SMTP_URL of this server."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        """Accept a recipient, or name it in the rejection."""
        if self.rejects_recipients:
            return f"550 <{address}> is unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message."""
        self.offered += 1
        await self.opened.wait()
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        return "250 OK"


@dataclass
class Service:
    """The application on a database of its own, whose jobs are seen."""

    app: FastAPI

    async def add(
        self, task: Task[Arguments], *none: Arguments.args, **arguments: Arguments.kwargs
    ) -> UUID:
        """Enqueue a job."""
        async with self.app.state.services.database.write_session() as session:
            job = enqueue(session, task, *none, **arguments)
        return job.id

    async def jobs(self, **values: object) -> list[Job]:
        """The jobs with these values, oldest first."""
        async with self.app.state.services.database.read_session() as session:
            found = await session.scalars(select(Job).filter_by(**values).order_by(Job.id))
            return list(found)

    async def job(self, job_id: UUID) -> Job:
        """One job as it is now."""
        [job] = await self.jobs(id=job_id)
        return job

    async def becomes(self, job_id: UUID, state: State, attempts: int = 1) -> Job:
        """Wait until a job has this state after so many attempts."""

        async def reached() -> bool:
            job = await self.job(job_id)
            return (job.state, job.attempts) == (state, attempts)

        await until(reached)
        return await self.job(job_id)

    async def pass_time(self) -> None:
        """Make the time come at which the scheduler sees to each job that has not ended."""
        async with self.app.state.services.database.write_session() as session:
            await session.execute(update(Job).values(due_at=utcnow(), not_before=None))

    async def send_again(self) -> None:
        """Let that time come, and the scheduler do so."""
        await self.pass_time()
        await Scheduler(self.app)._send(utcnow())

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """Run a worker until the block ends."""
        worker, stop = Worker(self.app), asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await running
