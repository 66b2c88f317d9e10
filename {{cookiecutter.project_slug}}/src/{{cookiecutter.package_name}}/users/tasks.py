"""Emails about invitations and changed addresses."""

import secrets
from uuid import UUID

from sqlalchemy import select, update

from ..auth.account_tokens import issue
from ..auth.models import AccountToken, Purpose, User
from ..auth.sessions import hash_token
from ..auth.tasks import MAX_ATTEMPTS, find_user, send_account_exists, send_link
{%- if not cookiecutter.use_worker %}
from ..background import Context, enqueue, task
{%- endif %}
from ..database import utcnow
{%- if cookiecutter.use_worker %}
from ..worker.queue import Context, enqueue, task
{%- endif %}


@task(max_attempts=MAX_ATTEMPTS)
async def send_invitation(context: Context, *, user_id: UUID) -> None:
    """Email an invited user a link to set the first password."""
    user = await find_user(context, User.id == user_id)
    if user is None or user.password_hash:
        return
    ttl = context.settings.invitation_ttl
    token = await issue(context.session, user, Purpose.INVITATION, user.email, ttl)
    await send_link(context, user.email, "invitation", "accept-invitation", token, ttl)


@task(max_attempts=MAX_ATTEMPTS)
async def send_email_change(context: Context, *, user_id: UUID, email: str) -> None:
    """Email a link to confirm a new address to it; if it has an account, notify its owner."""
    session = context.session
    user = await find_user(context, User.id == user_id)
    if user is None:
        return
    owner_id = await session.scalar(select(User.id).where(User.email == email))
    if owner_id is not None:
        await enqueue(session, send_account_exists, user_id=owner_id)
        return
    ttl = context.settings.email_verification_ttl
    token = await issue(session, user, Purpose.EMAIL_CHANGE, email, ttl)
    await send_link(context, email, "email_change", "confirm-email", token, ttl)


@task(max_attempts=MAX_ATTEMPTS)
async def send_email_undo(context: Context, *, token_id: UUID) -> None:
    """Email a link that undoes a change of address to the former address.

    Args:
        token_id: the row that reserves the former address. Its token is made here.
    """
    token = secrets.token_urlsafe(32)
    email = await context.session.scalar(
        update(AccountToken)
        .where(AccountToken.id == token_id, AccountToken.expires_at > utcnow())
        .values(token_hash=hash_token(token))
        .returning(AccountToken.email)
    )
    if email is not None:
        ttl = context.settings.email_undo_ttl
        await send_link(context, email, "email_undo", "undo-email-change", token, ttl)
