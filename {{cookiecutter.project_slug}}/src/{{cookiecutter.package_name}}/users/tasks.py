"""Emails about invitations and changed addresses."""

import secrets
from uuid import UUID

from sqlalchemy import select

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

    Each attempt has another token, because an earlier message may have been delivered.

    Args:
        token_id: the row that reserves the former address.
    """
    # Lock the account before its token, as `redeem` does, so that no copy outlives the original.
    row = (
        await context.session.execute(
            select(User, AccountToken)
            .join(AccountToken, AccountToken.user_id == User.id)
            .where(AccountToken.id == token_id, AccountToken.expires_at > utcnow())
            .with_for_update(key_share=True)
        )
    ).one_or_none()
    if row is None:
        return
    token, reserved = secrets.token_urlsafe(32), row[1]
    context.session.add(
        AccountToken(
            user_id=reserved.user_id,
            purpose=reserved.purpose,
            email=reserved.email,
            token_hash=hash_token(token),
            created_at=reserved.created_at,
            expires_at=reserved.expires_at,
        )
    )
    ttl = context.settings.email_undo_ttl
    await send_link(context, reserved.email, "email_undo", "undo-email-change", token, ttl)
