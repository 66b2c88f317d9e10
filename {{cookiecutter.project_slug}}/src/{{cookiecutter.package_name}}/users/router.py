"""Routes under /users."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from ..auth.dependencies import AdminUser, Auth, Client, CurrentUser
from ..auth.service import Principal, limit_address
from ..database import Reading, Record, Session
from ..errors import problems
from ..pagination import Page
from ..throttle import address_key
from . import service
from .models import User
from .schemas import (
    AccountDelete,
    PasswordChange,
    ProfileUpdate,
    UserCreate,
    UserQuery,
    UserRead,
    UserUpdate,
)

router = APIRouter(prefix="/users", tags=["users"])


@router.post("", status_code=201, response_model=UserRead, responses=problems(409, 429))
async def register_user(data: UserCreate, session: Session, auth: Auth, client: Client) -> User:
    """Register an account; everybody may, and nobody becomes an administrator by it."""
    await limit_address(auth, client, "register")
    return await service.register(session, auth.passwords, data, address_key(client.address))


@router.get("/me", response_model=UserRead, responses=problems(401))
async def read_me(user: CurrentUser) -> Principal:
    """The caller's own account."""
    return user


@router.patch("/me", response_model=UserRead, responses=problems(401, 403))
async def update_me(data: ProfileUpdate, user: CurrentUser, session: Session) -> User:
    """Change the caller's own profile."""
    return await service.update_profile(session, user.id, data)


@router.put("/me/password", status_code=204, responses=problems(401, 403, 429))
async def change_my_password(
    data: PasswordChange, user: CurrentUser, session: Session, auth: Auth
) -> None:
    """Change the caller's password. Every session ends, this one too."""
    await service.change_password(session, auth, user, data)


@router.delete("/me", status_code=204, responses=problems(401, 403, 409, 429))
async def delete_me(data: AccountDelete, user: CurrentUser, session: Session, auth: Auth) -> None:
    """Delete the caller's account and all its data, unless the caller is the last administrator."""
    await service.delete_account(session, auth, user, data)


@router.get("", response_model=Page[UserRead], responses=problems(401, 403))
async def list_users(
    page: Annotated[UserQuery, Query()], _: AdminUser, reader: Reading
) -> dict[str, object]:
    """All accounts; administrators only."""
    users, next_cursor = await service.list_users(reader, page)
    return {"items": users, "next_cursor": next_cursor}


@router.get("/{user_id}", response_model=UserRead, responses=problems(401, 403, 404))
async def read_user(user_id: UUID, _: AdminUser, reader: Reading) -> Record:
    """One account; administrators only."""
    return await service.read_user(reader, user_id)


@router.patch("/{user_id}", response_model=UserRead, responses=problems(401, 403, 404, 409))
async def update_user(user_id: UUID, data: UserUpdate, admin: AdminUser, session: Session) -> User:
    """Change role, state, e-mail or name of an account; administrators only."""
    return await service.update_user(session, admin.id, user_id, data)
