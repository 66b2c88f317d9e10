"""Personal access tokens: credentials that users create for programs."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
{%- if not cookiecutter.use_worker %}
from ..background import enqueue
{%- endif %}
from ..database import Database, utcnow
from ..exceptions import ConflictError, NotFoundError
{%- if cookiecutter.use_prometheus %}
from ..instruments import PERSONAL_TOKENS
{%- endif %}
from ..token_format import new_token
{%- if cookiecutter.use_worker %}
from ..worker.queue import enqueue
{%- endif %}
from .models import PersonalAccessToken
from .principal import Principal
from .scopes import ACCOUNT_WRITE, grant_scope
from .sessions import ClientInfo, hash_token, lock_caller
from .tasks import Notice, send_notice

MAX_TOKENS: Final = 100  # of an account
USE_INTERVAL: Final = timedelta(minutes=1)  # between two updates of `last_used_at`

log = structlog.stdlib.get_logger(__name__)


async def create_token(
    session: AsyncSession,
    by: Principal,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime,
) -> tuple[PersonalAccessToken, str]:
    """Store the hash of a new token of the caller, and return its row and the token.

    The owner is notified, because an attacker with a stolen session may have created it.

    Raises:
        InvalidScopeError: the caller does not have a scope, or no program may have it.
        ConflictError: the caller has as many tokens as an account may have.
        PermissionDeniedError: the session was revoked meanwhile, such as by a password reset.
    """
    scope = grant_scope(by.scopes - {ACCOUNT_WRITE}, " ".join(scopes))
    user = await lock_caller(session, by)
    if len(await list_tokens(session, user.id)) >= MAX_TOKENS:
        raise ConflictError(f"An account has at most {MAX_TOKENS} tokens; revoke one first.")
    secret = new_token()
    token = PersonalAccessToken(
        user_id=user.id,
        name=name,
        scope=scope,
        token_hash=hash_token(secret),
        expires_at=expires_at,
    )
    session.add(token)
    await session.flush()
    record(session, Action.TOKEN_CREATED, user.id, by=by, target=_target(token.id))
    await enqueue(session, send_notice, user_id=user.id, notice=Notice.TOKEN_CREATED)
    log.info("personal access token created", token_id=str(token.id))
{%- if cookiecutter.use_prometheus %}
    PERSONAL_TOKENS.labels("created").inc()
{%- endif %}
    return token, secret


async def list_tokens(session: AsyncSession, user_id: UUID) -> Sequence[PersonalAccessToken]:
    """List the user's valid tokens, newest first."""
    statement = select(PersonalAccessToken).where(
        PersonalAccessToken.user_id == user_id, PersonalAccessToken.expires_at > utcnow()
    )
    return (await session.scalars(statement.order_by(PersonalAccessToken.id.desc()))).all()


async def revoke_token(
    session: AsyncSession, user_id: UUID, token_id: UUID, *, by: Principal
) -> None:
    """Delete a token of the user.

    Args:
        by: the owner or an administrator, for the audit.

    Raises:
        NotFoundError: the user has no such token.
    """
    token = await _delete(
        session, PersonalAccessToken.id == token_id, PersonalAccessToken.user_id == user_id
    )
    if token is None:
        raise NotFoundError("Token not found.")
    record(session, Action.TOKEN_REVOKED, user_id, by=by, target=_target(token_id))


async def revoke_presented_token(session: AsyncSession, secret: str, client: ClientInfo) -> None:
    """Delete the token that a client sends (RFC 7009); ignore unknown tokens.

    The client may be anyone who found the token, so the actor in the audit is unknown.
    """
    token = await _delete(session, PersonalAccessToken.token_hash == hash_token(secret))
    if token is not None:
        record(
            session,
            Action.TOKEN_REVOKED,
            token.user_id,
            credential="personal_token",
            target=_target(token.id),
            address=client.address,
        )


async def delete_tokens(session: AsyncSession, user_id: UUID) -> None:
    """Delete all tokens of an account that was recovered or deactivated.

    An attacker who had access to the account may have created them.
    """
    await session.execute(delete(PersonalAccessToken).where(PersonalAccessToken.user_id == user_id))


async def record_use(database: Database, token_id: UUID, now: datetime) -> None:
    """Store the time of a use, unless the stored one is recent.

    Uses its own transaction, so that the time is stored even if the request fails.
    """
    last_used_at = PersonalAccessToken.last_used_at
    is_outdated = or_(last_used_at.is_(None), last_used_at <= now - USE_INTERVAL)
    async with database.write_session() as session:
        await session.execute(
            update(PersonalAccessToken)
            .where(PersonalAccessToken.id == token_id, is_outdated)
            .values(last_used_at=now)
        )


async def _delete(
    session: AsyncSession, *conditions: ColumnElement[bool]
) -> PersonalAccessToken | None:
    token: PersonalAccessToken | None = await session.scalar(
        delete(PersonalAccessToken).where(*conditions).returning(PersonalAccessToken)
    )
    if token is not None:
        log.info("personal access token revoked", token_id=str(token.id))
{%- if cookiecutter.use_prometheus %}
        PERSONAL_TOKENS.labels("revoked").inc()
{%- endif %}
    return token


def _target(token_id: UUID) -> str:
    return f"token:{token_id}"
