"""Metrics of jobs: attempts are counted where they end, the queue is measured by each worker."""

from prometheus_client import Gauge
from sqlalchemy import extract, func, select
from sqlalchemy.exc import SQLAlchemyError

from ..database import Database
from ..instruments import JOBS
from ..settings import Settings
from ..worker.models import Status, queue
from ..worker.queue import TASKS
from .server import serve

UNFINISHED = Gauge("jobs_unfinished", "Jobs in the queue, by status.", ["status"])
WAIT = Gauge("job_wait_seconds", "Time since the oldest queued job could have started.")

_COUNTS = select(queue.c.status, func.count()).group_by(queue.c.status)
_WAIT = select(extract("epoch", func.now() - func.min(queue.c.execute_after))).where(
    queue.c.status == Status.QUEUED, queue.c.execute_after <= func.now()
)


def serve_jobs(settings: Settings) -> None:
    """Serve the metrics of a worker process."""
    # A counter that begins with its first event would hide that event from every rate.
    for task in TASKS:
        for outcome in ("done", "retry", "failed"):
            JOBS.labels(task, outcome)
    serve(settings)


async def measure_queue(database: Database) -> None:
    """Set the gauges of the queue; remove their values while the database is unavailable."""
    try:
        async with database.read_connection() as connection:
            rows = await connection.execute(_COUNTS)
            counts: dict[str, int] = dict(rows.all())
            WAIT.set(await connection.scalar(_WAIT) or 0)
        for status in Status:
            UNFINISHED.labels(status).set(counts.get(status, 0))
    except (SQLAlchemyError, OSError):
        UNFINISHED.clear()
        WAIT.set(float("nan"))
