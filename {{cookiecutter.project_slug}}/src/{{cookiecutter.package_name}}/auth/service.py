"""Authenticate requests and verify passwords."""

{% if cookiecutter.use_redis -%}
from collections import OrderedDict
{% endif -%}
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Row, Select, bindparam, case, func, literal, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
from ..database import Database, utcnow
from ..exceptions import (
    EmailNotVerifiedError,
    IncorrectCodeError,
    IncorrectPasswordError,
{%- if cookiecutter.use_prometheus %}
    MfaRequiredError,
{%- endif %}
    PermissionDeniedError,
    ServiceError,
)
{%- if cookiecutter.use_prometheus %}
from ..instruments import LOGINS, PERSONAL_TOKENS
{%- endif %}
from ..schemas import normalize_email
from ..settings import Settings
from ..throttle import Limit, Throttle, address_key
from ..token_format import is_token
from .encryption import SecretBox
from .mfa import count_failure, verify_second_factor
from .models import ACCOUNT_COLUMNS, LoginSession, PersonalAccessToken, Role, User
from .passwords import PasswordHasher
from .personal_tokens import USE_INTERVAL, record_use
from .principal import Principal
from .scopes import effective_scopes
from .sessions import ClientInfo, hash_cookie, hash_token, is_valid
from .tokens import AccessTokens, Claims

log = structlog.stdlib.get_logger(__name__)

INCORRECT_CREDENTIALS = "Incorrect email or password."
MAX_RECORDED_FAILURES: Final = 1000
Counter = tuple[str, Limit]  # of attempts, with its key
# The outcome of each failed login, and its audit event.
FAILURES: Final[Mapping[type[ServiceError], tuple[str, Action]]] = {
    IncorrectPasswordError: ("failure", Action.LOGIN_FAILED),
    IncorrectCodeError: ("code_failure", Action.LOGIN_CODE_FAILED),
    EmailNotVerifiedError: ("unverified", Action.LOGIN_UNVERIFIED),
}


{% if cookiecutter.use_redis -%}
class TokenOwners:
    """The owners of personal access tokens, for the rate limits, which run no query.

    Only tokens that were valid at their last use are kept, so that a client with an invalid token
    cannot use up the limit of a user.

    Args:
        max_tokens: number of tokens to keep, which bounds the memory.
    """

    def __init__(self, max_tokens: int = 10_000) -> None:
        self._max_tokens = max_tokens
        self._owners: OrderedDict[str, UUID] = OrderedDict()

    def get(self, token: str) -> UUID | None:
        """Return the owner, or None if the token was not valid at its last use, or not used."""
        return self._owners.get(hash_token(token))

    def put(self, token: str, principal: Principal | None) -> None:
        """Remember who was authenticated by the token."""
        key = hash_token(token)
        self._owners.pop(key, None)
        if principal is not None:
            self._owners[key] = principal.id
            if len(self._owners) > self._max_tokens:
                self._owners.popitem(last=False)


{% endif -%}
class AuthServices:
    """The authentication services of a process.

    Raises:
        SystemExit: JWT_KEYS is not a usable JSON Web Key Set.
    """

    def __init__(self, settings: Settings, throttle: Throttle) -> None:
        self.settings = settings
        self.box = SecretBox(settings)
        self.tokens = AccessTokens(settings)
        self.hasher = PasswordHasher(settings)
        self.throttle = throttle
{%- if cookiecutter.use_redis %}
        self.token_owners = TokenOwners()
{%- endif %}


# Every authenticated request runs this query. It selects columns on a connection, and is built
# once, which takes half the time of loading an object in a session.
_PRINCIPAL = (
    select(
        *ACCOUNT_COLUMNS,
        LoginSession.id.label("session_id"),
        case(
            (User.role == Role.SERVICE, "client_credentials"),
            (LoginSession.cookie_hash.is_not(None), "cookie"),
            else_="token",
        ).label("credential"),
        func.coalesce(LoginSession.authenticated_at, LoginSession.created_at).label(
            "authenticated_at"
        ),
        LoginSession.scope,
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
_PRINCIPAL_BY_PERSONAL_TOKEN = (
    select(
        *ACCOUNT_COLUMNS,
        PersonalAccessToken.id.label("session_id"),
        literal("personal_token").label("credential"),
        PersonalAccessToken.created_at.label("authenticated_at"),
        PersonalAccessToken.scope,
        PersonalAccessToken.expires_at,
        PersonalAccessToken.last_used_at,
    )
    .join(PersonalAccessToken, PersonalAccessToken.user_id == User.id)
    .where(User.is_active, PersonalAccessToken.token_hash == bindparam("token_hash"))
)


async def get_principal_by_token(
    database: Database, claims: Claims, address: str | None
) -> Principal | None:
    """Return the user of an access token, or None if its session has expired or been revoked.

    Args:
        address: the address of the client.
    """
    parameters = {"session_id": claims.session_id, "user_id": claims.user_id}
    return await _get_principal(
        database, _PRINCIPAL_BY_TOKEN, parameters, address, limit=claims.scope
    )


async def get_principal_by_cookie(
    database: Database, cookie: str, token: str, address: str | None
) -> Principal | None:
    """Return the user of a browser session, or None if it has expired or been revoked.

    Args:
        cookie: the name of the cookie that the token was sent in.
        address: the address of the client.
    """
    parameters = {"cookie_hash": hash_cookie(cookie, token)}
    return await _get_principal(database, _PRINCIPAL_BY_COOKIE, parameters, address)


async def get_principal_by_personal_token(
    database: Database, token: str, address: str | None
) -> Principal | None:
    """Return the owner of a personal access token, or None if it is unknown or has expired.

    Args:
        address: the address of the client.
    """
    now, row = utcnow(), None
    if is_token(token):
        async with database.read_connection() as connection:
            parameters = {"token_hash": hash_token(token)}
            result = await connection.execute(_PRINCIPAL_BY_PERSONAL_TOKEN, parameters)
            row = result.mappings().one_or_none()
    if row is None or row["expires_at"] <= now:
{%- if cookiecutter.use_prometheus %}
        PERSONAL_TOKENS.labels("rejected" if row is None else "expired").inc()
{%- endif %}
        return None
    columns = dict(row)
    del columns["expires_at"]
    last_used_at = columns.pop("last_used_at")
    if last_used_at is None or last_used_at <= now - USE_INTERVAL:
        try:
            await record_use(database, columns["session_id"], now)
        except (DBAPIError, PoolTimeoutError) as error:
            log.warning("use of a personal access token not recorded", error=error)
    return _to_principal(columns, address)


async def _get_principal(
    database: Database,
    statement: Select[*tuple[Any, ...]],
    parameters: Mapping[str, object],
    address: str | None,
    *,
    limit: str | None = None,
) -> Principal | None:
    async with database.read_connection() as connection:
        result = await connection.execute(statement, {"now": utcnow(), **parameters})
        row = result.mappings().one_or_none()
    return None if row is None else _to_principal(dict(row), address, limit)


def _to_principal(
    columns: dict[str, Any], address: str | None, limit: str | None = None
) -> Principal:
    scopes = effective_scopes(columns["role"], columns.pop("scope"), limit)
    return Principal(**columns, scopes=scopes, address=address)


def is_recently_authenticated(settings: Settings, principal: Principal) -> bool:
    """Return whether the caller authenticated within STEP_UP_MAX_AGE (RFC 9470)."""
    return utcnow() - principal.authenticated_at <= timedelta(seconds=settings.step_up_max_age)


@dataclass(frozen=True)
class Login:
    """A login whose credentials have been verified, in the transaction that stores it.

    Attributes:
        amr: the methods of the authentication (RFC 8176).
    """

    session: AsyncSession
    user: User
    amr: tuple[str, ...]


@asynccontextmanager
async def login_transaction(
    database: Database,
    auth: AuthServices,
    email: str,
    password: str,
    client: ClientInfo,
    otp: str | None = None,
) -> AsyncIterator[Login]:
    """Verify the credentials of an active user, then open the transaction that stores the login.

    Takes the same time for unknown users, to prevent user enumeration. An IncorrectPasswordError
    that the caller raises in the transaction is a failed login too.

    Args:
        otp: a code of the authenticator app, or a recovery code.

    Raises:
        IncorrectPasswordError: the email is unknown, or the password is wrong.
        IncorrectCodeError: the code is wrong.
        MfaRequiredError: the account needs a code. The client prompts for it and logs in again.
        EmailNotVerifiedError: REQUIRE_VERIFIED_EMAIL is set, and the address is not verified.
        TooManyAttemptsError: too many failures for the account or the address.
        OverloadedError: too many passwords are waiting.
    """
    email, address = normalize_email(email), address_key(client.address)
    account_key = hash_token(email)  # the counters contain no email
    counters = _login_counters(auth.settings, account_key, address)
    account = await _find_account(database, auth, email, client, counters)
    try:
        password_hash = account and account.password_hash
        verified = await auth.hasher.verify(password, password_hash, address)
        if account is None or not verified:
            raise IncorrectPasswordError(INCORRECT_CREDENTIALS)
        new_hash = None
        if auth.hasher.needs_rehash(account.password_hash):
            new_hash = await auth.hasher.hash(password, address)
        async with database.write_session() as session:
            user = await get_user_for_update(session, account.id, account.password_hash)
            if auth.settings.require_verified_email and user.email_verified_at is None:
                raise EmailNotVerifiedError
            # The lock makes this the current state, also while a factor is being added.
            amr = await verify_second_factor(session, auth.box, user, otp, client.address)
            if new_hash is not None:
                user.password_hash = new_hash
            yield Login(session, user, amr)
            action = Action.LOGIN_SUCCEEDED
            record(session, action, user.id, credential="password", address=client.address)
{%- if cookiecutter.use_prometheus %}
    except MfaRequiredError:
        LOGINS.labels("code_required").inc()
        raise
{%- endif %}
    except (IncorrectPasswordError, EmailNotVerifiedError) as error:
        outcome, action = FAILURES[type(error)]
        log.info("login failed", outcome=outcome, address=client.address)
{%- if cookiecutter.use_prometheus %}
        LOGINS.labels(outcome).inc()
{%- endif %}
        account_id = account and account.id
        await record_failed_login(database, auth, action, account_id, account_key, client.address)
        raise
    # A password without its code resets no counter, so that codes cannot be guessed.
    for counter in counters:
        await auth.throttle.reset(*counter)
    log.info("login", user_id=str(user.id), address=client.address)
{%- if cookiecutter.use_prometheus %}
    LOGINS.labels("success").inc()
{%- endif %}


async def _find_account(
    database: Database,
    auth: AuthServices,
    email: str,
    client: ClientInfo,
    counters: tuple[Counter, Counter],
) -> Row[UUID, str] | None:
    """Return id and password hash of an active user, and count the attempt to log in."""
    address_counter, total_counter = counters
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
    await auth.throttle.check(*address_counter)
    if address_key(client.address) not in {address_key(known) for known in addresses if known}:
        await auth.throttle.check(*total_counter)
    return account


async def record_failed_login(
    database: Database,
    auth: AuthServices,
    action: Action,
    account_id: UUID | None,
    account_key: str,
    address: str | None,
) -> None:
    """Count a wrong code, and record the failure in a transaction of its own.

    Attackers must not fill the table: within LOGIN_WINDOW, each action is recorded at most
    LOGIN_ATTEMPTS times for an account and `MAX_RECORDED_FAILURES` times for all accounts. Unknown
    emails count apart from accounts, so that invented ones do not hide an attack on an account.

    Args:
        account_id: the account, or None if the email is unknown.
        account_key: a hash of the email.
        address: the address of the client.
    """
    if account_id is not None and action is Action.LOGIN_CODE_FAILED:
        await count_failure(database, account_id)
    limits = {
        f"audit:{action}:{account_key}": auth.settings.login_attempts,
        f"audit:{action}:{'unknown' if account_id is None else 'known'}": MAX_RECORDED_FAILURES,
    }
    for key, amount in limits.items():
        if await auth.throttle.attempt(key, Limit(amount, auth.settings.login_window)) > 0:
            return
    async with database.write_session() as session:
        record(session, action, account_id, address=address)


async def verify_current_password(
    database: Database, auth: AuthServices, user_id: UUID, password: str
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
            select(User.password_hash).where(User.id == user_id)
        )
    await check_reauthentication(auth, user_id)
    verified = await auth.hasher.verify(password, password_hash, caller=str(user_id))
    if not verified or password_hash is None:
        raise IncorrectPasswordError
    return password_hash


async def check_reauthentication(auth: AuthServices, user_id: UUID) -> None:
    """Count an attempt of an authenticated user to confirm a password or code.

    Raises:
        TooManyAttemptsError: too many attempts.
    """
    await auth.throttle.check(*_reauthentication_counter(auth.settings, user_id))


async def reauthenticate(
    database: Database,
    auth: AuthServices,
    principal: Principal,
    password: str,
    otp: str | None = None,
) -> None:
    """Authenticate the caller again, in the session of the request.

    Args:
        otp: a code of the authenticator app, or a recovery code.

    Raises:
        ServiceError: see `verify_current_password` and `verify_second_factor`.
    """
    password_hash = await verify_current_password(database, auth, principal.id, password)
    try:
        async with database.write_session() as session:
            user = await get_user_for_update(session, principal.id, password_hash)
            amr = await verify_second_factor(session, auth.box, user, otp, principal.address)
            await session.execute(
                update(LoginSession)
                .where(LoginSession.id == principal.session_id)
                .values(
                    authenticated_at=utcnow(),
                    amr=" ".join(amr),
                    updated_at=LoginSession.updated_at,  # is the time of the last refresh
                )
            )
            record(session, Action.REAUTHENTICATED, user.id, by=principal)
    except IncorrectCodeError:
        action, account_key = Action.LOGIN_CODE_FAILED, hash_token(principal.email)
        await record_failed_login(
            database, auth, action, principal.id, account_key, principal.address
        )
        raise
    await reset_reauthentication(auth, principal.id)
    log.info("reauthenticated")


async def reset_reauthentication(auth: AuthServices, user_id: UUID) -> None:
    """Reset the counter of `check_reauthentication`."""
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


async def lock_administrators(session: AsyncSession) -> set[UUID]:
    """Lock the accounts of all active administrators and return their ids.

    Every change by an administrator and every deletion of an account locks them first. Such changes
    therefore run one at a time, and at least one administrator is left.
    """
    ids = await session.scalars(
        select(User.id)
        .where(User.role == Role.ADMIN, User.is_active)
        .order_by(User.id)
        .with_for_update(key_share=True)
    )
    return set(ids)


async def begin_administration(session: AsyncSession, admin: Principal) -> None:
    """Lock the administrators' accounts for a change by one of them.

    Raises:
        PermissionDeniedError: the account is no longer an active administrator.
    """
    if admin.id not in await lock_administrators(session):
        raise PermissionDeniedError


async def check_address_limit(auth: AuthServices, client: ClientInfo, purpose: str) -> None:
    """Count an attempt of the client's address.

    Raises:
        TooManyAttemptsError: more than LOGIN_ATTEMPTS_PER_ADDRESS.
    """
    await auth.throttle.check(*address_counter(auth.settings, client, purpose))


def address_counter(settings: Settings, client: ClientInfo, purpose: str) -> Counter:
    """Return the counter of `check_address_limit`."""
    limit = Limit(settings.login_attempts_per_address, settings.login_window)
    return f"{purpose}:{address_key(client.address)}", limit


def _login_counters(settings: Settings, account_key: str, address: str) -> tuple[Counter, Counter]:
    per_address = Limit(settings.login_attempts, settings.login_window)
    in_total = Limit(settings.login_attempts_per_account, settings.login_window)
    return (
        (f"account_address:{account_key}:{address}", per_address),
        (f"account:{account_key}", in_total),
    )


def _reauthentication_counter(settings: Settings, user_id: UUID) -> Counter:
    return f"reauthentication:{user_id}", Limit(settings.login_attempts, settings.login_window)
