"""What administrators do with jobs."""

from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Reader, Record
from ..errors import Problem
from ..pagination import paginate, shown
from .models import Job, State
from .outbox import add
from .schemas import JobQuery, JobRead

log = structlog.stdlib.get_logger(__name__)

LIST = select(*shown(Job, JobRead))


async def list_jobs(reader: Reader, page: JobQuery) -> tuple[Sequence[Record], str | None]:
    """The jobs that match, and the cursor of the next page."""
    statement = LIST
    if page.state is not None:
        statement = statement.where(Job.state == page.state)
    if page.task is not None:
        statement = statement.where(Job.task == page.task)
    return await paginate(reader, statement, page)


async def read_job(reader: Reader, job_id: UUID) -> Record:
    """One job.

    Raises:
        Problem: 404, there is none.
    """
    job = await reader.row(LIST.where(Job.id == job_id))
    if job is None:
        raise Problem(404, "No such job.")
    return job


async def retry_job(session: AsyncSession, job_id: UUID) -> Job:
    """Queue a failed job anew, with all its attempts.

    Raises:
        Problem: 404, no such job; 409, it has not failed.
    """
    job = await session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise Problem(404, "No such job.")
    if job.state is not State.FAILED:
        raise Problem(409, "Only a job that has failed can be retried.")
    job.state, job.attempts = State.QUEUED, 0
    job.finished_at = job.not_before = None
    add(session, job)
    await session.flush()
    log.info("job retried", task=job.task, job_id=str(job.id))
    return job
