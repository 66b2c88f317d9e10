"""The queue of jobs, counted when Prometheus asks."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import CancelledError

from fastapi import FastAPI
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from ..database import Database, utcnow
from ..instruments import JOBS
from ..worker.models import Job, State
from ..worker.outbox import TASKS
from .server import serve

SECONDS = 5  # that the count may take
UNFINISHED = (State.QUEUED, State.RUNNING)
QUEUE = {"jobs_unfinished", "job_wait_seconds"}  # counted when asked for


def serve_jobs(app: FastAPI) -> None:
    """As `serve`, for a worker or scheduler: with the queue, which each of them sees alike."""
    for task in TASKS:
        for outcome in ("done", "retry", "failed"):
            JOBS.labels(task, outcome)
    REGISTRY.register(Queue(app.state.services.database, asyncio.get_running_loop()))
    serve(app.state.services.settings)


class Queue(Collector):
    """Jobs that have not ended, by state, and how long the one waits that waits longest.

    Args:
        loop: of the database; Prometheus is answered in another thread.
    """

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._loop = loop

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """What there may be. A registry that finds no answer here asks for the numbers at once."""
        yield GaugeMetricFamily("jobs_unfinished", "Jobs in the table.", labels=["state"])
        yield GaugeMetricFamily("job_wait_seconds", "Age of the oldest job that could have begun.")

    def collect(self) -> Iterable[Metric]:
        """Ask the table; nothing while the database is away."""
        counting = self._count()
        try:
            counted = asyncio.run_coroutine_threadsafe(counting, self._loop)
        except RuntimeError:  # the loop has been closed
            counting.close()
            return
        try:
            # It ends by itself before that, and gives its connection back, unless the loop hangs.
            counts, age = counted.result(2 * SECONDS)
        except (SQLAlchemyError, OSError, CancelledError):
            counted.cancel()
            return
        jobs, wait = self.describe()
        for state in UNFINISHED:
            jobs.add_metric([state], counts.get(state, 0))
        wait.add_metric([], age)
        yield from (jobs, wait)

    async def _count(self) -> tuple[dict[State, int], float]:
        now = utcnow()
        begin = func.coalesce(Job.not_before, Job.created_at)
        async with asyncio.timeout(SECONDS), self._database.read_session() as session:
            rows = await session.execute(
                select(Job.state, func.count()).where(Job.state.in_(UNFINISHED)).group_by(Job.state)
            )
            counts = dict(rows.all())
            oldest = await session.scalar(
                select(func.min(begin)).where(Job.state == State.QUEUED, begin <= now)
            )
        return counts, (now - oldest).total_seconds() if oldest else 0
