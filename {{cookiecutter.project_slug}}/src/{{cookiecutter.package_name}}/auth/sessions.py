"""Login sessions: browser sessions, and token families with their refresh tokens."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
{% if cookiecutter.use_redis -%}
from ..cache.store import invalidate
{% endif -%}
from ..database import utcnow
from ..exceptions import InvalidTokenError, NotFoundError, PermissionDeniedError
{%- if cookiecutter.use_prometheus %}
from ..instruments import REFRESH_TOKEN_REUSES
{%- endif %}
from .models import LoginSession, RefreshToken, Role, User
from .principal import Principal
from .schemas import TokenResponse
from .scopes import effective_scopes, grant_scope
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
    session: AsyncSession,
    tokens: AccessTokens,
    user: User,
    client: ClientInfo,
    ttl: int,
    *,
    amr: Sequence[str],
    scope: str | None = None,
) -> TokenResponse:
    """Log in an OAuth client: create a session with its first pair of tokens.

    Args:
        ttl: seconds until the session expires, unless it is refreshed.
        amr: methods of the authentication (RFC 8176).
        scope: the requested scopes, separated by spaces. None: all scopes of the role, including
            those that it gets later.

    Raises:
        InvalidScopeError: a requested scope is unknown, or the role does not include it.
    """
    if scope is not None:
        scope = grant_scope(effective_scopes(user.role), scope)
    login = await _create_session(session, user, client, ttl, amr, scope=scope)
    return await _issue_tokens(session, tokens, login, user.role)


async def create_client_session(
    session: AsyncSession,
    tokens: AccessTokens,
    user: User,
    client: ClientInfo,
    allowed_scope: str,
    requested_scope: str | None,
) -> TokenResponse:
    """Log in a service account: create a session that ends with its access token.

    There is no refresh token, because the client can authenticate again (RFC 6749 section 4.4.3).

    Args:
        allowed_scope: the scopes of the service account, separated by spaces.
        requested_scope: the requested scopes, separated by spaces. None: all of them.

    Raises:
        InvalidScopeError: a requested scope is not one of the service account's.
    """
    scope = grant_scope(effective_scopes(user.role, allowed_scope), requested_scope)
    login = await _create_session(session, user, client, tokens.ttl, (), scope=scope)
    return TokenResponse(
        access_token=tokens.issue(user.id, login.id, None, (), scope),
        expires_in=tokens.ttl,
        scope=scope,
    )


async def create_browser_session(
    session: AsyncSession,
    user: User,
    client: ClientInfo,
    ttl: int,
    cookie: str,
    *,
    amr: Sequence[str],
    replaced_token: str | None,
) -> str:
    """Log in a browser: create a session and return the token for its cookie.

    Args:
        ttl: seconds until the session expires.
        cookie: the name of the cookie.
        amr: methods of the authentication (RFC 8176).
        replaced_token: the token that the browser sent in this cookie. Its session is revoked.
    """
    if replaced_token is not None:
        await _revoke(session, LoginSession.cookie_hash == hash_cookie(cookie, replaced_token))
    token = secrets.token_urlsafe(32)
    await _create_session(session, user, client, ttl, amr, hash_cookie(cookie, token))
    return token


async def rotate_refresh_token(
    session: AsyncSession,
    tokens: AccessTokens,
    refresh_token: str,
    client: ClientInfo,
    ttl: int,
    *,
    scope: str | None = None,
) -> TokenResponse:
    """Exchange a refresh token for a new pair (RFC 6749 section 6).

    Reusing a refresh token revokes the whole token family, because it indicates theft (RFC 9700
    section 4.14).

    Args:
        ttl: seconds until the session expires, from now on.
        scope: the scopes of the access token, separated by spaces. The new refresh token keeps
            those of the session. None: the access token has them too.

    Raises:
        InvalidScopeError: a requested scope is not one of the session's; the token remains valid.
        InvalidTokenError: the token is unknown, used, expired or revoked.
    """
    now = utcnow()
    token_hash = hash_token(refresh_token)
    # Lock the session before its token, as the cascade of a deletion does.
    result = await session.execute(
        select(LoginSession, User.role)
        .join(RefreshToken, RefreshToken.session_id == LoginSession.id)
        .join(User, User.id == LoginSession.user_id)
        .where(RefreshToken.token_hash == token_hash, User.is_active, *is_valid())
        .with_for_update(of=LoginSession, key_share=True)
    )
    row = result.one_or_none()
    if row is None:
        raise InvalidTokenError
    login, role = row
    # One statement decides, so that exactly one of several concurrent requests succeeds.
    session_id = await session.scalar(
        update(RefreshToken)
        .where(RefreshToken.token_hash == token_hash, RefreshToken.used_at.is_(None))
        .values(used_at=now)
        .returning(RefreshToken.session_id)
    )
    if session_id is None:
        await _revoke(session, LoginSession.id == login.id)
        action, target = Action.SESSION_REUSE_DETECTED, _target(login.id)
        record(session, action, login.user_id, target=target, address=client.address)
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
    return await _issue_tokens(session, tokens, login, role, scope)


async def list_sessions(session: AsyncSession, user_id: UUID) -> Sequence[LoginSession]:
    """List the user's valid sessions, newest first."""
    statement = select(LoginSession).where(LoginSession.user_id == user_id, *is_valid())
    return (await session.scalars(statement.order_by(LoginSession.id.desc()))).all()


async def revoke_token(
    session: AsyncSession, tokens: AccessTokens, token: str, client: ClientInfo
) -> None:
    """Revoke the session of a refresh or access token (RFC 7009); ignore unknown tokens."""
    try:
        session_id: UUID | None = tokens.verify(token).session_id
    except InvalidTokenError:
        session_id = await session.scalar(
            select(RefreshToken.session_id).where(RefreshToken.token_hash == hash_token(token))
        )
    if session_id is not None:
        for revoked in await _revoke(session, LoginSession.id == session_id):
            record(
                session,
                Action.SESSION_REVOKED,
                revoked.user_id,
                credential="token",
                target=_target(session_id),
                address=client.address,
            )


async def revoke_session(
    session: AsyncSession, user_id: UUID, session_id: UUID, *, by: Principal
) -> None:
    """Revoke one session of the user.

    Args:
        by: the caller, for the audit.

    Raises:
        NotFoundError: the user has no such valid session.
    """
    if not await _revoke(session, LoginSession.id == session_id, LoginSession.user_id == user_id):
        raise NotFoundError("Session not found.")
    record(session, Action.SESSION_REVOKED, user_id, by=by, target=_target(session_id))


async def revoke_all_sessions(
    session: AsyncSession, user_id: UUID, *, by: Principal | None = None, keep: UUID | None = None
) -> None:
    """Revoke every session of the user.

    Args:
        by: the caller, for the audit. None if the operation records an event of its own.
        keep: a session that is not revoked.
    """
    await _revoke(session, LoginSession.user_id == user_id, LoginSession.id.is_distinct_from(keep))
    if by is not None:
        record(session, Action.SESSIONS_REVOKED, user_id, by=by)


{% if cookiecutter.use_redis -%}
def cache_namespace(session_id: UUID) -> str:
    """Return the cache namespace of a session, invalidated when it is revoked."""
    return f"session:{session_id}"


{% endif -%}
async def lock_caller(session: AsyncSession, by: Principal) -> User:
    """Lock and return the caller's account.

    Raises:
        PermissionDeniedError: the session was revoked meanwhile, such as by a password reset.
    """
    user = await session.scalar(
        select(User).where(User.id == by.id, User.is_active).with_for_update(key_share=True)
    )
    session_id = await session.scalar(
        select(LoginSession.id).where(LoginSession.id == by.session_id, *is_valid())
    )
    if user is None or session_id is None:
        raise PermissionDeniedError("The session has been revoked.")
    return user


def is_valid() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which a session is neither revoked nor expired."""
    return LoginSession.revoked_at.is_(None), LoginSession.expires_at > utcnow()


async def _create_session(
    session: AsyncSession,
    user: User,
    client: ClientInfo,
    ttl: int,
    amr: Sequence[str],
    cookie_hash: str | None = None,
    scope: str | None = None,
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
        address=client.address,
        user_agent=(client.user_agent or "")[:300] or None,
        authenticated_at=now,
        amr=" ".join(amr),
        scope=scope,
        expires_at=now + timedelta(seconds=ttl),
    )
    session.add(login)
    await session.flush()
    return login


async def _issue_tokens(
    session: AsyncSession,
    tokens: AccessTokens,
    login: LoginSession,
    role: Role,
    requested_scope: str | None = None,
) -> TokenResponse:
    scope = grant_scope(effective_scopes(role, login.scope), requested_scope)
    is_limited = login.scope is not None or requested_scope is not None
    refresh_token = secrets.token_urlsafe(32)
    session.add(RefreshToken(token_hash=hash_token(refresh_token), session_id=login.id))
    await session.flush()
    return TokenResponse(
        access_token=tokens.issue(
            login.user_id,
            login.id,
            login.authenticated_at or login.created_at,
            (login.amr or "pwd").split(),
            scope if is_limited else None,
        ),
        expires_in=tokens.ttl,
        refresh_token=refresh_token,
        scope=scope,
    )


def _target(session_id: UUID) -> str:
    return f"session:{session_id}"


async def _revoke(
    session: AsyncSession, *conditions: ColumnElement[bool]
) -> Sequence[Row[UUID, UUID]]:
    """Revoke the sessions that match, and return their ids and those of their users."""
    result = await session.execute(
        update(LoginSession)
        .where(*conditions, LoginSession.revoked_at.is_(None))
        .values(revoked_at=utcnow())
        .returning(LoginSession.id, LoginSession.user_id)
    )
{%- if cookiecutter.use_redis %}
    revoked = result.all()
    invalidate(session, *(cache_namespace(row.id) for row in revoked))
    return revoked
{%- else %}
    return result.all()
{%- endif %}
