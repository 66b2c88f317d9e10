"""Invitations: accounts that an administrator creates, and whose users set the password."""

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
from ..auth.account_tokens import find, is_reserved, redeem
from ..auth.models import Purpose, User
from ..auth.principal import Principal
from ..auth.recovery import HOUR, count_mail
from ..auth.service import AuthServices
from ..auth.sessions import ClientInfo
{%- if not cookiecutter.use_worker %}
from ..background import enqueue
{%- endif %}
from ..database import Database, utcnow
from ..exceptions import ConflictError, RegistrationClosedError, TooManyAttemptsError
from ..throttle import address_key
{%- if cookiecutter.use_worker %}
from ..worker.queue import enqueue
{%- endif %}
from .schemas import InvitationAcceptance, InvitationCreate
from .service import EMAIL_TAKEN, create_user
from .tasks import send_invitation

log = structlog.stdlib.get_logger(__name__)


async def check_invitation(auth: AuthServices, email: str) -> None:
    """Check that an administrator may invite a user, and count the email.

    Raises:
        RegistrationClosedError: REGISTRATION is `closed`.
        TooManyAttemptsError: more than MAILS_PER_MAILBOX within an hour.
    """
    if auth.settings.registration == "closed":
        raise RegistrationClosedError
    if not await count_mail(auth, email):
        raise TooManyAttemptsError(retry_after=HOUR)


async def invite_user(
    session: AsyncSession, data: InvitationCreate, by: Principal | None = None
) -> User:
    """Create an account without a password, and email a link to set the password.

    An account that has no password stays as it is and gets a further email.

    Args:
        by: the administrator; None at the command line.

    Raises:
        ConflictError: the email address is taken: its account has a password or another role, or
            is not active.
    """
    user = await session.scalar(
        select(User).where(User.email == data.email).with_for_update(key_share=True)
    )
    if user is None:
        user = await create_user(session, data, "", data.role, by=by)
        if await is_reserved(session, data.email):
            raise ConflictError(EMAIL_TAKEN)
    elif user.password_hash or user.role != data.role or not user.is_active:
        raise ConflictError(EMAIL_TAKEN)
    record(session, Action.INVITATION_SENT, user.id, by=by, credential="cli")
    await enqueue(session, send_invitation, user_id=user.id)
    return user


async def accept_invitation(
    database: Database, auth: AuthServices, data: InvitationAcceptance, client: ClientInfo
) -> None:
    """Set the first password of an invited account, and mark its address as verified.

    Raises:
        InvalidAccountTokenError: the token is unknown, used or expired.
        UnacceptablePasswordError: the password is easy to guess. The token stays valid.
    """
    token, password = data.token.get_secret_value(), data.new_password.get_secret_value()
    owner = await find(database, Purpose.INVITATION, token)
    password_hash = await auth.hasher.hash_new(password, owner.email, address_key(client.address))
    async with database.write_session() as session:
        user, _ = await redeem(session, Purpose.INVITATION, token)
        user.password_hash, user.email_verified_at = password_hash, utcnow()
        if "full_name" in data.model_fields_set:
            user.full_name = data.full_name
        record(
            session,
            Action.INVITATION_ACCEPTED,
            user.id,
            credential="email_link",
            address=client.address,
        )
    log.info("invitation accepted", user_id=str(user.id))
