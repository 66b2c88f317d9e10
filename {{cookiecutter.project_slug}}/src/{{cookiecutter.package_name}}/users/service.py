"""Operations on accounts."""

from uuid import UUID

import structlog
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..auth.models import ACCOUNT_COLUMNS, Role, User
from ..auth.service import (
    AuthServices,
    Principal,
    get_user_for_update,
    reset_reauthentication,
    verify_current_password,
)
from ..auth.sessions import revoke_all_sessions
from ..database import Database, explain_conflict
from ..exceptions import ConflictError, NotFoundError, PermissionDeniedError
from ..pagination import RowPage, paginate
{%- if cookiecutter.use_worker %}
from ..worker.queue import enqueue
from ..worker.tasks import send_welcome
{%- endif %}
from .schemas import ProfileUpdate, UserCreate, UserQuery, UserUpdate

log = structlog.stdlib.get_logger(__name__)

CONFLICTS = {
{%- if cookiecutter.database == "postgresql" %}
    "uq_users_email": "This email address already has an account.",
{%- else %}
    "users.email": "This email address already has an account.",
{%- endif %}
}


async def create_user(
    session: AsyncSession, data: UserCreate, password_hash: str, role: Role = Role.USER
) -> User:
    """Create an account.

    Args:
        password_hash: see `PasswordHasher.hash_new`.

    Raises:
        ConflictError: the email address has an account.
    """
    user = User(email=data.email, full_name=data.full_name, password_hash=password_hash, role=role)
    session.add(user)
    with explain_conflict(CONFLICTS):
        await session.flush()
{%- if cookiecutter.use_worker %}
    await enqueue(session, send_welcome, user_id=user.id)
{%- endif %}
    return user


async def list_users(session: AsyncSession, query: UserQuery) -> RowPage:
    """List the accounts that match the query."""
    statement = select(*ACCOUNT_COLUMNS)
    if query.q:
        statement = statement.where(
            or_(
                User.email.icontains(query.q, autoescape=True),
                User.full_name.icontains(query.q, autoescape=True),
            )
        )
    if query.role is not None:
        statement = statement.where(User.role == query.role)
    if query.is_active is not None:
        statement = statement.where(User.is_active == query.is_active)
    return await paginate(session, statement, query)


async def get_user(session: AsyncSession, user_id: UUID, *, for_update: bool = False) -> User:
    """Return an account.

    Args:
        for_update: lock the account until the transaction ends.

    Raises:
        NotFoundError: there is no such account.
    """
    statement = select(User).where(User.id == user_id)
    if for_update:
        statement = statement.with_for_update(key_share=True)
    user = await session.scalar(statement.execution_options(populate_existing=True))
    if user is None:
        raise NotFoundError("User not found.")
    return user


async def update_profile(session: AsyncSession, user_id: UUID, data: ProfileUpdate) -> User:
    """Change the caller's own profile."""
    user = await get_user(session, user_id, for_update=True)
    for name, value in data.model_dump(exclude_unset=True).items():
        setattr(user, name, value)
    await session.flush()
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


async def begin_administration(session: AsyncSession, admin_id: UUID) -> None:
    """Lock the administrators' accounts for a change by one of them.

    Raises:
        PermissionDeniedError: the account is no longer an active administrator.
    """
    if admin_id not in await lock_administrators(session):
        raise PermissionDeniedError


async def update_user(
    session: AsyncSession, admin_id: UUID, user_id: UUID, data: UserUpdate
) -> User:
    """Change an account as an administrator. Deactivation revokes all sessions of the account.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such account.
        ConflictError: the email address is taken, or administrators would lock themselves out.
    """
    await begin_administration(session, admin_id)
    user = await get_user(session, user_id, for_update=True)
    changes = data.model_dump(exclude_unset=True)
    if user.id == admin_id and {"role", "is_active"} & changes.keys():
        raise ConflictError("Administrators cannot change their own role or deactivate themselves.")
    for name, value in changes.items():
        setattr(user, name, value)
    with explain_conflict(CONFLICTS):
        await session.flush()
    if not user.is_active:
        await revoke_all_sessions(session, user.id)
    return user


{% if cookiecutter.use_admin -%}
async def reset_password(
    session: AsyncSession, admin_id: UUID, user_id: UUID, password_hash: str
) -> None:
    """Replace the password of another user as an administrator, and revoke the user's sessions.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such account.
        ConflictError: it is the administrator's own account.
    """
    await begin_administration(session, admin_id)
    if user_id == admin_id:
        raise ConflictError("Change your own password in your profile.")
    user = await get_user(session, user_id, for_update=True)
    user.password_hash = password_hash
    await revoke_all_sessions(session, user.id)


async def delete_user(session: AsyncSession, admin_id: UUID, user_id: UUID) -> None:
    """Delete another user as an administrator, with everything that belongs to the account.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such account.
        ConflictError: it is the administrator's own account.
    """
    await begin_administration(session, admin_id)
    if user_id == admin_id:
        raise ConflictError("Administrators cannot delete themselves.")
    user = await get_user(session, user_id, for_update=True)
{%- if cookiecutter.use_redis %}
    await revoke_all_sessions(session, user.id)
{%- endif %}
    await session.delete(user)
    await session.flush()


{% endif -%}
async def change_password(
    database: Database,
    auth: AuthServices,
    principal: Principal,
    current_password: str,
    new_password: str,
) -> None:
    """Replace the password and revoke every session of the user.

    Raises:
        UnacceptablePasswordError: the new password is easy to guess.
        ServiceError: see `verify_current_password`.
    """
    caller = str(principal.id)
    await auth.hasher.check(new_password, principal.email, caller)
    current_hash = await verify_current_password(database, auth, principal, current_password)
    new_hash = await auth.hasher.hash(new_password, caller)
    async with database.write_session() as session:
        user = await get_user_for_update(session, principal.id, current_hash)
        user.password_hash = new_hash
        await revoke_all_sessions(session, user.id)
    await reset_reauthentication(auth, principal.id)
    log.info("password changed")


async def delete_account(
    database: Database, auth: AuthServices, principal: Principal, password: str
) -> None:
    """Delete the caller's account with everything that belongs to it.

    Raises:
        ConflictError: the caller is the last active administrator.
        ServiceError: see `verify_current_password`.
    """
    password_hash = await verify_current_password(database, auth, principal, password)
    async with database.write_session() as session:
        administrators = await lock_administrators(session)
        user = await get_user_for_update(session, principal.id, password_hash)
        if administrators == {user.id}:
            raise ConflictError("The last administrator cannot delete the account.")
{%- if cookiecutter.use_redis %}
        await revoke_all_sessions(session, user.id)
{%- endif %}
        await session.delete(user)
    await reset_reauthentication(auth, principal.id)
    log.info("user deleted")
