"""Emails about accounts.

Their tokens are created here, when a message is sent, so that no queue or log contains one.
"""

from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select

from ..audit.models import Action
from ..audit.service import record
{%- if not cookiecutter.use_worker %}
from ..background import Context, task
{%- endif %}
from ..mail import Mail
{%- if cookiecutter.use_worker %}
from ..worker.queue import Context, task
{%- endif %}
from .account_tokens import issue
from .models import Purpose, User

MAX_ATTEMPTS: Final = {{ 8 if cookiecutter.use_worker else 3 }}


class Notice(StrEnum):
    """The changes that owners are notified of. The value is the subject of the email."""

    PASSWORD_CHANGED = "Your password has been changed"  # noqa: S105 - not a secret
    PASSWORD_RESET = "Your password has been reset"  # noqa: S105
    EMAIL_CHANGED = "Your email address has been changed"
    FACTOR_ADDED = "An authenticator app has been added to your account"
    FACTOR_REMOVED = "An authenticator app has been removed from your account"
    RECOVERY_CODE_USED = "A recovery code has been used to log in to your account"
    RECOVERY_CODES_REPLACED = "Your recovery codes have been replaced"
    TOKEN_CREATED = "A personal access token has been created for your account"  # noqa: S105
    ACCOUNT_DELETED = "Your account has been deleted"


@task(max_attempts=MAX_ATTEMPTS)
async def send_verification(context: Context, *, user_id: UUID) -> None:
    """Send a link that verifies the email address of a new account."""
    user = await find_user(context, User.id == user_id)
    if user is not None:
        await _send_verification(context, user)


@task(max_attempts=MAX_ATTEMPTS)
async def resend_verification(context: Context, *, email: str, address: str | None) -> None:
    """Send a link that verifies an email address, if an account has it and it is not verified.

    Args:
        address: of the client that requested it.
    """
    user = await find_user(context, User.email == email)
    if user is not None and user.email_verified_at is None:
        await _send_verification(context, user)
        action = Action.EMAIL_VERIFICATION_REQUESTED  # after sending, which may be repeated
        record(context.session, action, user.id, address=address)


@task(max_attempts=MAX_ATTEMPTS)
async def send_password_reset(context: Context, *, email: str, address: str | None) -> None:
    """Send a link that sets a new password, if an account has the email address.

    Args:
        address: of the client that requested it.
    """
    user = await find_user(context, User.email == email)
    if user is not None:
        await _send_password_reset(context, user, "password_reset")
        action = Action.PASSWORD_RESET_REQUESTED  # after sending, which may be repeated
        record(context.session, action, user.id, address=address)


@task(max_attempts=MAX_ATTEMPTS)
async def send_account_exists(context: Context, *, user_id: UUID) -> None:
    """Notify the owner of an account that its email address was used to register another one."""
    user = await find_user(context, User.id == user_id)
    if user is not None:
        await _send_password_reset(context, user, "account_exists")


@task(max_attempts=MAX_ATTEMPTS)
async def send_notice(
    context: Context, *, user_id: UUID, notice: str, email: str | None = None
) -> None:
    """Notify the owner of an account of a change.

    An address that is not verified gets no notice, because it may be that of another person.

    Args:
        notice: a `Notice`, as text so that a queued message outlives a change of its wording.
        email: the verified address before the change, if the change deleted or replaced it.
    """
    if email is None:
        condition = and_(User.id == user_id, User.email_verified_at.is_not(None))
        user = await find_user(context, condition)
        if user is None:
            return
        email = user.email
    await context.session.commit()  # releases the connection while the mail server is slow
    mail = Mail(to=email, template="notice", values={"notice": notice})
    await context.mailer.send(mail, key=f"notice-{context.job_id}")


async def send_link(
    context: Context, to: str, template: str, page: str, token: str, ttl: int
) -> None:
    """Commit, and send a message with a link to a page of the web application.

    The token is in the fragment, which browsers send to no server and in no Referer header.

    Args:
        ttl: seconds until the token expires.
    """
    await context.session.commit()  # releases the connection while the mail server is slow
    values = {"link": f"{context.settings.app_url}/{page}#token={token}", "ttl": ttl}
    mail = Mail(to=to, template=template, values=values)
    await context.mailer.send(mail, key=f"{template}-{context.job_id}")


async def find_user(context: Context, condition: ColumnElement[bool]) -> User | None:
    """Return the active account that a message is about, or None."""
    user: User | None = await context.session.scalar(select(User).where(condition, User.is_active))
    return user


async def _send_verification(context: Context, user: User) -> None:
    ttl = context.settings.email_verification_ttl
    token = await issue(context.session, user, Purpose.EMAIL_VERIFICATION, user.email, ttl)
    await send_link(context, user.email, "verification", "verify-email", token, ttl)


async def _send_password_reset(context: Context, user: User, template: str) -> None:
    ttl = context.settings.password_reset_ttl
    token = await issue(context.session, user, Purpose.PASSWORD_RESET, user.email, ttl)
    await send_link(context, user.email, template, "reset-password", token, ttl)
