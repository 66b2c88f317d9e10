"""The tasks of this service. The name of a task is stored: renaming one strands its jobs."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, or_

from ..auth.models import LoginSession
from ..database import utcnow
from ..mail import Mail
from ..users.models import User
from .models import Job
from .outbox import Context, task


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
            f"Hello {user.full_name or user.email},",
            "your account is ready. If it was not you who registered, please tell us.",
        ),
    )
    await context.mailer.send(mail, key=context.job_id)


@task(cron="17 3 * * *", timeout=600)
async def purge(context: Context) -> None:
    """Delete logins that have ended, with their refresh tokens, and jobs of long ago."""
    now = utcnow()
    ended = or_(LoginSession.expires_at < now, LoginSession.revoked_at.is_not(None))
    await context.session.execute(delete(LoginSession).where(ended))
    kept = timedelta(seconds=context.settings.job_retention)
    await context.session.execute(delete(Job).where(Job.finished_at < now - kept))
