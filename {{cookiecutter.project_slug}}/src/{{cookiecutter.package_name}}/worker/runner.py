"""The worker process."""

import asyncio
import logging
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pgqueuer
import structlog
from asgi_correlation_id import correlation_id
from asyncpg import InterfaceError, InternalClientError, PostgresError
from fastapi import FastAPI
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries, RetryRequested
from pgqueuer.errors import FailingListenerError
from pgqueuer.executors import AbstractEntrypointExecutor
from pgqueuer.models import Context as JobContext
from pgqueuer.models import Schedule, TracebackRecord
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

{% if cookiecutter.use_prometheus -%}
from ..database import Database
from ..instruments import JOB_DURATION, JOBS
from ..metrics.jobs import measure_queue, serve_jobs
{% endif -%}
from ..state import get_state
{% if cookiecutter.use_opentelemetry -%}
from ..tracing.context import job_span
{% endif -%}
from . import tasks  # noqa: F401 - registers the scheduled tasks
from .queue import JSON_OBJECT, TASKS, Context, Task, job_queries

log = structlog.stdlib.get_logger("job")

# Jobs of a killed worker are picked up by another one after at most
# HEARTBEAT_TIMEOUT + POLL_INTERVAL, 15 seconds.
HEARTBEAT_TIMEOUT: Final = timedelta(seconds=10)
POLL_INTERVAL: Final = timedelta(seconds=5)
REPORT_INTERVAL: Final = 15.0
RECONNECT_INTERVAL: Final = 1.0
FIRST_DELAY: Final = 10  # seconds until the second attempt; each further one waits 4 times longer
MAX_DELAY: Final = 3600
# The worker touches this file regularly; a liveness probe checks its modification time.
LIVENESS_FILE: Final = Path(tempfile.gettempdir()) / "worker-alive"
DATABASE_ERRORS: Final = (
    OSError,
    SQLAlchemyError,
    PostgresError,
    InterfaceError,
    InternalClientError,  # a query on a connection that was broken during another one
    FailingListenerError,
)
LEASE: Final = (
    "SELECT id FROM pgqueuer WHERE id = $1 AND status = 'picked' AND updated = $2 FOR UPDATE"
)
# Count the attempts started since the job was last queued. In all but the current one, the worker
# died.
STARTS: Final = text(
    "SELECT count(*) FILTER (WHERE status = 'picked') FROM pgqueuer_log WHERE job_id = :id AND id >"
    " (SELECT max(id) FROM pgqueuer_log WHERE job_id = :id AND status = 'queued')"
)


class JobFailedError(Exception):
    """The job has used up its attempts. The text is the type of the last error."""


class WorkerLostError(Exception):
    """The worker died at every attempt."""


class LeaseLostError(Exception):
    """Another worker has taken the job over, because this one sent no heartbeats."""


async def holds_lease(queries: Queries, job: Job) -> bool:
    """Lock the job until the transaction ends, unless another worker has taken it over.

    Returns:
        whether the job still belongs to this worker.
    """
    return bool(await queries.driver.fetch(LEASE, job.id, job.updated))


class LeasedQueries(Queries):
    """PgQueuer's queries, but for jobs that another worker has taken over: they stay unchanged."""

    async def retry_job(
        self, job: Job, delay: timedelta, traceback_record: TracebackRecord | None
    ) -> None:
        """Enqueue the job again, if this worker still holds its lease."""
        if await holds_lease(self, job):
            await super().retry_job(job, delay, traceback_record)

    async def log_jobs(self, job_status: list[tuple[Job, Any, TracebackRecord | None]]) -> None:
        """Store the outcome of the jobs whose leases this worker still holds."""
        held = [entry for entry in job_status if await holds_lease(self, entry[0])]
        if held:
            await super().log_jobs(held)


@dataclass
class TaskExecutor(AbstractEntrypointExecutor):
    """Run a task in a transaction that also completes its job.

    PgQueuer stores the text of exceptions, which may quote personal data, so it only gets types.
    """

    task: Task[...]
    app: FastAPI

    async def execute(self, job: Job, _: JobContext) -> None:
        """Run one attempt.

        Raises:
            RetryRequested: the job is to be tried again.
            JobFailedError: the job has used up its attempts.
        """
        headers = {name: str(value) for name, value in (job.headers or {}).items()}
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task=self.task.name, job_id=str(job.id))
        if "user_id" in headers:
            structlog.contextvars.bind_contextvars(user_id=headers["user_id"])
        correlation_id.set(headers.get("request_id"))
        started = time.perf_counter_ns()
        error: BaseException | None = None
        try:
{%- if cookiecutter.use_opentelemetry %}
            with job_span(self.task.name, job.attempts + 1, headers.get("traceparent")):
                await self._attempt(job)
{%- else %}
            await self._attempt(job)
{%- endif %}
        except BaseException as raised:  # noqa: BLE001 - PgQueuer would delete a cancelled job
            error = raised
        duration, outcome = time.perf_counter_ns() - started, self._outcome(job, error)
        write = {"failed": log.error, "retry": log.warning}.get(outcome, log.info)
        cause = error if outcome in {"failed", "retry"} else None
        write("job", outcome=outcome, attempt=job.attempts + 1, duration=duration, exc_info=cause)
{%- if cookiecutter.use_prometheus %}
        JOBS.labels(self.task.name, outcome).inc()
        JOB_DURATION.labels(self.task.name).observe(duration / 1e9)
{%- endif %}
        if error is None:
            return
        error_type = type(error).__name__
        if outcome == "failed":
            raise JobFailedError(error_type)
        delay = min(FIRST_DELAY * 4**job.attempts, MAX_DELAY) * random.uniform(0.5, 1.5)  # noqa: S311
        seconds = delay if outcome == "retry" else 0
        raise RetryRequested(timedelta(seconds=seconds), reason=error_type)

    async def _attempt(self, job: Job) -> None:
        try:
            await self._run_task(job)
        except Exception as error:
            if await self._has_lost_lease(job):
                raise LeaseLostError from error
            raise

    async def _run_task(self, job: Job) -> None:
        state = get_state(self.app)
        transaction = state.database.write_session(queued=False)
        async with asyncio.timeout(self.task.timeout), transaction as session:
            if await session.scalar(STARTS, {"id": job.id}) > self.task.max_attempts:
                raise WorkerLostError
            context = Context(session, state.mailer, state.settings, job.id)
            await self.task.function(context, **JSON_OBJECT.validate_json(job.payload or b"{}"))
            queries = await job_queries(session)
            if not await holds_lease(queries, job):
                raise LeaseLostError
            await queries.log_jobs([(job, "successful", None)])

    async def _has_lost_lease(self, job: Job) -> bool:
        try:
            async with get_state(self.app).database.write_session() as session:
                return not await holds_lease(await job_queries(session), job)
        except DATABASE_ERRORS:
            return False  # unknown; LeasedQueries checks it again before changing the job

    def _outcome(self, job: Job, error: BaseException | None) -> str:
        if error is None:
            return "done"
        if isinstance(error, LeaseLostError):
            return "lease_lost"
        if not isinstance(error, Exception):
            return "released"
        is_last = isinstance(error, WorkerLostError) or job.attempts + 1 >= self.task.max_attempts
        return "failed" if is_last else "retry"


async def run_worker(app: FastAPI) -> None:
    """Run jobs and schedules until SIGTERM or SIGINT."""
    shutdown = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, shutdown.set)
{%- if cookiecutter.use_prometheus %}
    serve_jobs(get_state(app).settings)
{%- endif %}
    async with app.router.lifespan_context(app):
{%- if cookiecutter.use_prometheus %}
        reports = asyncio.create_task(_report(get_state(app).database))
{%- else %}
        reports = asyncio.create_task(_report())
{%- endif %}
        try:
            await run_jobs(app, shutdown)
        finally:
            reports.cancel()
            await asyncio.wait([reports])


async def run_jobs(app: FastAPI, shutdown: asyncio.Event) -> None:
    """Run jobs until the event is set.

    Jobs that still run after GRACEFUL_TIMEOUT are canceled and re-enqueued.
    """
    # The executor logs failed jobs, so drop PgQueuer's log lines about them.
    logging.getLogger("pgqueuer").addFilter(_is_not_logged)
    logging.getLogger("pgqueuer").setLevel("WARNING")
    worker = asyncio.create_task(_run_until(app, shutdown))
    stopping = asyncio.create_task(shutdown.wait())
    await asyncio.wait([worker, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.wait([worker], timeout=get_state(app).settings.graceful_timeout)
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker
    log.info("worker stopped")


async def _run_until(app: FastAPI, shutdown: asyncio.Event) -> None:
    state = get_state(app)
    concurrency = state.settings.worker_concurrency
    is_waiting = False

    @asynccontextmanager
    async def manager() -> AsyncIterator[PgQueuer]:
        nonlocal is_waiting
        async with state.database.write_engine.connect() as connection:
            raw_connection = await connection.get_raw_connection()
            driver = AsyncpgDriver(raw_connection.driver_connection)
            pgq = PgQueuer(driver, queries=LeasedQueries(driver))
            for task in TASKS.values():
                _register(pgq, task, app)
            log.info("worker started", concurrency=concurrency)
            is_waiting = False
            try:
                yield pgq
            finally:
                # SQLAlchemy has not seen errors of this connection: do not return it to the pool.
                await connection.invalidate()

    while not shutdown.is_set():
        try:
            await pgqueuer.run(
                manager,
                batch_size=concurrency // 2,  # at most half of max_concurrent_tasks
                max_concurrent_tasks=concurrency,
                dequeue_timeout=POLL_INTERVAL,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                shutdown_on_listener_failure=True,
                shutdown=shutdown,
            )
        except DATABASE_ERRORS as error:
            if not is_waiting:
                log.warning("worker waits for the database", error=error)
            is_waiting = True
            with suppress(TimeoutError):
                await asyncio.wait_for(shutdown.wait(), RECONNECT_INTERVAL)


def _register(pgq: PgQueuer, task: Task[...], app: FastAPI) -> None:
    """Have PgQueuer run a task, and enqueue it when it is due."""

    @pgq.entrypoint(
        task.name,
        on_failure="hold",
        executor_factory=lambda parameters: TaskExecutor(parameters, task, app),
    )
    async def run(_: Job) -> None:
        """Do nothing: the executor runs the task."""

    if task.cron is not None:

        @pgq.schedule(task.name, task.cron)
        async def enqueue_scheduled(_: Schedule) -> None:
            # Skip this run if the previous job is still unfinished.
            await pgq.qm.queries.enqueue(
                task.name, None, dedupe_key=f"cron:{task.name}", on_conflict="skip"
            )


{% if cookiecutter.use_prometheus -%}
async def _report(database: Database) -> None:
    while True:
        with suppress(OSError):  # another user's file, on a machine that is shared
            LIVENESS_FILE.touch()
        await measure_queue(database)
        await asyncio.sleep(REPORT_INTERVAL)
{%- else -%}
async def _report() -> None:
    while True:
        with suppress(OSError):  # another user's file, on a machine that is shared
            LIVENESS_FILE.touch()
        await asyncio.sleep(REPORT_INTERVAL)
{%- endif %}


def _is_not_logged(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], JobFailedError))
