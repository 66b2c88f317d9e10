"""Login sessions: browser sessions, and token families with their refresh tokens."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

{% if cookiecutter.use_redis -%}
from ..cache.store import invalidate
{% endif -%}
from ..database import utcnow
from ..exceptions import InvalidTokenError, NotFoundError
{%- if cookiecutter.use_prometheus %}
from ..instruments import REFRESH_TOKEN_REUSES
{%- endif %}
from .models import LoginSession, RefreshToken, User
from .schemas import TokenResponse
from .tokens import AccessTokens

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class ClientInfo:
    """The client of a request, as the server or a trusted proxy saw it."""

    address: str | None
    user_agent: str | None


def hash_token(token: str) -> str:
    """Return the SHA-256 of an opaque token, which suffices for 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_cookie(name: str, token: str) -> str:
    """Return the hash of a session cookie.

    It includes the name, so that a token is not valid in a cookie with another path or lifetime.
    """
    return hash_token(f"{name}={token}")


async def create_token_session(
    session: AsyncSession, tokens: AccessTokens, user: User, client: ClientInfo, ttl: int
) -> TokenResponse:
    """Log in an OAuth client: create a session with its first pair of tokens.

    Args:
        ttl: seconds until the session expires, unless it is refreshed.
    """
    login = await _create_session(session, user, client, ttl)
    return await _issue_tokens(session, tokens, login)


async def create_browser_session(
    session: AsyncSession,
    user: User,
    client: ClientInfo,
    ttl: int,
    cookie: str,
    *,
    replaced_token: str | None,
) -> str:
    """Log in a browser: create a session and return the token for its cookie.

    Args:
        ttl: seconds until the session expires.
        cookie: the name of the cookie.
        replaced_token: the token that the browser sent in this cookie. Its session is revoked.
    """
    if replaced_token is not None:
        await _revoke(session, LoginSession.cookie_hash == hash_cookie(cookie, replaced_token))
    token = secrets.token_urlsafe(32)
    await _create_session(session, user, client, ttl, hash_cookie(cookie, token))
    return token


async def rotate_refresh_token(
    session: AsyncSession, tokens: AccessTokens, refresh_token: str, ttl: int
) -> TokenResponse:
    """Exchange a refresh token for a new pair (RFC 6749 section 6).

    Reusing a refresh token revokes the whole token family, because it indicates theft (RFC 9700
    section 4.14).

    Args:
        ttl: seconds until the session expires, from now on.

    Raises:
        InvalidTokenError: the token is unknown, used, expired or revoked.
    """
    now = utcnow()
    token_hash = hash_token(refresh_token)
    # Lock the session before its token, as the cascade of a deletion does.
    login = await session.scalar(
        select(LoginSession)
        .join(RefreshToken, RefreshToken.session_id == LoginSession.id)
        .join(User, User.id == LoginSession.user_id)
        .where(RefreshToken.token_hash == token_hash, User.is_active, *is_valid())
        .with_for_update(of=LoginSession, key_share=True)
    )
    if login is None:
        raise InvalidTokenError
    # One statement decides, so that exactly one of several concurrent requests succeeds.
    session_id = await session.scalar(
        update(RefreshToken)
        .where(RefreshToken.token_hash == token_hash, RefreshToken.used_at.is_(None))
        .values(used_at=now)
        .returning(RefreshToken.session_id)
    )
    if session_id is None:
        await _revoke(session, LoginSession.id == login.id)
        await session.commit()  # the exception would undo the revocation
        log.warning("refresh token reuse detected", session_id=str(login.id))
{%- if cookiecutter.use_prometheus %}
        REFRESH_TOKEN_REUSES.inc()
{%- endif %}
        raise InvalidTokenError
    lifetime = timedelta(seconds=ttl)
    login.expires_at = now + lifetime
    # Used tokens that have expired anyway need no longer be recognized.
    await session.execute(
        delete(RefreshToken).where(
            RefreshToken.session_id == login.id, RefreshToken.used_at < now - lifetime
        )
    )
    return await _issue_tokens(session, tokens, login)


async def list_sessions(session: AsyncSession, user_id: UUID) -> Sequence[LoginSession]:
    """List the user's valid sessions, newest first."""
    statement = select(LoginSession).where(LoginSession.user_id == user_id, *is_valid())
    return (await session.scalars(statement.order_by(LoginSession.id.desc()))).all()


async def revoke_token(session: AsyncSession, tokens: AccessTokens, token: str) -> None:
    """Revoke the session of a refresh or access token (RFC 7009); ignore unknown tokens."""
    try:
        session_id: UUID | None = tokens.verify(token).session_id
    except InvalidTokenError:
        session_id = await session.scalar(
            select(RefreshToken.session_id).where(RefreshToken.token_hash == hash_token(token))
        )
    if session_id is not None:
        await _revoke(session, LoginSession.id == session_id)


async def revoke_session(session: AsyncSession, user_id: UUID, session_id: UUID) -> None:
    """Revoke one session of the user.

    Raises:
        NotFoundError: the user has no such valid session.
    """
    if not await _revoke(session, LoginSession.id == session_id, LoginSession.user_id == user_id):
        raise NotFoundError("Session not found.")


async def revoke_all_sessions(session: AsyncSession, user_id: UUID) -> None:
    """Revoke every session of the user."""
    await _revoke(session, LoginSession.user_id == user_id)


{% if cookiecutter.use_redis -%}
def cache_namespace(session_id: UUID) -> str:
    """Return the cache namespace of a session, invalidated when it is revoked."""
    return f"session:{session_id}"


{% endif -%}
def is_valid() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which a session is neither revoked nor expired."""
    return LoginSession.revoked_at.is_(None), LoginSession.expires_at > utcnow()


async def _create_session(
    session: AsyncSession, user: User, client: ClientInfo, ttl: int, cookie_hash: str | None = None
) -> LoginSession:
    now = utcnow()
    await session.execute(
        delete(LoginSession).where(
            LoginSession.user_id == user.id,
            or_(LoginSession.expires_at < now, LoginSession.revoked_at.is_not(None)),
        )
    )
    login = LoginSession(
        user_id=user.id,
        cookie_hash=cookie_hash,
        address=(client.address or "")[:45] or None,
        user_agent=(client.user_agent or "")[:300] or None,
        expires_at=now + timedelta(seconds=ttl),
    )
    session.add(login)
    await session.flush()
    return login


async def _issue_tokens(
    session: AsyncSession, tokens: AccessTokens, login: LoginSession
) -> TokenResponse:
    refresh_token = secrets.token_urlsafe(32)
    session.add(RefreshToken(token_hash=hash_token(refresh_token), session_id=login.id))
    await session.flush()
    return TokenResponse(
        access_token=tokens.issue(login.user_id, login.id),
        expires_in=tokens.ttl,
        refresh_token=refresh_token,
    )


async def _revoke(session: AsyncSession, *conditions: ColumnElement[bool]) -> bool:
    revoked = await session.scalars(
        update(LoginSession)
        .where(*conditions, LoginSession.revoked_at.is_(None))
        .values(revoked_at=utcnow())
        .returning(LoginSession.id)
    )
{%- if cookiecutter.use_redis %}
    session_ids = revoked.all()
    invalidate(session, *map(cache_namespace, session_ids))
    return bool(session_ids)
{%- else %}
    return revoked.first() is not None
{%- endif %}
