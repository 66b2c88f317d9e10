"""The rules of accounts."""

from collections.abc import Sequence
from uuid import UUID

import structlog
from pydantic import SecretStr
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..auth.passwords import Passwords, check_new_password
from ..auth.service import (
    AuthTools,
    Principal,
    lock_account,
    prove_password,
    reset_attempts,
    revoke_all,
)
from ..database import Reader, Record
from ..errors import Problem, explain_conflict
from ..pagination import paginate, shown
{%- if cookiecutter.use_worker %}
from ..worker.outbox import enqueue
from ..worker.tasks import send_welcome
{%- endif %}
from .models import Role, User
from .schemas import (
    AccountDelete,
    PasswordChange,
    ProfileUpdate,
    UserCreate,
    UserQuery,
    UserRead,
    UserUpdate,
)

log = structlog.stdlib.get_logger(__name__)

LIST = select(*shown(User, UserRead))
{%- if cookiecutter.database == "postgresql" %}
CONFLICTS = {"uq_users_email": "This email address already has an account."}
{%- else %}
CONFLICTS = {"users.email": "This email address already has an account."}
{%- endif %}


async def register(
    session: AsyncSession,
    passwords: Passwords,
    data: UserCreate,
    caller: str,
    role: Role = Role.USER,
) -> User:
    """Make an account.

    Args:
        caller: account or address of the client, as in `Passwords`.

    Raises:
        Problem: 409, the e-mail has an account; 422, the password is too easy to guess; 503, too
            many passwords are waiting to be hashed.
    """
    password_hash = await hash_new_password(passwords, data.password, data.email, caller)
    return await create_user(session, data, password_hash, role)


async def hash_new_password(
    passwords: Passwords, password: SecretStr, email: str, caller: str
) -> str:
    """Check a new password and hash it, before the transaction begins.

    Args:
        caller: account or address of the client, as in `Passwords`.

    Raises:
        Problem: 422, the password is too easy to guess; 503, too many passwords are waiting to be
            hashed.
    """
    new = password.get_secret_value()
    await check_new_password(new, email, pointer="/body/password")
    return await passwords.hash(new, caller)


async def create_user(
    session: AsyncSession, data: UserCreate, password_hash: str, role: Role
) -> User:
    """Create an account with a password that is hashed already.

    Raises:
        Problem: 409, the e-mail has an account.
    """
    user = User(email=data.email, full_name=data.full_name, password_hash=password_hash, role=role)
    session.add(user)
    await _flush(session)
{%- if cookiecutter.use_worker %}
    enqueue(session, send_welcome, user_id=user.id)
{%- endif %}
    log.info("user registered", user_id=str(user.id))
    return user


async def list_users(reader: Reader, page: UserQuery) -> tuple[Sequence[Record], str | None]:
    """The accounts that match, and the cursor of the next page."""
    statement = LIST
    if page.q:
        statement = statement.where(
            or_(
                User.email.icontains(page.q, autoescape=True),
                User.full_name.icontains(page.q, autoescape=True),
            )
        )
    if page.role is not None:
        statement = statement.where(User.role == page.role)
    if page.is_active is not None:
        statement = statement.where(User.is_active == page.is_active)
    return await paginate(reader, statement, page)


async def read_user(reader: Reader, user_id: UUID) -> Record:
    """One account, to be shown.

    Raises:
        Problem: as `get_user`.
    """
    user = await reader.row(LIST.where(User.id == user_id))
    if user is None:
        raise Problem(404, "No such user.")
    return user


async def get_user(session: AsyncSession, user_id: UUID) -> User:
    """One account, to be changed.

    Raises:
        Problem: 404, there is none.
    """
    user = await session.get(User, user_id)
    if user is None:
        raise Problem(404, "No such user.")
    return user


async def update_profile(session: AsyncSession, user_id: UUID, data: ProfileUpdate) -> User:
    """Change one's own profile."""
    user = await get_user(session, user_id)
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
        Problem: 403, the account is no longer an active administrator.
    """
    if admin_id not in await lock_administrators(session):
        raise Problem(403, "Only administrators may do this.")


async def update_user(
    session: AsyncSession, admin_id: UUID, user_id: UUID, data: UserUpdate
) -> User:
    """Change an account as an administrator; a deactivated account loses all its sessions.

    Raises:
        Problem: 403, the administrator is none any more; 404, no such user; 409, the e-mail is
            taken, or administrators would lock themselves out.
    """
    await begin_administration(session, admin_id)
    user = await _lock_user(session, user_id)
    changes = data.model_dump(exclude_unset=True)
    if user.id == admin_id and {"role", "is_active"} & changes.keys():
        raise Problem(409, "Administrators cannot change their own role or deactivate themselves.")
    for name, value in changes.items():
        setattr(user, name, value)
    await _flush(session)
    if not user.is_active:
        await revoke_all(session, user.id)
    log.info("user changed", changed_user_id=str(user.id), changed=sorted(changes))
    return user


{% if cookiecutter.use_admin -%}
async def reset_password(
    session: AsyncSession, admin_id: UUID, user_id: UUID, password_hash: str
) -> None:
    """Replace the password of another user as an administrator, and revoke the user's logins.

    Raises:
        Problem: 403, the administrator is none any more; 404, no such user; 409, it is the
            administrator's own account.
    """
    await begin_administration(session, admin_id)
    if user_id == admin_id:
        raise Problem(409, "Change your own password in your profile.")
    user = await _lock_user(session, user_id)
    user.password_hash = password_hash
    await revoke_all(session, user.id)
    log.info("password reset", changed_user_id=str(user.id))


async def delete_user(session: AsyncSession, admin_id: UUID, user_id: UUID) -> None:
    """Delete the account of another user as an administrator, with all that belongs to it.

    Raises:
        Problem: 403, the administrator is none any more; 404, no such user; 409, it is the
            administrator's own account.
    """
    await begin_administration(session, admin_id)
    if user_id == admin_id:
        raise Problem(409, "Administrators cannot delete themselves.")
    user = await _lock_user(session, user_id)
{%- if cookiecutter.use_redis %}
    await revoke_all(session, user.id)
{%- endif %}
    await session.delete(user)
    await session.flush()
    log.info("user deleted", deleted_user_id=str(user_id))


{% endif -%}
async def change_password(
    session: AsyncSession, auth: AuthTools, user: Principal, data: PasswordChange
) -> None:
    """Replace the password and end every session of the user.

    Raises:
        Problem: 403, the current password is wrong; 422, the new one is too easy to guess; 429,
            too many attempts; 503, too many passwords are waiting to be hashed.
    """
    pointer = "/body/current_password"
    password = data.new_password.get_secret_value()
    await check_new_password(password, user.email, pointer="/body/new_password")
    proven = await prove_password(session, auth, user, data.current_password, pointer=pointer)
    password_hash = await auth.passwords.hash(password, caller=str(user.id))
    account = await lock_account(session, user.id, proven, pointer=pointer)
    account.password_hash = password_hash
    await revoke_all(session, user.id)
    await reset_attempts(auth, user.id)
    log.info("password changed")


async def delete_account(
    session: AsyncSession, auth: AuthTools, user: Principal, data: AccountDelete
) -> None:
    """Delete the account with all that belongs to it.

    Raises:
        Problem: 403, the password is wrong; 409, the user is the last active administrator; 429,
            too many attempts; 503, too many passwords are waiting to be checked.
    """
    pointer = "/body/password"
    proven = await prove_password(session, auth, user, data.password, pointer=pointer)
    administrators = await lock_administrators(session)
    account = await lock_account(session, user.id, proven, pointer=pointer)
    if account.role is Role.ADMIN and administrators == {account.id}:
        raise Problem(409, "The last administrator cannot delete the account.")
{%- if cookiecutter.use_redis %}
    await revoke_all(session, user.id)
{%- endif %}
    await session.delete(account)
    await session.flush()
    await reset_attempts(auth, user.id)
    log.info("user deleted")


async def _lock_user(session: AsyncSession, user_id: UUID) -> User:
    user = await session.get(
        User, user_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if user is None:
        raise Problem(404, "No such user.")
    return user


async def _flush(session: AsyncSession) -> None:
    with explain_conflict(CONFLICTS):
        await session.flush()
