"""The tasks of this service. Jobs are stored with the task's name: do not rename a task."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from pgqueuer.models import TracebackRecord
from sqlalchemy import ColumnElement, Table, and_, delete, or_, select

from ..auth.models import LoginSession, User
from ..database import utcnow
from ..mail import Mail
from .models import Status, queue, queue_log, queue_statistics
from .queue import TASKS, Context, job_queries, task

BATCH: Final = 5_000  # rows deleted by one statement, which must stay below the statement timeout


class UnknownTaskError(Exception):
    """No worker has the task of the job."""


@task(max_attempts=8)
async def send_welcome(context: Context, *, user_id: UUID) -> None:
    """Welcome a new user by email."""
    user = await context.session.get(User, user_id)
    if user is None:
        return  # the account has been deleted
    await context.session.commit()  # releases the connection while the mail server is slow
    mail = Mail(
        to=user.email,
        subject=f"Welcome to {context.title}",
        paragraphs=(
            # Nothing that the user typed: the address may belong to another person.
            "Your account is ready. If you did not register, please tell us.",
        ),
    )
    await context.mailer.send(mail, key=f"welcome-{user.id}")


@task(cron="17 3 * * *", timeout=600)
async def purge(context: Context) -> None:
    """Delete expired and revoked sessions, and old jobs with their logs.

    Old jobs of unknown tasks fail.
    """
    now = utcnow()
    ended = or_(LoginSession.expires_at < now, LoginSession.revoked_at.is_not(None))
    # The type of __table__ is FromClause, and delete() needs a Table.
    await _delete(context, LoginSession.metadata.tables[LoginSession.__tablename__], ended)
    before = now - timedelta(seconds=context.settings.job_retention)
    failed = and_(queue.c.status == Status.FAILED, queue.c.updated < before)
    await _delete(context, queue, failed)
    await _delete(context, queue_log, and_(queue_log.c.created < before, queue_log.c.aggregated))
    await _delete(context, queue_statistics, queue_statistics.c.created < before)
    await _fail_unknown(context, queue.c.created < before)


async def _delete(context: Context, table: Table, condition: ColumnElement[bool]) -> None:
    batch = select(table.c.id).where(condition).limit(BATCH)
    deleted = True
    while deleted:
        rows = await context.session.execute(
            delete(table).where(table.c.id.in_(batch)).returning(table.c.id)
        )
        deleted = bool(rows.all())
        await context.session.commit()


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
