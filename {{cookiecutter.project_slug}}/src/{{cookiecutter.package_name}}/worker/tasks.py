"""Tasks of no single domain. Jobs are stored with the task's name: do not rename a task."""

from datetime import timedelta
from typing import Final

from pgqueuer.models import TracebackRecord
from sqlalchemy import ColumnElement, and_, select

from ..auth.retention import expired_rows
from ..database import delete_in_batches, utcnow
from .models import Status, queue, queue_log, queue_statistics
from .queue import TASKS, Context, job_queries, task

BATCH: Final = 5_000  # jobs that one run fails


class UnknownTaskError(Exception):
    """No worker has the task of the job."""


@task(cron="17 3 * * *", timeout=600)
async def purge(context: Context) -> None:
    """Delete expired rows, and old jobs with their logs.

    Old jobs of unknown tasks fail.
    """
    now = utcnow()
    for table, expired in expired_rows(context.settings, now):
        await delete_in_batches(context.session, table, expired)
    before = now - timedelta(seconds=context.settings.job_retention)
    failed = and_(queue.c.status == Status.FAILED, queue.c.updated < before)
    await delete_in_batches(context.session, queue, failed)
    aggregated = and_(queue_log.c.created < before, queue_log.c.aggregated)
    await delete_in_batches(context.session, queue_log, aggregated)
    await delete_in_batches(context.session, queue_statistics, queue_statistics.c.created < before)
    await _fail_unknown(context, queue.c.created < before)


async def _fail_unknown(context: Context, condition: ColumnElement[bool]) -> None:
    statement = select(queue.c.id).where(
        condition, queue.c.status == Status.QUEUED, queue.c.entrypoint.not_in(TASKS)
    )
    queries = await job_queries(context.session)
    for job_id in await context.session.scalars(statement.limit(BATCH)):
        job = await queries.queue_job_by_id(job_id)
        if job is not None:
            error = UnknownTaskError(UnknownTaskError.__name__)
            record = TracebackRecord.from_exception(error, job_id)
            await queries.log_jobs([(job, "failed", record)])
