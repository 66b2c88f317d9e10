"""What administrators do with jobs."""

from pgqueuer import JobId
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..exceptions import ConflictError, NotFoundError
from ..pagination import RowPage, paginate
from .models import Status, jobs, queue
from .queue import job_queries
from .schemas import JobQuery

_JOBS = select(jobs)


async def list_jobs(session: AsyncSession, query: JobQuery) -> RowPage:
    """List the unfinished jobs that match the query."""
    statement = _JOBS
    if query.status is not None:
        statement = statement.where(jobs.c.status == query.status)
    if query.task is not None:
        statement = statement.where(jobs.c.task == query.task)
    return await paginate(session, statement, query)


async def get_job(session: AsyncSession, job_id: int) -> Row[*tuple[object, ...]]:
    """Return an unfinished job.

    Raises:
        NotFoundError: there is no such job.
    """
    job = (await session.execute(_JOBS.where(jobs.c.id == job_id))).one_or_none()
    if job is None:
        raise NotFoundError("Job not found.")
    return job


async def retry_job(session: AsyncSession, job_id: int) -> None:
    """Enqueue a failed job again, with all its attempts.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: the job has not failed.
    """
    statement = select(queue.c.status).where(queue.c.id == job_id).with_for_update()
    status = await session.scalar(statement)
    if status is None:
        raise NotFoundError("Job not found.")
    if status != Status.FAILED:
        raise ConflictError("Only a failed job can be retried.")
    queries = await job_queries(session)
    await queries.requeue_jobs([JobId(job_id)])
