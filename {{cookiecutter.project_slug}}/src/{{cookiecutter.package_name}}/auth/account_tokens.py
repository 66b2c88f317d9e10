"""One-time tokens that are sent by email: 256 random bits, stored as their hash."""

import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database, utcnow
from ..exceptions import InvalidAccountTokenError
{%- if cookiecutter.use_prometheus %}
from ..instruments import RECOVERIES
{%- endif %}
from .models import AccountToken, Purpose, User
from .sessions import hash_token

# These tokens are valid only as long as the account has the address that they were sent to.
SENT_TO_CURRENT_ADDRESS: Final = frozenset(
    {Purpose.PASSWORD_RESET, Purpose.EMAIL_VERIFICATION, Purpose.INVITATION}
)


async def issue(session: AsyncSession, user: User, purpose: Purpose, email: str, ttl: int) -> str:
    """Store the hash of a new token and return the token. Earlier tokens stay valid.

    Args:
        email: the address that the token is sent to.
        ttl: seconds until the token expires.
    """
    token = secrets.token_urlsafe(32)
    session.add(
        AccountToken(
            user_id=user.id,
            purpose=purpose,
            email=email,
            token_hash=hash_token(token),
            expires_at=utcnow() + timedelta(seconds=ttl),
        )
    )
    await session.flush()
{%- if cookiecutter.use_prometheus %}
    RECOVERIES.labels(purpose, "requested").inc()
{%- endif %}
    return token


async def find(database: Database, purpose: Purpose, token: str) -> User:
    """Return the account of a valid token, which can still be redeemed.

    Raises:
        InvalidAccountTokenError: see `redeem`.
    """
    async with database.read_session() as session:
        user = await session.scalar(_select_user(purpose, token))
    if user is None:
{%- if cookiecutter.use_prometheus %}
        RECOVERIES.labels(purpose, "rejected").inc()
{%- endif %}
        raise InvalidAccountTokenError
    return user


async def redeem(
    session: AsyncSession, purpose: Purpose, token: str, *, user_id: UUID | None = None
) -> tuple[User, AccountToken]:
    """Use a token up: lock and return its account, and delete the account's other tokens.

    A token is used up only if the transaction commits.

    Args:
        user_id: accept only a token of this account.

    Raises:
        InvalidAccountTokenError: the token is unknown, used, expired, of another purpose or
            account, or was sent to a former address.
    """
    statement = _select_user(purpose, token)
    if user_id is not None:
        statement = statement.where(User.id == user_id)
    # Lock the account before its token, as a login and the cascade of a deletion do.
    user = await session.scalar(statement.with_for_update(of=User, key_share=True))
    redeemed = None
    if user is not None:
        # One statement decides, so that exactly one of several concurrent requests succeeds.
        redeemed = await session.scalar(
            delete(AccountToken)
            .where(AccountToken.token_hash == hash_token(token), AccountToken.purpose == purpose)
            .returning(AccountToken)
        )
    if user is None or redeemed is None:
{%- if cookiecutter.use_prometheus %}
        RECOVERIES.labels(purpose, "rejected").inc()
{%- endif %}
        raise InvalidAccountTokenError
    undo_since = redeemed.created_at if purpose is Purpose.EMAIL_UNDO else None
    await delete_tokens(session, user.id, undo_since=undo_since)
{%- if cookiecutter.use_prometheus %}
    RECOVERIES.labels(purpose, "completed").inc()
{%- endif %}
    return user, redeemed


async def delete_tokens(
    session: AsyncSession, user_id: UUID, *, undo_since: datetime | None = None
) -> None:
    """Delete the account's tokens, except those that undo a change of address.

    An attacker who has changed the address could otherwise prevent the owner from undoing it.

    Args:
        undo_since: also delete the tokens that undo a change from this time on.
    """
    is_kept: ColumnElement[bool] = AccountToken.purpose == Purpose.EMAIL_UNDO
    if undo_since is not None:
        is_kept = and_(is_kept, AccountToken.created_at < undo_since)
    await session.execute(
        delete(AccountToken).where(AccountToken.user_id == user_id, not_(is_kept))
    )


async def is_reserved(
    session: AsyncSession, email: str, *, ignore_user_id: UUID | None = None
) -> bool:
    """Return whether an account can still undo the change of this former address.

    Args:
        ignore_user_id: the account that wants the address.
    """
    statement = select(AccountToken.id).where(
        AccountToken.email == email,
        AccountToken.purpose == Purpose.EMAIL_UNDO,
        AccountToken.expires_at > utcnow(),
        AccountToken.user_id.is_distinct_from(ignore_user_id),
    )
    return await session.scalar(statement.limit(1)) is not None


def _select_user(purpose: Purpose, token: str) -> Select[User]:
    statement = (
        select(User)
        .join(AccountToken, AccountToken.user_id == User.id)
        .where(
            AccountToken.token_hash == hash_token(token),
            AccountToken.purpose == purpose,
            AccountToken.expires_at > utcnow(),
            User.is_active,
        )
    )
    if purpose in SENT_TO_CURRENT_ADDRESS:
        statement = statement.where(User.email == AccountToken.email)
    if purpose is Purpose.INVITATION:
        statement = statement.where(User.password_hash == "")
    return statement
