"""Change of an account's email address by its owner, and its undo at the former address."""

import secrets
from datetime import timedelta

import structlog

from ..audit.models import Action
from ..audit.service import record
from ..auth import mfa, personal_tokens
from ..auth.account_tokens import is_reserved, redeem
from ..auth.models import AccountToken, Purpose, User
from ..auth.principal import Principal
from ..auth.recovery import HOUR, count_mail
from ..auth.service import (
    AuthServices,
    get_user_for_update,
    reset_reauthentication,
    verify_current_password,
)
from ..auth.sessions import ClientInfo, hash_token, revoke_all_sessions
from ..auth.tasks import Notice, send_notice, send_password_reset
{%- if not cookiecutter.use_worker %}
from ..background import enqueue
{%- endif %}
from ..database import Database, explain_conflict, utcnow
from ..exceptions import ConflictError
{%- if cookiecutter.use_prometheus %}
from ..instruments import RECOVERIES
{%- endif %}
from ..settings import Settings
from ..throttle import Limit
{%- if cookiecutter.use_worker %}
from ..worker.queue import enqueue
{%- endif %}
from .schemas import EmailChange
from .service import CONFLICTS, EMAIL_TAKEN
from .tasks import send_email_change, send_email_undo

log = structlog.stdlib.get_logger(__name__)


async def request_email_change(
    database: Database, auth: AuthServices, principal: Principal, data: EmailChange
) -> None:
    """Email a link to confirm the new address to it.

    Raises:
        ServiceError: see `verify_current_password`.
    """
    password = data.password.get_secret_value()
    password_hash = await verify_current_password(database, auth, principal.id, password)
    # The counter of the mailbox does not limit messages to many mailboxes.
    limit = Limit(auth.settings.mails_per_mailbox, HOUR)
    await auth.throttle.check(f"email_change:{principal.id}", limit)
    may_email = await count_mail(auth, data.email)
    async with database.write_session() as session:
        user = await get_user_for_update(session, principal.id, password_hash)
        record(session, Action.EMAIL_CHANGE_REQUESTED, user.id, by=principal)
        if may_email:
            await enqueue(session, send_email_change, user_id=user.id, email=data.email)
    await reset_reauthentication(auth, principal.id)


async def change_email(
    database: Database, settings: Settings, principal: Principal, token: str
) -> User:
    """Change the address to the one that the token was sent to, and email a link to undo it.

    A former address that was not verified gets no link: it may be misspelled, or belong to another
    person.

    Raises:
        InvalidAccountTokenError: the token is unknown, used, expired, or of another account.
        ConflictError: the new address was taken in the meantime.
    """
    now = utcnow()
    async with database.write_session() as session:
        user, redeemed = await redeem(session, Purpose.EMAIL_CHANGE, token, user_id=principal.id)
        former = user.email if user.email_verified_at else None
        user.email, user.email_verified_at = redeemed.email, now
        with explain_conflict(CONFLICTS):
            await session.flush()
        if await is_reserved(session, user.email, ignore_user_id=user.id):
            raise ConflictError(EMAIL_TAKEN)
        record(session, Action.EMAIL_CHANGED, user.id, by=principal)
        if former:
            # The row reserves the former address, whose owner gets its token from the task.
            undo = AccountToken(
                user_id=user.id,
                purpose=Purpose.EMAIL_UNDO,
                email=former,
                token_hash=hash_token(secrets.token_urlsafe(32)),
                expires_at=now + timedelta(seconds=settings.email_undo_ttl),
            )
            session.add(undo)
            await session.flush()
            await enqueue(session, send_email_undo, token_id=undo.id)
{%- if cookiecutter.use_prometheus %}
            RECOVERIES.labels(undo.purpose, "requested").inc()
{%- endif %}
    log.info("email changed")
    return user


async def undo_email_change(database: Database, token: str, client: ClientInfo) -> None:
    """Restore the former address and end all access that was gained since the change.

    The password, the sessions, the tokens and later second factors may be an attacker's, who can
    have them without the mailbox. The owner sets a new password by a link that is emailed to the
    address.

    Raises:
        InvalidAccountTokenError: the token is unknown, used or expired.
        ConflictError: an administrator gave the address to another account.
    """
    async with database.write_session() as session:
        user, redeemed = await redeem(session, Purpose.EMAIL_UNDO, token)
        undone = user.email
        user.email, user.email_verified_at, user.password_hash = redeemed.email, utcnow(), ""
        with explain_conflict(CONFLICTS):
            await session.flush()
        await revoke_all_sessions(session, user.id)
        await personal_tokens.delete_tokens(session, user.id)
        await mfa.remove_added_since(session, user, redeemed.created_at)
        record(
            session,
            Action.EMAIL_CHANGE_UNDONE,
            user.id,
            credential="email_link",
            address=client.address,
        )
        # Its owner may have left the former mailbox because it was no longer safe.
        notice = Notice.EMAIL_CHANGED
        await enqueue(session, send_notice, user_id=user.id, notice=notice, email=undone)
        await enqueue(session, send_password_reset, email=user.email, address=client.address)
    log.info("email change undone", user_id=str(user.id))
