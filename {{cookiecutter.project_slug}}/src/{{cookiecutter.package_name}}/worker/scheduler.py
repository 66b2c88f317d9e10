"""The scheduler: makes the jobs that are due by the clock, and sends what was not sent.

Any number may run at once: the table decides that each job is made once.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import pycron
import structlog
from fastapi import FastAPI
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ..cache.client import UnavailableError
from ..database import Database, utcnow
from .models import Job, State
from .outbox import TASKS, Outbox, add

log = structlog.stdlib.get_logger(__name__)

TICK_SECONDS: Final = 1.0
BATCH: Final = 100  # messages that Redis takes within REDIS_TIMEOUT
SEND_AGAIN: Final = timedelta(minutes=1)  # when nobody has begun the job by then
CATCH_UP: Final = timedelta(hours=1)  # what a scheduler that was away makes up for
MINUTE: Final = timedelta(minutes=1)
UNFINISHED: Final = (State.QUEUED, State.RUNNING)


class Scheduler:
    """Looks at the clock and at the table, every second."""

    def __init__(self, app: FastAPI) -> None:
        self._database: Database = app.state.services.database
        self._outbox: Outbox = app.state.outbox
        self._next_minute = _minute(utcnow() - CATCH_UP)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop."""
        log.info("scheduler started")
        works = True
        while not stop.is_set():
            try:
                await self.tick(utcnow())
                works = True
            except (SQLAlchemyError, OSError, UnavailableError) as error:
                if works:
                    log.warning("scheduler waits", error=error)
                works = False
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        log.info("scheduler stopped")

    async def tick(self, now: datetime) -> None:
        """Make and send what is due at this time."""
        while self._next_minute <= now:
            await self._make(self._next_minute)
            self._next_minute += MINUTE
        while await self._send(now) == BATCH:
            pass

    async def _make(self, minute: datetime) -> None:
        for task in TASKS.values():
            if task.cron is None or not pycron.is_now(task.cron, minute):
                continue
            with suppress(IntegrityError):  # another scheduler was first
                async with self._database.write_session() as session:
                    add(session, Job(task=task.name, key=f"{task.name} {minute:%Y-%m-%dT%H:%MZ}"))

    async def _send(self, now: datetime) -> int:
        """Send a batch of what is due; returns how many that were."""
        due = Job.state.in_(UNFINISHED), Job.due_at <= now
        async with self._database.read_session() as session:
            if await session.scalar(select(Job.id).where(*due).limit(1)) is None:
                return 0
        batch = select(Job.id).where(*due).order_by(Job.due_at).limit(BATCH)
        async with self._database.write_session() as session:
            # A running job is past its time limit: its worker is dead, or may not finish it.
            rows = await session.execute(
                update(Job)
                .where(Job.id.in_(batch.with_for_update(skip_locked=True)))
                .values(state=State.QUEUED, due_at=now + SEND_AGAIN)
                .returning(Job.id, Job.task)
                .execution_options(synchronize_session=False)
            )
            jobs = [(job_id, task) for job_id, task in rows]
            await self._outbox.send(jobs)  # before the commit: what is not sent stays due
        log.info("jobs sent again", jobs=len(jobs))
        return len(jobs)


def _minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)
