"""Operations on accounts."""

from uuid import UUID

import structlog
from sqlalchemy import delete, or_, select
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy.dialects.postgresql import insert
{%- else %}
from sqlalchemy.dialects.sqlite import insert
{%- endif %}
from sqlalchemy.ext.asyncio import AsyncSession

from ..audit.models import Action
from ..audit.service import record
from ..auth import mfa, personal_tokens
from ..auth.account_tokens import delete_tokens, is_reserved
from ..auth.models import ACCOUNT_COLUMNS, AccountToken, Role, User
from ..auth.principal import Principal
from ..auth.recovery import count_mail
from ..auth.service import (
    AuthServices,
    begin_administration,
    get_user_for_update,
    lock_administrators,
    reset_reauthentication,
    verify_current_password,
)
from ..auth.sessions import ClientInfo, revoke_all_sessions
from ..auth.tasks import Notice, send_account_exists, send_notice, send_verification
{%- if not cookiecutter.use_worker %}
from ..background import enqueue
{%- endif %}
from ..database import Database, explain_conflict
from ..exceptions import ConflictError, NotFoundError
from ..pagination import RowPage, paginate
{%- if cookiecutter.use_worker %}
from ..worker.queue import enqueue
{%- endif %}
from .schemas import InvitationCreate, ProfileUpdate, UserCreate, UserQuery, UserUpdate

log = structlog.stdlib.get_logger(__name__)

EMAIL_TAKEN = "This email address already has an account."
{%- if cookiecutter.database == "postgresql" %}
CONFLICTS = {"uq_users_email": EMAIL_TAKEN}
{%- else %}
CONFLICTS = {"users.email": EMAIL_TAKEN}
{%- endif %}


async def register(
    database: Database,
    auth: AuthServices,
    data: UserCreate,
    password_hash: str,
    client: ClientInfo,
) -> None:
    """Register an account and email a link to verify its address.

    If the address has an account, email its owner instead. Both take the same time, to prevent user
    enumeration: the statements are the same, and the message is sent after the response.
    """
    may_email = await count_mail(auth, data.email)
    async with database.write_session() as session:
        created = await session.scalar(
            insert(User)
            .values(email=data.email, full_name=data.full_name, password_hash=password_hash)
            .on_conflict_do_nothing(index_elements=["email"])
            .returning(User.id)
        )
        owner = await session.scalar(select(User.id).where(User.email == data.email))
        # Checked last, because the insertion waits for a concurrent change of this address.
        if await is_reserved(session, data.email) and created is not None:
            await session.execute(delete(User).where(User.id == created))
            created = owner = None
        action = Action.REGISTRATION_REFUSED if created is None else Action.USER_REGISTERED
        record(session, action, owner, address=client.address)
        if may_email and owner is not None:
            task = send_account_exists if created is None else send_verification
            await enqueue(session, task, user_id=owner)
    if created is None:
        log.info("registration refused", user_id=owner and str(owner))
    else:
        log.info("user registered", user_id=str(created))


async def create_user(
    session: AsyncSession,
    data: UserCreate | InvitationCreate,
    password_hash: str,
    role: Role = Role.USER,
    *,
    by: Principal | None = None,
) -> User:
    """Create an account.

    Args:
        password_hash: see `PasswordHasher.hash_new`; empty if the user is to set the password.
        by: the administrator who creates it, for the audit.

    Raises:
        ConflictError: the email address has an account.
    """
    user = User(email=data.email, full_name=data.full_name, password_hash=password_hash, role=role)
    session.add(user)
    with explain_conflict(CONFLICTS):
        await session.flush()
    if by is not None:
        record(session, Action.USER_CREATED, user.id, by=by)
    return user


async def list_users(session: AsyncSession, query: UserQuery) -> RowPage:
    """List the accounts of people that match the query."""
    statement = select(*ACCOUNT_COLUMNS).where(User.role != Role.SERVICE)
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
    """Return the account of a person.

    Args:
        for_update: lock the account until the transaction ends.

    Raises:
        NotFoundError: there is no such account.
    """
    statement = select(User).where(User.id == user_id, User.role != Role.SERVICE)
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


async def update_user(
    session: AsyncSession, admin: Principal, user_id: UUID, data: UserUpdate
) -> User:
    """Change an account as an administrator.

    A new email address is not verified, and the former one is notified if it was. Earlier changes
    can no longer be undone, because an attacker may have made them. Deactivation revokes all
    sessions and tokens of the account.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such account.
        ConflictError: the email address is taken, or administrators would lock themselves out.
    """
    await begin_administration(session, admin)
    user = await get_user(session, user_id, for_update=True)
    changes = data.model_dump(exclude_unset=True)
    if user.id == admin.id and {"role", "is_active"} & changes.keys():
        raise ConflictError("Administrators cannot change their own role or deactivate themselves.")
    changes = {name: value for name, value in changes.items() if getattr(user, name) != value}
    former_email = user.email if "email" in changes and user.email_verified_at else None
    for name, value in changes.items():
        setattr(user, name, value)
    if "email" in changes:
        user.email_verified_at = None
    with explain_conflict(CONFLICTS):
        await session.flush()
    if "email" in changes:
        await session.execute(delete(AccountToken).where(AccountToken.user_id == user.id))
    if not user.is_active:
        await delete_tokens(session, user.id)
        await revoke_all_sessions(session, user.id)
        await personal_tokens.delete_tokens(session, user.id)
    if former_email:
        notice = Notice.EMAIL_CHANGED
        await enqueue(session, send_notice, user_id=user.id, notice=notice, email=former_email)
    if changes:
        target = f"fields:{','.join(sorted(changes))}"
        record(session, Action.USER_CHANGED, user.id, by=admin, target=target)
    return user


async def remove_factors(session: AsyncSession, admin: Principal, user_id: UUID) -> bool:
    """Remove the second factors of a user who has lost them, and revoke the user's sessions.

    Returns:
        Whether the user had a second factor.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such account.
    """
    await begin_administration(session, admin)
    user = await get_user(session, user_id, for_update=True)
    return await mfa.remove_all(session, user, admin)


async def revoke_token(
    session: AsyncSession, admin: Principal, user_id: UUID, token_id: UUID
) -> None:
    """Revoke a personal access token of a user as an administrator.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: the user has no such token.
    """
    await begin_administration(session, admin)
    await personal_tokens.revoke_token(session, user_id, token_id, by=admin)


{% if cookiecutter.use_admin -%}
async def reset_password(
    session: AsyncSession, admin: Principal, user_id: UUID, password_hash: str
) -> None:
    """Replace the password of another user as an administrator, and revoke all sessions and tokens.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such account.
        ConflictError: it is the administrator's own account.
    """
    await begin_administration(session, admin)
    if user_id == admin.id:
        raise ConflictError("Change your own password in your profile.")
    user = await get_user(session, user_id, for_update=True)
    user.password_hash = password_hash
    await delete_tokens(session, user.id)
    await revoke_all_sessions(session, user.id)
    await personal_tokens.delete_tokens(session, user.id)
    record(session, Action.USER_CHANGED, user.id, by=admin, target="fields:password")
    await enqueue(session, send_notice, user_id=user.id, notice=Notice.PASSWORD_CHANGED)


async def delete_user(session: AsyncSession, admin: Principal, user_id: UUID) -> None:
    """Delete another user as an administrator, with everything that belongs to the account.

    Raises:
        PermissionDeniedError: the caller is no longer an administrator.
        NotFoundError: there is no such account.
        ConflictError: it is the administrator's own account.
    """
    await begin_administration(session, admin)
    if user_id == admin.id:
        raise ConflictError("Administrators cannot delete themselves.")
    user = await get_user(session, user_id, for_update=True)
{%- if cookiecutter.use_redis %}
    await revoke_all_sessions(session, user.id)
{%- endif %}
    await session.delete(user)
    record(session, Action.USER_DELETED, user.id, by=admin)
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
    current_hash = await verify_current_password(database, auth, principal.id, current_password)
    new_hash = await auth.hasher.hash(new_password, caller)
    async with database.write_session() as session:
        user = await get_user_for_update(session, principal.id, current_hash)
        user.password_hash = new_hash
        await delete_tokens(session, user.id)
        await revoke_all_sessions(session, user.id)
        record(session, Action.PASSWORD_CHANGED, user.id, by=principal)
        await enqueue(session, send_notice, user_id=user.id, notice=Notice.PASSWORD_CHANGED)
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
    password_hash = await verify_current_password(database, auth, principal.id, password)
    async with database.write_session() as session:
        administrators = await lock_administrators(session)
        user = await get_user_for_update(session, principal.id, password_hash)
        if administrators == {user.id}:
            raise ConflictError("The last administrator cannot delete the account.")
{%- if cookiecutter.use_redis %}
        await revoke_all_sessions(session, user.id)
{%- endif %}
        await session.delete(user)
        record(session, Action.ACCOUNT_DELETED, user.id, by=principal)
        if user.email_verified_at is not None:
            notice, email = Notice.ACCOUNT_DELETED, user.email
            await enqueue(session, send_notice, user_id=user.id, notice=notice, email=email)
    await reset_reauthentication(auth, principal.id)
    log.info("user deleted")
