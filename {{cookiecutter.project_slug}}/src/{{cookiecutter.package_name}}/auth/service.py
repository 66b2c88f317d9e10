"""Authenticate requests and verify passwords."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database, utcnow
from ..exceptions import IncorrectPasswordError
{%- if cookiecutter.use_prometheus %}
from ..instruments import LOGINS
{%- endif %}
from ..schemas import normalize_email
from ..settings import Settings
from ..throttle import Limit, Throttle, address_key
from .models import ACCOUNT_COLUMNS, LoginSession, Role, User
from .passwords import PasswordHasher
from .sessions import ClientInfo, hash_cookie, hash_token, is_valid
from .tokens import AccessTokens, Claims

log = structlog.stdlib.get_logger(__name__)

INCORRECT_CREDENTIALS = "Incorrect email or password."


class AuthServices:
    """The authentication services of a process.

    Raises:
        SystemExit: JWT_KEYS is not a usable JSON Web Key Set.
    """

    def __init__(self, settings: Settings, throttle: Throttle) -> None:
        self.settings = settings
        self.tokens = AccessTokens(settings)
        self.hasher = PasswordHasher(settings)
        self.throttle = throttle


@dataclass(frozen=True)
class Principal:
    """The authenticated caller: the account as it is now, and the session of the request.

    Attributes:
        is_browser: whether the request was authenticated by its session cookie.
    """

    id: UUID
    email: str
    full_name: str | None
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime
    session_id: UUID
    is_browser: bool


# Every authenticated request runs this query. It selects columns on a connection, and is built
# once, which takes half the time of loading an object in a session.
_PRINCIPAL = (
    select(
        *ACCOUNT_COLUMNS,
        LoginSession.id.label("session_id"),
        LoginSession.cookie_hash.is_not(None).label("is_browser"),
    )
    .join(LoginSession, LoginSession.user_id == User.id)
    .where(
        User.is_active,
        LoginSession.revoked_at.is_(None),
        LoginSession.expires_at > bindparam("now"),
    )
)
_PRINCIPAL_BY_TOKEN = _PRINCIPAL.where(
    LoginSession.id == bindparam("session_id"), User.id == bindparam("user_id")
)
_PRINCIPAL_BY_COOKIE = _PRINCIPAL.where(LoginSession.cookie_hash == bindparam("cookie_hash"))


async def get_principal_by_token(database: Database, claims: Claims) -> Principal | None:
    """Return the user of an access token, or None if its session has expired or been revoked."""
    return await _get_principal(
        database, _PRINCIPAL_BY_TOKEN, session_id=claims.session_id, user_id=claims.user_id
    )


async def get_principal_by_cookie(database: Database, cookie: str, token: str) -> Principal | None:
    """Return the user of a browser session, or None if it has expired or been revoked.

    Args:
        cookie: the name of the cookie that the token was sent in.
    """
    hashed = hash_cookie(cookie, token)
    return await _get_principal(database, _PRINCIPAL_BY_COOKIE, cookie_hash=hashed)


async def _get_principal(
    database: Database, statement: Select[*tuple[Any, ...]], **parameters: object
) -> Principal | None:
    async with database.read_connection() as connection:
        result = await connection.execute(statement, {"now": utcnow(), **parameters})
        row = result.mappings().one_or_none()
    return None if row is None else Principal(**row)


@asynccontextmanager
async def login_transaction(
    database: Database, auth: AuthServices, email: str, password: str, client: ClientInfo
) -> AsyncIterator[tuple[AsyncSession, User]]:
    """Verify the credentials of an active user, then open the transaction that stores the login.

    Takes the same time for unknown users, to prevent user enumeration. An IncorrectPasswordError
    that the caller raises in the transaction is a failed login too.

    Raises:
        IncorrectPasswordError: the email is unknown or the password is wrong.
        TooManyAttemptsError: too many failures for the account or the address.
        OverloadedError: too many passwords are waiting.
    """
    try:
        account = await _authenticate(database, auth, email, password, client)
        new_hash = None
        if auth.hasher.needs_rehash(account.password_hash):
            new_hash = await auth.hasher.hash(password, address_key(client.address))
        async with database.write_session() as session:
            user = await get_user_for_update(session, account.id, account.password_hash)
            if new_hash is not None:
                user.password_hash = new_hash
            yield session, user
    except IncorrectPasswordError:
        log.info("login failed", address=client.address)
{%- if cookiecutter.use_prometheus %}
        LOGINS.labels("failure").inc()
{%- endif %}
        raise
    log.info("login", user_id=str(user.id), address=client.address)
{%- if cookiecutter.use_prometheus %}
    LOGINS.labels("success").inc()
{%- endif %}


async def _authenticate(
    database: Database, auth: AuthServices, email: str, password: str, client: ClientInfo
) -> Row[UUID, str]:
    email, address = normalize_email(email), address_key(client.address)
    settings, account_key = auth.settings, hash_token(email)  # the counters contain no email
    per_address = Limit(settings.login_attempts, settings.login_window)
    in_total = Limit(settings.login_attempts_per_account, settings.login_window)
    address_limit = f"account_address:{account_key}:{address}", per_address
    total_limit = f"account:{account_key}", in_total
    await check_address_limit(auth, client, "login")
    async with database.read_connection() as connection:
        account = (
            await connection.execute(
                select(User.id, User.password_hash).where(User.email == email, User.is_active)
            )
        ).one_or_none()
        addresses = await connection.scalars(
            select(LoginSession.address)
            .join(User, User.id == LoginSession.user_id)
            .where(User.email == email, *is_valid())
        )
    # Count before the slow check, so that concurrent attempts are counted, and after the database
    # has answered, so that an outage locks no one out. An address beyond its limit adds nothing to
    # the account's total. Addresses at which the account is logged in skip the total, so that no
    # one can lock the owner out.
    await auth.throttle.check(*address_limit)
    if address not in {address_key(known) for known in addresses if known}:
        await auth.throttle.check(*total_limit)
    password_hash = account and account.password_hash
    if not await auth.hasher.verify(password, password_hash, address) or account is None:
        raise IncorrectPasswordError(INCORRECT_CREDENTIALS)
    await auth.throttle.reset(*address_limit)
    await auth.throttle.reset(*total_limit)
    return account


async def verify_current_password(
    database: Database, auth: AuthServices, user: Principal, password: str
) -> str:
    """Re-authenticate the caller before a sensitive change, and return the hash of the password.

    Attempts are counted apart from logins, so that other clients cannot use them up. Call
    `reset_reauthentication` after the change.

    Raises:
        IncorrectPasswordError: the password is wrong.
        TooManyAttemptsError: too many attempts.
        OverloadedError: too many passwords are waiting.
    """
    async with database.read_connection() as connection:
        password_hash = await connection.scalar(
            select(User.password_hash).where(User.id == user.id)
        )
    await auth.throttle.check(*_reauthentication_counter(auth.settings, user.id))
    verified = await auth.hasher.verify(password, password_hash, caller=str(user.id))
    if not verified or password_hash is None:
        raise IncorrectPasswordError
    return password_hash


async def reset_reauthentication(auth: AuthServices, user_id: UUID) -> None:
    """Reset the attempt counter of `verify_current_password`."""
    await auth.throttle.reset(*_reauthentication_counter(auth.settings, user_id))


async def get_user_for_update(session: AsyncSession, user_id: UUID, password_hash: str) -> User:
    """Lock and return the account whose password was verified against the hash.

    Raises:
        IncorrectPasswordError: the password was changed, or the account deactivated, since then.
    """
    user = await session.scalar(
        select(User)
        .where(User.id == user_id, User.password_hash == password_hash, User.is_active)
        .with_for_update(key_share=True)
    )
    if user is None:
        raise IncorrectPasswordError
    return user


async def check_address_limit(auth: AuthServices, client: ClientInfo, purpose: str) -> None:
    """Count an attempt of the client's address.

    Raises:
        TooManyAttemptsError: more than LOGIN_ATTEMPTS_PER_ADDRESS.
    """
    limit = Limit(auth.settings.login_attempts_per_address, auth.settings.login_window)
    await auth.throttle.check(f"{purpose}:{address_key(client.address)}", limit)


def _reauthentication_counter(settings: Settings, user_id: UUID) -> tuple[str, Limit]:
    return f"reauthentication:{user_id}", Limit(settings.login_attempts, settings.login_window)
