"""What administrators do with jobs."""

from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..exceptions import ConflictError, NotFoundError
from ..pagination import RowPage, paginate
from .models import Job, State
from .outbox import add
from .schemas import JobQuery

log = structlog.stdlib.get_logger(__name__)

_JOBS = select(
    Job.id,
    Job.task,
    Job.state,
    Job.attempts,
    Job.error_type,
    Job.request_id,
    Job.user_id,
    Job.created_at,
    Job.due_at,
    Job.started_at,
    Job.finished_at,
)


async def list_jobs(session: AsyncSession, query: JobQuery) -> RowPage:
    """List the jobs that match the query."""
    statement = _JOBS
    if query.state is not None:
        statement = statement.where(Job.state == query.state)
    if query.task is not None:
        statement = statement.where(Job.task == query.task)
    return await paginate(session, statement, query)


async def get_job(session: AsyncSession, job_id: UUID) -> Job:
    """Return a job.

    Raises:
        NotFoundError: there is no such job.
    """
    job = await session.get(Job, job_id)
    if job is None:
        raise NotFoundError("Job not found.")
    return job


async def retry_job(session: AsyncSession, job_id: UUID) -> Job:
    """Enqueue a failed job again, with all its attempts.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: the job has not failed.
    """
    job = await session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise NotFoundError("Job not found.")
    if job.state is not State.FAILED:
        raise ConflictError("Only a failed job can be retried.")
    job.state, job.attempts = State.QUEUED, 0
    job.finished_at = job.not_before = None
    add(session, job)
    await session.flush()
    log.info("job retried", task=job.task, job_id=str(job.id))
    return job
