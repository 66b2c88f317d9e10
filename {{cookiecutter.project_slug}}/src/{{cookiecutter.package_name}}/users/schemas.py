"""Request and response bodies of the user routes."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool

from ..auth.passwords import NewPassword
from ..pagination import PageQuery
from ..schemas import LEFT_OUT, Email, Input, Line, Output, Secret, Text
from .models import Role

Password = Annotated[Secret, Field(max_length=1000)]


class UserCreate(Input):
    """A new account."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "email": "ada@example.com",
                    "password": "analytical-engine-1843",
                    "full_name": "Ada Lovelace",
                }
            ]
        }
    )

    email: Email
    password: NewPassword
    full_name: Line | None = None


class ProfileUpdate(Input):
    """Changes to one's own profile; what is left out stays."""

    full_name: Line | None = LEFT_OUT


class PasswordChange(Input):
    """A new password, proven by the current one."""

    current_password: Password
    new_password: NewPassword


class AccountDelete(Input):
    """Proof that the owner of the account asks."""

    password: Password


class UserUpdate(Input):
    """An administrator's changes to an account; what is left out stays."""

    email: Email = LEFT_OUT
    full_name: Line | None = LEFT_OUT
    role: Role = LEFT_OUT
    is_active: StrictBool = LEFT_OUT


class UserQuery(PageQuery):
    """Filters and order of the list of users."""

    q: Annotated[Text | None, Field(max_length=200, description="Part of e-mail or name.")] = None
    role: Role | None = None
    is_active: bool | None = None
    sort: Literal["created_at", "-created_at", "email", "-email"] = "-created_at"


class UserRead(Output):
    """An account, as its owner and administrators see it."""

    id: UUID
    email: str
    full_name: str | None
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime
