"""Routes under /users."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Query

from ..auth.dependencies import AuthDep, ClearCookies, ClientDep, CurrentAdmin, CurrentPrincipal
from ..auth.models import User
from ..auth.schemas import UserRead
from ..auth.service import Principal, check_address_limit
from ..dependencies import DatabaseDep, DbSession, ReadSession
from ..errors import field_problem, problem_responses
from ..exceptions import IncorrectPasswordError, UnacceptablePasswordError
from ..pagination import Page, RowPage
from ..throttle import address_key
from . import service
from .schemas import AccountDelete, PasswordChange, ProfileUpdate, UserCreate, UserQuery, UserUpdate

log = structlog.stdlib.get_logger(__name__)

router = APIRouter(prefix="/api/v1/users", tags=["users"])


@router.post("", status_code=201, response_model=UserRead, responses=problem_responses(409, 429))
async def register_user(
    data: UserCreate, database: DatabaseDep, auth: AuthDep, client: ClientDep
) -> User:
    """Register an account, which is never an administrator's."""
    await check_address_limit(auth, client, "register")
    password, caller = data.password.get_secret_value(), address_key(client.address)
    try:
        password_hash = await auth.hasher.hash_new(password, data.email, caller)
    except UnacceptablePasswordError as error:
        raise field_problem(422, "/body/password", str(error)) from None
    async with database.write_session() as session:
        user = await service.create_user(session, data, password_hash)
    log.info("user registered", user_id=str(user.id))
    return user


@router.get("/me", response_model=UserRead, responses=problem_responses(401))
async def read_me(principal: CurrentPrincipal) -> Principal:
    """Return the caller's own account."""
    return principal


@router.patch("/me", response_model=UserRead, responses=problem_responses(401, 403))
async def update_me(data: ProfileUpdate, principal: CurrentPrincipal, session: DbSession) -> User:
    """Change the caller's own profile."""
    return await service.update_profile(session, principal.id, data)


@router.put(
    "/me/password",
    status_code=204,
    dependencies=[ClearCookies],
    responses=problem_responses(401, 403, 429),
)
async def change_my_password(
    data: PasswordChange, principal: CurrentPrincipal, database: DatabaseDep, auth: AuthDep
) -> None:
    """Change the caller's password and revoke every session, also that of this request."""
    current, new = data.current_password.get_secret_value(), data.new_password.get_secret_value()
    try:
        await service.change_password(database, auth, principal, current, new)
    except IncorrectPasswordError as error:
        raise field_problem(403, "/body/current_password", str(error)) from None
    except UnacceptablePasswordError as error:
        raise field_problem(422, "/body/new_password", str(error)) from None


@router.delete(
    "/me",
    status_code=204,
    dependencies=[ClearCookies],
    responses=problem_responses(401, 403, 409, 429),
)
async def delete_me(
    data: AccountDelete, principal: CurrentPrincipal, database: DatabaseDep, auth: AuthDep
) -> None:
    """Delete the caller's account and everything that belongs to it."""
    try:
        await service.delete_account(database, auth, principal, data.password.get_secret_value())
    except IncorrectPasswordError as error:
        raise field_problem(403, "/body/password", str(error)) from None


@router.get("", response_model=Page[UserRead], responses=problem_responses(401, 403))
async def list_users(
    query: Annotated[UserQuery, Query()], _: CurrentAdmin, session: ReadSession
) -> RowPage:
    """List all accounts; administrators only."""
    return await service.list_users(session, query)


@router.get("/{user_id}", response_model=UserRead, responses=problem_responses(401, 403, 404))
async def read_user(user_id: UUID, _: CurrentAdmin, session: ReadSession) -> User:
    """Return an account; administrators only."""
    return await service.get_user(session, user_id)


@router.patch(
    "/{user_id}", response_model=UserRead, responses=problem_responses(401, 403, 404, 409)
)
async def update_user(
    user_id: UUID, data: UserUpdate, admin: CurrentAdmin, database: DatabaseDep
) -> User:
    """Change role, state, email or name of an account; administrators only."""
    async with database.write_session() as session:
        user = await service.update_user(session, admin.id, user_id, data)
    changed = sorted(data.model_fields_set)
    log.info("user changed", changed_user_id=str(user.id), changed=changed)
    return user
