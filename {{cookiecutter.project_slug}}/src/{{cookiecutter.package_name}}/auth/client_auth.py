"""Authentication of service accounts at the token endpoint (RFC 6749 section 2.3)."""

import hmac
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote_plus
from uuid import UUID

import structlog
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy.dialects.postgresql import insert
{%- else %}
from sqlalchemy.dialects.sqlite import insert
{%- endif %}
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
from ..database import Database
from ..exceptions import InactiveClientError, InvalidClientError
from .client_assertions import VerifiedAssertion, read_client_id, verify_assertion
from .models import ClientAssertion, ServiceAccount, User
from .service import AuthServices, address_counter, check_address_limit, record_failed_login
from .service_accounts import lock_service_account
from .sessions import ClientInfo, hash_token

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class ClientCredentials:
    """The credentials of a client: a secret, or an assertion that the client has signed."""

    client_id: UUID
    secret: str | None = None
    assertion: str | None = None


@dataclass(frozen=True)
class ClientLogin:
    """A service account that is authenticated, in the transaction that stores the login.

    Attributes:
        scope: the scopes of the service account, separated by spaces.
    """

    session: AsyncSession
    user: User
    scope: str


def read_basic_credentials(authorization: str) -> ClientCredentials:
    """Return the credentials of a Basic header, form-decoded (RFC 6749 section 2.3.1).

    Raises:
        InvalidClientError: the header is malformed.
    """
    try:
        decoded = b64decode(authorization.partition(" ")[2].strip(), validate=True).decode()
        client_id, _, secret = decoded.partition(":")
        return ClientCredentials(UUID(unquote_plus(client_id)), secret=unquote_plus(secret))
    except ValueError:
        raise InvalidClientError from None


def read_assertion(assertion: str) -> ClientCredentials:
    """Return an assertion (RFC 7523 section 2.2) as credentials, before it is verified.

    Raises:
        InvalidClientError: the assertion is malformed.
    """
    return ClientCredentials(read_client_id(assertion), assertion=assertion)


@asynccontextmanager
async def client_transaction(
    database: Database,
    auth: AuthServices,
    credentials: ClientCredentials,
    client: ClientInfo,
    audiences: list[str],
) -> AsyncIterator[ClientLogin]:
    """Authenticate a service account, then open the transaction that stores its login.

    Args:
        audiences: the names of the service that an assertion may have as its audience.

    Raises:
        InvalidClientError: the client is unknown, its credentials are wrong, or the assertion was
            already used.
        InactiveClientError: the service account is deactivated.
        TooManyAttemptsError: too many failures for the address.
    """
    await check_address_limit(auth, client, "client")
    client_id = credentials.client_id
    async with database.read_session() as read_session:
        known = await read_session.get(ServiceAccount, client_id)
    try:
        assertion = _verify(credentials, known, audiences)
        async with database.write_session() as session:
            # The lock makes this the current state, also while the credentials are being replaced.
            row = await lock_service_account(session, client_id)
            if row is None or known is None or not _has_same_credentials(known, row[1]):
                raise InvalidClientError
            user, account = row
            if not user.is_active:
                raise InactiveClientError
            if assertion is not None:
                await _use(session, assertion)
            yield ClientLogin(session, user, account.scope)
            action, address = Action.LOGIN_SUCCEEDED, client.address
            record(session, action, client_id, credential="client_credentials", address=address)
    except InvalidClientError:
        log.info("client authentication failed", client_id=str(client_id), address=client.address)
        action, account_id = Action.LOGIN_FAILED, client_id if known else None
        await record_failed_login(
            database, auth, action, account_id, str(client_id), client.address
        )
        raise
    await auth.throttle.reset(*address_counter(auth.settings, client, "client"))
    log.info("client authenticated", user_id=str(client_id), address=client.address)


def _verify(
    credentials: ClientCredentials, account: ServiceAccount | None, audiences: list[str]
) -> VerifiedAssertion | None:
    """Verify the credentials, and return the assertion if they are one."""
    if account is None:
        raise InvalidClientError
    if credentials.assertion is not None and account.jwks is not None:
        return verify_assertion(credentials.assertion, account.jwks, account.user_id, audiences)
    if credentials.secret is None or account.secret_hash is None:
        raise InvalidClientError
    if not hmac.compare_digest(hash_token(credentials.secret), account.secret_hash):
        raise InvalidClientError
    return None


def _has_same_credentials(account: ServiceAccount, other: ServiceAccount) -> bool:
    return (account.secret_hash, account.jwks) == (other.secret_hash, other.jwks)


async def _use(session: AsyncSession, assertion: VerifiedAssertion) -> None:
    """Store that an assertion was used.

    Raises:
        InvalidClientError: it was used before.
    """
    values = {"jti_hash": assertion.jti_hash, "expires_at": assertion.expires_at}
    statement = insert(ClientAssertion).values(**values)
    stored = await session.scalar(
        statement.on_conflict_do_nothing(index_elements=["jti_hash"]).returning(ClientAssertion.id)
    )
    if stored is None:
        raise InvalidClientError
