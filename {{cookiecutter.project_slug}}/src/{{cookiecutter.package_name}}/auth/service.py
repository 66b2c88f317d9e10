"""The rules of logins: proving a password, token families, browser sessions."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from pydantic import SecretStr
from sqlalchemy import ColumnElement, Select, bindparam, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

{% if cookiecutter.use_redis -%}
from ..cache.denylist import deny
{% endif -%}
from ..database import Reader, Record, utcnow
from ..errors import FieldError, Problem
from ..schemas import normalize_email
from ..settings import Settings
from ..throttle import Limit, Throttle, address_key, refuse_excess
from ..users.models import Role, User
from .models import LoginSession, RefreshToken
from .oauth import OAuthError
from .passwords import Passwords
from .tokens import AccessTokens, Claims, InvalidTokenError

log = structlog.stdlib.get_logger(__name__)

AttemptCounter = tuple[str, Limit]  # of attempts: key and limit in the throttle


@dataclass(frozen=True)
class AuthTools:
    """What authentication needs in one process."""

    settings: Settings
    tokens: AccessTokens
    passwords: Passwords
    throttle: Throttle


@dataclass(frozen=True)
class ClientInfo:
    """Where a request comes from, as the server or a trusted proxy saw it."""

    address: str | None
    user_agent: str | None


@dataclass(frozen=True)
class IssuedTokens:
    """A fresh pair of tokens; the refresh token is shown this once."""

    access_token: str
    refresh_token: str


@dataclass(frozen=True)
class Principal:
    """Who makes a request, as the account is at this moment, and by which login."""

    id: UUID
    email: str
    full_name: str | None
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime
    session_id: UUID


_user, _login = User.__table__.c, LoginSession.__table__.c
# Every request asks this: columns instead of objects, and built once, take half the time.
_PRINCIPAL = (
    select(
        *(_user[field.name] for field in fields(Principal) if field.name in _user),
        _login.id.label("session_id"),
    )
    .join(LoginSession.__table__, _login.user_id == _user.id)
    .where(_user.is_active, _login.revoked_at.is_(None), _login.expires_at > bindparam("now"))
)
_BY_TOKEN = _PRINCIPAL.where(_login.id == bindparam("session_id"), _user.id == bindparam("user_id"))
_BY_COOKIE = _PRINCIPAL.where(_login.cookie_hash == bindparam("cookie_hash"))


def fingerprint(token: str) -> str:
    """What is stored of an opaque token: its SHA-256, enough for 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


async def limit_address(auth: AuthTools, client: ClientInfo, purpose: str) -> None:
    """Count an attempt of a client address.

    Raises:
        Problem: 429, too many.
    """
    await refuse_excess(
        auth.throttle,
        f"{purpose}:{address_key(client.address)}",
        Limit(auth.settings.login_attempts_per_address, auth.settings.login_window),
    )


async def authenticate(
    session: AsyncSession, auth: AuthTools, email: str, password: str, client: ClientInfo
) -> User | None:
    """The active user with this e-mail and password, else None: same answer and time for all.

    Raises:
        Problem: 429, too many failures for the account or the address; 503, too many passwords
            are waiting to be checked.
    """
    email = normalize_email(email)
    await limit_address(auth, client, "login")
    from_address, from_anywhere = _login_counters(auth.settings, email, client)
    # Counted before the slow check, so that attempts in parallel cannot slip through.
    await refuse_excess(auth.throttle, *from_address)
    password_hash = await session.scalar(
        select(User.password_hash).where(User.email == email, User.is_active)
    )
    addresses = await session.scalars(
        select(LoginSession.address)
        .join(User, User.id == LoginSession.user_id)
        .where(User.email == email, *_is_alive())
    )
    known = address_key(client.address) in {address_key(known) for known in addresses if known}
    await session.commit()  # those who wait for a slow check hold no connection
    if not known:
        await refuse_excess(auth.throttle, *from_anywhere)
    user = renewed = None
    caller = address_key(client.address)
    if await auth.passwords.verify(password, password_hash, caller) and password_hash is not None:
        if auth.passwords.outdated(password_hash):
            renewed = await auth.passwords.hash(password, caller)
        user = await _lock(session, User.email == email, password_hash)
    if user is None:
        log.info("login failed", address=client.address)
        return None
    await auth.throttle.forget(*from_address)
    await auth.throttle.forget(*from_anywhere)
    user.password_hash = renewed or user.password_hash
    return user


async def prove_password(
    session: AsyncSession, auth: AuthTools, user: Principal, password: SecretStr, *, pointer: str
) -> str:
    """Check the password of a user who is logged in, before something that cannot be undone.

    Attempts are counted by account, apart from logins, so that other clients cannot use them up.
    Call `reset_attempts` when the change is made.

    Args:
        pointer: JSON Pointer of the member that holds the password, for the error.

    Returns:
        The hash that was proven, for `lock_account` when the change is made.

    Raises:
        Problem: 403, it is wrong; 429, too many attempts; 503, too many passwords are waiting to
            be checked.
    """
    await refuse_excess(auth.throttle, *_reauthentication_counter(auth.settings, user.id))
    password_hash = await session.scalar(select(User.password_hash).where(User.id == user.id))
    await session.commit()  # as in `authenticate`
    proven = await auth.passwords.verify(
        password.get_secret_value(), password_hash, caller=str(user.id)
    )
    if not proven or password_hash is None:
        raise _wrong_password(pointer)
    return password_hash


async def reset_attempts(auth: AuthTools, user_id: UUID) -> None:
    """Reset the counter of `prove_password`."""
    await auth.throttle.forget(*_reauthentication_counter(auth.settings, user_id))


async def lock_account(
    session: AsyncSession, user_id: UUID, proven_hash: str, *, pointer: str
) -> User:
    """The account, locked until the transaction ends, if the proven password is still its own.

    Raises:
        Problem: 403, the password was changed or the account deactivated in the meantime.
    """
    locked = await _lock(session, User.id == user_id, proven_hash)
    if locked is None:
        raise _wrong_password(pointer)
    return locked


async def _lock(
    session: AsyncSession, account: ColumnElement[bool], password_hash: str
) -> User | None:
    # The account may have changed while the password was checked.
    return await session.scalar(
        select(User)
        .where(account, User.password_hash == password_hash, User.is_active)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def _wrong_password(pointer: str) -> Problem:
    return Problem(
        403,
        "The password is wrong.",
        errors=[FieldError(pointer=pointer, detail="is not the password of this account")],
    )


def _login_counters(
    settings: Settings, email: str, client: ClientInfo
) -> tuple[AttemptCounter, AttemptCounter]:
    """Return the counters of failed logins: of the account from this address, and from anywhere.

    The first one is used first, so that an address beyond its limit adds nothing to the second and
    cannot lock the owner out. The second one leaves addresses out at which the owner is logged in.
    """
    account, window = fingerprint(email), settings.login_window
    return (
        (
            f"account_address:{account}:{address_key(client.address)}",
            Limit(settings.login_attempts, window),
        ),
        (f"account:{account}", Limit(settings.login_attempts_per_account, window)),
    )


def _reauthentication_counter(settings: Settings, user_id: UUID) -> AttemptCounter:
    limit = Limit(settings.login_attempts, settings.login_window)
    return f"reauthentication:{user_id}", limit


async def open_token_family(
    session: AsyncSession, auth: AuthTools, user: User, client: ClientInfo
) -> IssuedTokens:
    """Begin a login of an OAuth client."""
    login = await _open_session(session, auth, user, client)
    return await _issue(session, auth, login)


async def open_browser_session(
    session: AsyncSession,
    auth: AuthTools,
    user: User,
    client: ClientInfo,
    cookie: str,
    *,
    replaced: str | None,
) -> str:
    """Begin a login of a browser; returns the token for the cookie of this name.

    Args:
        replaced: the token that the browser has sent in this cookie, whose session is revoked.
    """
    if replaced is not None:
        await _revoke(session, LoginSession.cookie_hash == _cookie_hash(cookie, replaced))
    token = secrets.token_urlsafe(32)
    await _open_session(session, auth, user, client, _cookie_hash(cookie, token))
    return token


async def rotate(session: AsyncSession, auth: AuthTools, presented: str) -> IssuedTokens:
    """Exchange a refresh token for a new pair (RFC 6749 section 6; RFC 9700 section 4.14).

    Raises:
        OAuthError: invalid_grant for an unknown, expired or revoked token; a spent token also
            revokes its whole family, for one of its two users is a thief.
    """
    now = utcnow()
    token_hash = fingerprint(presented)
    # One statement decides, so that of concurrent requests exactly one wins.
    session_id = await session.scalar(
        update(RefreshToken)
        .where(RefreshToken.token_hash == token_hash, RefreshToken.spent_at.is_(None))
        .values(spent_at=now)
        .returning(RefreshToken.session_id)
    )
    if session_id is None:
        await _revoke_reused(session, token_hash)
        raise OAuthError("invalid_grant", "The refresh token is not valid.")
    login = await session.scalar(
        select(LoginSession)
        .join(User, User.id == LoginSession.user_id)
        .where(LoginSession.id == session_id, User.is_active, *_is_alive())
    )
    if login is None:
        raise OAuthError("invalid_grant", "The refresh token is not valid.")
    lifetime = timedelta(seconds=auth.settings.session_ttl)
    login.expires_at = now + lifetime
    # A token that was spent so long ago had expired anyway.
    await session.execute(
        delete(RefreshToken).where(
            RefreshToken.session_id == login.id, RefreshToken.spent_at < now - lifetime
        )
    )
    return await _issue(session, auth, login)


async def revoke_token(session: AsyncSession, auth: AuthTools, token: str) -> None:
    """End the login that a refresh or access token belongs to (RFC 7009); unknown ones are fine."""
    try:
        session_id: UUID | None = auth.tokens.verify(token).session_id
    except InvalidTokenError:
        session_id = await session.scalar(
            select(RefreshToken.session_id).where(RefreshToken.token_hash == fingerprint(token))
        )
    if session_id is not None:
        await _revoke(session, LoginSession.id == session_id)


async def revoke_session(session: AsyncSession, user_id: UUID, session_id: UUID) -> None:
    """End one login of the user.

    Raises:
        Problem: 404, the user has no such login.
    """
    if not await _revoke(session, LoginSession.id == session_id, LoginSession.user_id == user_id):
        raise Problem(404, "No such session.")


async def revoke_all(session: AsyncSession, user_id: UUID) -> None:
    """End every login of the user."""
    await _revoke(session, LoginSession.user_id == user_id)


async def list_sessions(reader: Reader, user_id: UUID) -> Sequence[Record]:
    """The user's living logins, newest first."""
    living = select(*_login).where(_login.user_id == user_id, *_is_alive())
    return await reader.rows(living.order_by(_login.id.desc()))


async def principal_of_token(reader: Reader, claims: Claims) -> Principal | None:
    """Whom an access token stands for, as long as the login lives that it was issued in."""
    return await _principal(reader, _BY_TOKEN, session_id=claims.session_id, user_id=claims.user_id)


async def principal_of_cookie(reader: Reader, cookie: str, token: str) -> Principal | None:
    """Return the user of a browser session, or None if it has expired or been revoked.

    Args:
        cookie: the name of the cookie that the token was sent in.
    """
    return await _principal(reader, _BY_COOKIE, cookie_hash=_cookie_hash(cookie, token))


def _cookie_hash(cookie: str, token: str) -> str:
    # With the name, so that a token is not valid in a cookie with another path or lifetime.
    return fingerprint(f"{cookie}={token}")


async def _principal(
    reader: Reader, statement: Select[*tuple[Any, ...]], **login: object
) -> Principal | None:
    row = await reader.row(statement, now=utcnow(), **login)
    return None if row is None else Principal(*row)


def _is_alive() -> tuple[ColumnElement[bool], ...]:
    return LoginSession.revoked_at.is_(None), LoginSession.expires_at > utcnow()


async def _open_session(
    session: AsyncSession,
    auth: AuthTools,
    user: User,
    client: ClientInfo,
    cookie_hash: str | None = None,
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
        expires_at=now + timedelta(seconds=auth.settings.session_ttl),
    )
    session.add(login)
    await session.flush()
    log.info("login", user_id=str(user.id), address=client.address)
    return login


async def _issue(session: AsyncSession, auth: AuthTools, login: LoginSession) -> IssuedTokens:
    refresh_token = secrets.token_urlsafe(32)
    session.add(RefreshToken(token_hash=fingerprint(refresh_token), session_id=login.id))
    await session.flush()
    return IssuedTokens(auth.tokens.issue(login.user_id, login.id), refresh_token)


async def _revoke_reused(session: AsyncSession, token_hash: str) -> None:
    spent = await session.get(RefreshToken, token_hash)
    if spent is not None and await _revoke(session, LoginSession.id == spent.session_id):
        log.warning("spent refresh token presented", session_id=str(spent.session_id))
        await session.commit()  # the revocation outlives the error that follows


async def _revoke(session: AsyncSession, *conditions: ColumnElement[bool]) -> bool:
    revoked = await session.scalars(
        update(LoginSession)
        .where(*conditions, LoginSession.revoked_at.is_(None))
        .values(revoked_at=utcnow())
        .returning(LoginSession.id)
    )
{%- if cookiecutter.use_redis %}
    logins = revoked.all()
    await deny(session, logins)
    return bool(logins)
{%- else %}
    return revoked.first() is not None
{%- endif %}
