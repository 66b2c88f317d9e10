"""The worker: runs jobs, each in a unit of work of its own."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI
from sqlalchemy import and_, or_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from taskiq.receiver import Receiver

from ..database import Database, utcnow
{%- if cookiecutter.use_prometheus %}
from ..instruments import JOB_DURATION, JOBS
{%- endif %}
from ..settings import Settings
{%- if cookiecutter.use_opentelemetry %}
from ..tracing.context import job_span
{%- endif %}
from .models import Job, State
from .outbox import TASKS, Context, Task
from .stream import Stream

log = structlog.stdlib.get_logger("job")

# Seconds beyond its time limit after which a running job is given up: more than a worker may wait
# for a connection and for a statement.
LEASE_MARGIN: Final = 30
FIRST_DELAY: Final = 10  # seconds until the second attempt; each further one waits 4 times longer
MAX_DELAY: Final = 3600


class SupersededError(Exception):
    """The job has been taken away from this worker, which must not store anything of it."""


class WorkerLostError(Exception):
    """No worker has survived the job."""


class Worker:
    """Runs the jobs that the stream tells of, WORKER_CONCURRENCY at a time."""

    def __init__(self, app: FastAPI) -> None:
        self._title = app.title
        self._settings: Settings = app.state.services.settings
        self._database: Database = app.state.services.database
        self._mailer = app.state.mailer
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then finish what runs, or give it back when it takes longer."""
        stream = Stream(self._settings)
        for task in TASKS.values():
            stream.register_task(self._handler(task), task_name=task.name)
        receiver = Receiver(
            stream,
            run_startup=False,
            max_async_tasks=self._settings.worker_concurrency,
            wait_tasks_timeout=self._settings.graceful_timeout,
        )
        log.info("worker started", concurrency=self._settings.worker_concurrency)
        try:
            await receiver.listen(stop)
        finally:
            for running in self._running:
                running.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            await stream.shutdown()
            log.info("worker stopped")

    def _handler(self, task: Task[...]) -> Callable[[str], Awaitable[None]]:
        async def handle(job_id: str) -> None:
            job = asyncio.create_task(self._handle(task, UUID(job_id)))
            self._running.add(job)
            job.add_done_callback(self._running.discard)
            await asyncio.wait([job])
            if not job.cancelled():
                job.result()

        return handle

    async def _handle(self, task: Task[...], job_id: UUID) -> None:
        try:
            job = await self._claim(task, job_id)
            if job is not None:
                await self._run(task, job)
        except (SQLAlchemyError, OSError) as error:
            # Nothing of it is stored; the scheduler sends the job again.
            log.warning("job put off", task=task.name, job_id=str(job_id), error=error)

    async def _claim(self, task: Task[...], job_id: UUID) -> Job | None:
        """The job, if it is still to be done, and now, and nobody else is about it."""
        now = utcnow()
        # A message may come twice, and before its job's time, which must not cost an attempt.
        waits = and_(
            Job.state == State.QUEUED, or_(Job.not_before.is_(None), Job.not_before <= now)
        )
        abandoned = and_(Job.state == State.RUNNING, Job.due_at <= now)
        claim = (
            update(Job)
            .where(Job.id == job_id, or_(waits, abandoned))
            .values(
                state=State.RUNNING,
                attempts=Job.attempts + 1,
                started_at=now,
                due_at=now + timedelta(seconds=task.timeout + LEASE_MARGIN),
            )
            .returning(Job)
            .execution_options(synchronize_session=False)
        )
        async with self._database.write_session() as session:
            job: Job | None = await session.scalar(claim)
        return job

    async def _run(self, task: Task[...], job: Job) -> None:
        """One attempt, and one line about it; what the job is about may be secret."""
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task=task.name, job_id=str(job.id))
        if job.user_id is not None:
            structlog.contextvars.bind_contextvars(user_id=str(job.user_id))
        correlation_id.set(job.request_id)
        started = time.perf_counter_ns()
        failure: Exception | None = None
        try:
{%- if cookiecutter.use_opentelemetry %}
            with job_span(task.name, job.attempts, job.traceparent):
                await self._attempt(task, job)
{%- else %}
            await self._attempt(task, job)
{%- endif %}
            outcome = "done"
        except SupersededError:
            outcome = "superseded"
        except asyncio.CancelledError:
            given_back = job.attempts - 1
            outcome = await self._settle(
                job, "given back", state=State.QUEUED, due_at=utcnow(), attempts=given_back
            )
        except Exception as error:  # noqa: BLE001 - whatever a task raises is its failure
            failure = error
            outcome = await self._fail(task, job, error)
        say = log.error if outcome == "failed" else log.warning if failure else log.info
        duration = time.perf_counter_ns() - started
        say("job", outcome=outcome, attempt=job.attempts, duration=duration, exc_info=failure)
{%- if cookiecutter.use_prometheus %}
        JOBS.labels(task.name, outcome).inc()
        JOB_DURATION.labels(task.name).observe(duration / 1e9)
{%- endif %}

    async def _attempt(self, task: Task[...], job: Job) -> None:
        if job.attempts > task.attempts:
            raise WorkerLostError
        async with asyncio.timeout(task.timeout), self._database.write_session() as session:
            context = Context(session, self._mailer, self._settings, self._title, job.id)
            await task.run(context, **job.arguments)
            # Together with what the job has stored: it is done once, or not at all.
            await _mark(session, job, state=State.DONE, finished_at=utcnow(), arguments={})

    async def _fail(self, task: Task[...], job: Job, error: Exception) -> str:
        error_type = type(error).__name__[:100]
        if job.attempts >= task.attempts:
            return await self._settle(
                job, "failed", state=State.FAILED, finished_at=utcnow(), error_type=error_type
            )
        delay = min(FIRST_DELAY * 4 ** (job.attempts - 1), MAX_DELAY)
        due_at = utcnow() + timedelta(seconds=delay * random.uniform(0.5, 1.5))  # noqa: S311
        return await self._settle(
            job,
            "retry",
            state=State.QUEUED,
            due_at=due_at,
            not_before=due_at,
            error_type=error_type,
        )

    async def _settle(self, job: Job, outcome: str, **values: object) -> str:
        try:
            async with self._database.write_session() as session:
                await _mark(session, job, **values)
        except SupersededError:
            return "superseded"
        return outcome


async def _mark(session: AsyncSession, job: Job, **values: object) -> None:
    """Change the job as long as it is this worker's, by this attempt.

    Raises:
        SupersededError: it is not any more.
    """
    marked = await session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state == State.RUNNING, Job.started_at == job.started_at)
        .values(**values)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    if marked is None:
        raise SupersededError
