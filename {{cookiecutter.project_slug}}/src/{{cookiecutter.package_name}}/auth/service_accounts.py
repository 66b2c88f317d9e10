"""Service accounts: users with the role `service`, for programs that use the API."""

import secrets
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, case, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
from ..database import explain_conflict, utcnow
from ..exceptions import NotFoundError
from ..pagination import RowPage, paginate
from .models import Role, ServiceAccount, User
from .principal import Principal
from .schemas import ServiceAccountCreate, ServiceAccountQuery, ServiceAccountUpdate
from .scopes import effective_scopes, grant_scope
from .service import begin_administration
from .sessions import hash_token, revoke_all_sessions

NAME_TAKEN = "Another service account has this name."
{%- if cookiecutter.database == "postgresql" %}
CONFLICTS = {"uq_service_accounts_name": NAME_TAKEN}
{%- else %}
CONFLICTS = {"service_accounts.name": NAME_TAKEN}
{%- endif %}
# How the client authenticates: with its keys, or else with a secret.
AUTH_METHOD = case(
    (ServiceAccount.jwks.is_(None), "client_secret_basic"), else_="private_key_jwt"
).label("auth_method")
_SERVICE_ACCOUNTS = select(
    ServiceAccount.user_id.label("id"),
    ServiceAccount.name,
    ServiceAccount.scope.label("scopes"),
    AUTH_METHOD,
    ServiceAccount.jwks,
    User.is_active,
    ServiceAccount.created_at,
    ServiceAccount.updated_at,
).join(User, User.id == ServiceAccount.user_id)


async def create_service_account(
    session: AsyncSession, admin: Principal, data: ServiceAccountCreate
) -> tuple[UUID, str | None]:
    """Create a service account with its keys, or else with a secret.

    Returns:
        The id of the account, and the secret if there is one.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        InvalidScopeError: a scope is unknown, or programs cannot have it.
        ConflictError: the name is taken.
    """
    await begin_administration(session, admin)
    user_id, secret = uuid4(), None if data.jwks else _new_secret()
    # No email can be sent to the address, and no route accepts it (RFC 2606 section 2).
    email = f"{user_id}@service-accounts.invalid"
    session.add(User(id=user_id, email=email, password_hash="", role=Role.SERVICE))
    await session.flush()
    account = ServiceAccount(
        user_id=user_id,
        name=data.name,
        scope=_grant(data.scopes),
        secret_hash=secret and hash_token(secret),
        jwks=data.jwks,
    )
    session.add(account)
    with explain_conflict(CONFLICTS):
        await session.flush()
    record(session, Action.SERVICE_ACCOUNT_CREATED, user_id, by=admin)
    return user_id, secret


async def list_service_accounts(session: AsyncSession, query: ServiceAccountQuery) -> RowPage:
    """List the service accounts."""
    return await paginate(session, _SERVICE_ACCOUNTS, query)


async def get_service_account(session: AsyncSession, account_id: UUID) -> Row[*tuple[Any, ...]]:
    """Return a service account.

    Raises:
        NotFoundError: there is no such service account.
    """
    statement = _SERVICE_ACCOUNTS.where(ServiceAccount.user_id == account_id)
    account = (await session.execute(statement)).one_or_none()
    if account is None:
        raise NotFoundError("Service account not found.")
    return account


async def update_service_account(
    session: AsyncSession, admin: Principal, account_id: UUID, data: ServiceAccountUpdate
) -> None:
    """Change a service account. New keys replace the former credentials.

    Deactivating the account or removing a scope revokes its access tokens.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such service account.
        InvalidScopeError: a scope is unknown, or programs cannot have it.
        ConflictError: the name is taken.
    """
    user, account = await _get_for_update(session, admin, account_id)
    fields, former_scopes = data.model_fields_set, set(account.scope.split())
    if "name" in fields:
        account.name = data.name
    if "scopes" in fields:
        account.scope = _grant(data.scopes)
    if "jwks" in fields:
        account.jwks, account.secret_hash = data.jwks, None
    if "is_active" in fields:
        # A change of the user alone would not change `updated_at` of the service account.
        user.is_active, account.updated_at = data.is_active, utcnow()
    with explain_conflict(CONFLICTS):
        await session.flush()
    if not user.is_active or not former_scopes.issubset(account.scope.split()):
        await revoke_all_sessions(session, account_id)
    if fields:
        target = f"fields:{','.join(sorted(fields))}"
        record(session, Action.SERVICE_ACCOUNT_CHANGED, account_id, by=admin, target=target)


async def rotate_secret(session: AsyncSession, admin: Principal, account_id: UUID) -> str:
    """Replace the credentials of a service account with a new secret, and return the secret.

    Revokes the access tokens of the account.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such service account.
    """
    _, account = await _get_for_update(session, admin, account_id)
    secret = _new_secret()
    account.secret_hash, account.jwks = hash_token(secret), None
    await revoke_all_sessions(session, account_id)
    record(session, Action.SERVICE_ACCOUNT_SECRET_ROTATED, account_id, by=admin)
    return secret


async def delete_service_account(session: AsyncSession, admin: Principal, account_id: UUID) -> None:
    """Delete a service account, with everything that belongs to it.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such service account.
    """
    user, _ = await _get_for_update(session, admin, account_id)
{%- if cookiecutter.use_redis %}
    await revoke_all_sessions(session, account_id)
{%- endif %}
    await session.delete(user)
    record(session, Action.SERVICE_ACCOUNT_DELETED, account_id, by=admin)
    await session.flush()


async def lock_service_account(
    session: AsyncSession, account_id: UUID
) -> Row[User, ServiceAccount] | None:
    """Lock and return a service account and its user, in their current state, if it exists."""
    statement = (
        select(User, ServiceAccount)
        .join(ServiceAccount, ServiceAccount.user_id == User.id)
        .where(User.id == account_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).one_or_none()


async def _get_for_update(
    session: AsyncSession, admin: Principal, account_id: UUID
) -> Row[User, ServiceAccount]:
    await begin_administration(session, admin)
    row = await lock_service_account(session, account_id)
    if row is None:
        raise NotFoundError("Service account not found.")
    return row


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _grant(scopes: list[str]) -> str:
    return grant_scope(effective_scopes(Role.SERVICE), " ".join(scopes))
