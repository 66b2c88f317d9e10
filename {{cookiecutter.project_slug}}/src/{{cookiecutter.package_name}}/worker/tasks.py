"""The tasks of this service. The name of a task is stored: renaming one strands its jobs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, select, update

from ..auth.models import LoginSession, User
from ..database import utcnow
from ..mail import Mail
from .models import Job, State
from .outbox import Context, task

PART: Final = 5_000  # rows deleted at a time


@task(attempts=8)
async def send_welcome(context: Context, *, user_id: UUID) -> None:
    """Welcome somebody who has registered."""
    user = await context.session.get(User, user_id)
    if user is None:
        return  # has left already
    await context.session.commit()  # nothing is held while the mail server takes its time
    mail = Mail(
        to=user.email,
        subject=f"Welcome to {context.title}",
        paragraphs=(
            # Nothing that was typed by whoever registered: the address may be another's.
            "Your account is ready. If it was not you who registered, please tell us.",
        ),
    )
    await context.mailer.send(mail, key=context.job_id)


@task(cron="17 3 * * *", timeout=600)
async def purge(context: Context) -> None:
    """Delete logins that have ended, with their refresh tokens, and jobs of long ago."""
    now = utcnow()
    ended = or_(LoginSession.expires_at < now, LoginSession.revoked_at.is_not(None))
    await _delete(context, LoginSession, ended)
    long_ago = now - timedelta(seconds=context.settings.job_retention)
    await _delete(context, Job, Job.finished_at < long_ago)
    # No worker knows what to do with these.
    values = {"state": State.FAILED, "finished_at": now, "error_type": "UnknownTask"}
    strange = Job.state == State.QUEUED, Job.created_at < long_ago, Job.attempts == 0
    await context.session.execute(update(Job).where(*strange).values(values))


async def _delete(
    context: Context, model: type[LoginSession | Job], condition: ColumnElement[bool]
) -> None:
    # In parts, as no statement may take longer than the limit of all of them.
    part = select(model.id).where(condition).limit(PART)
    deleted: Sequence[UUID] = (UUID(int=0),)
    while deleted:
        statement = delete(model).where(model.id.in_(part)).returning(model.id)
        deleted = (await context.session.scalars(statement)).all()
        await context.session.commit()
