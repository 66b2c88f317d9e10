"""Password reset and verification of email addresses.

OWASP ASVS 5.0 section 6.4, NIST SP 800-63B-4 section 4.2.
"""

from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
{%- if not cookiecutter.use_worker %}
from ..background import enqueue
{%- endif %}
from ..database import Database, utcnow
from ..exceptions import IncorrectPasswordError, ProofRequiredError
from ..throttle import Limit, address_key
{%- if cookiecutter.use_worker %}
from ..worker.queue import enqueue
{%- endif %}
from . import personal_tokens
from .account_tokens import find, redeem
from .models import Purpose, User
from .principal import Principal
from .schemas import EmailVerification, PasswordReset, VerifiedEmail
from .service import (
    AuthServices,
    check_address_limit,
    reset_reauthentication,
    verify_current_password,
)
from .sessions import ClientInfo, hash_token, revoke_all_sessions
from .tasks import Notice, resend_verification, send_notice, send_password_reset

log = structlog.stdlib.get_logger(__name__)

HOUR: Final = 3600


async def count_mail(
    auth: AuthServices, email: str, counter: str = "mail", window: int = HOUR
) -> bool:
    """Count a message to a mailbox, and return whether MAILS_PER_MAILBOX allows it.

    The limit is the same for addresses without an account.

    Args:
        counter: messages with different counters do not count together, so that requests that
            send nothing, such as a reset without an account, do not use up other messages.
        window: seconds during which a message counts.
    """
    limit = Limit(auth.settings.mails_per_mailbox, window)
    return await auth.throttle.attempt(f"{counter}:{hash_token(email)}", limit) == 0


async def request_password_reset(
    database: Database, auth: AuthServices, email: str, client: ClientInfo
) -> None:
    """Enqueue a message with a link that sets a new password.

    Only the task looks for the account, so that a response does not reveal whether there is one.

    Raises:
        TooManyAttemptsError: too many requests of the client's address.
    """
    await check_address_limit(auth, client, "recovery")
    # So one of the counted messages still has a valid link when the limit is reached.
    window = min(HOUR, auth.settings.password_reset_ttl)
    if await count_mail(auth, email, "reset", window):
        async with database.write_session() as session:
            await enqueue(session, send_password_reset, email=email, address=client.address)


async def request_verification(
    database: Database, auth: AuthServices, email: str, client: ClientInfo
) -> None:
    """Enqueue a message with a link that verifies an address; see `request_password_reset`.

    Raises:
        TooManyAttemptsError: too many requests of the client's address.
    """
    await check_address_limit(auth, client, "recovery")
    if await count_mail(auth, email, "verification"):
        async with database.write_session() as session:
            await enqueue(session, resend_verification, email=email, address=client.address)


async def reset_password(
    database: Database, auth: AuthServices, data: PasswordReset, client: ClientInfo
) -> None:
    """Set a new password, and revoke every session and all tokens of the account.

    A second factor stays, and the next login requires it.

    Raises:
        InvalidAccountTokenError: the token is not valid.
        UnacceptablePasswordError: the new password is easy to guess. The token stays valid.
        TooManyAttemptsError: too many requests of the client's address.
        OverloadedError: too many passwords are waiting.
    """
    token, new_password = data.token.get_secret_value(), data.new_password.get_secret_value()
    await check_address_limit(auth, client, "recovery")
    # Check the token before a slow hash, which an unknown token must not cause.
    owner = await find(database, Purpose.PASSWORD_RESET, token)
    caller = address_key(client.address)
    password_hash = await auth.hasher.hash_new(new_password, owner.email, caller)
    async with database.write_session() as session:
        user, _ = await redeem(session, Purpose.PASSWORD_RESET, token)
        user.password_hash = password_hash
        user.email_verified_at = user.email_verified_at or utcnow()
        await revoke_all_sessions(session, user.id)
        await personal_tokens.delete_tokens(session, user.id)
        _record(session, Action.PASSWORD_RESET, user, client)
        await enqueue(session, send_notice, user_id=user.id, notice=Notice.PASSWORD_RESET)
    log.info("password reset", user_id=str(user.id))


async def verify_email(
    database: Database,
    auth: AuthServices,
    data: EmailVerification,
    client: ClientInfo,
    principal: Principal | None,
) -> VerifiedEmail:
    """Mark the email address of an account as verified.

    Another person may have registered the account, and then knows its password. So the caller must
    prove to own it, by a session or the password, or discard the password. Discarding it revokes
    every session and token, and sends a link that sets a new password.

    Raises:
        InvalidAccountTokenError: the token is not valid.
        ProofRequiredError: the caller has neither proved to own the account nor discarded the
            password. The token stays valid.
        IncorrectPasswordError: the password is wrong. The token stays valid.
        TooManyAttemptsError: too many attempts.
        OverloadedError: too many passwords are waiting.
    """
    token = data.token.get_secret_value()
    password = data.password.get_secret_value() if data.password else None
    await check_address_limit(auth, client, "recovery")
    owner = await find(database, Purpose.EMAIL_VERIFICATION, token)
    if password is not None:
        await verify_current_password(database, auth, owner.id, password)
    is_proven = password is not None or (principal is not None and principal.id == owner.id)
    if not (is_proven or data.discard_password):
        raise ProofRequiredError
    async with database.write_session() as session:
        user, _ = await redeem(session, Purpose.EMAIL_VERIFICATION, token)
        if password is not None and user.password_hash != owner.password_hash:
            raise IncorrectPasswordError
        user.email_verified_at = utcnow()
        _record(session, Action.EMAIL_VERIFIED, user, client)
        if not is_proven:
            user.password_hash = ""
            await revoke_all_sessions(session, user.id)
            await personal_tokens.delete_tokens(session, user.id)
            _record(session, Action.PASSWORD_DISCARDED, user, client)
            await enqueue(session, send_password_reset, email=user.email, address=client.address)
    if password is not None:
        await reset_reauthentication(auth, user.id)
    log.info("email verified", user_id=str(user.id))
    return VerifiedEmail(email=user.email, password_discarded=not is_proven)


def _record(session: AsyncSession, action: Action, user: User, client: ClientInfo) -> None:
    record(session, action, user.id, credential="email_link", address=client.address)
