"""Request and response bodies of the user routes."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from ..auth.models import Role
from ..auth.passwords import NewPassword
from ..auth.schemas import MailedToken
from ..pagination import PageQuery
from ..schemas import UNSET, Email, RequestModel, ResponseModel, Secret, SingleLineStr, Text

# Administrators cannot assign the role of service accounts.
PersonRole = Literal[Role.USER, Role.ADMIN]
Password = Annotated[Secret, Field(max_length=1000)]


class UserCreate(RequestModel):
    """A new account."""

    email: Annotated[Email, Field(examples=["ada@example.com"])]
    password: Annotated[NewPassword, Field(examples=["analytical-engine-1843"])]
    full_name: Annotated[SingleLineStr | None, Field(examples=["Ada Lovelace"])] = None


class RegistrationAccepted(ResponseModel):
    """The address that a registration sends an email to."""

    email: Annotated[str, Field(examples=["ada@example.com"])]


class InvitationCreate(RequestModel):
    """An invitation to an account."""

    email: Email
    full_name: SingleLineStr | None = None
    role: PersonRole = Role.USER


class InvitationAcceptance(RequestModel):
    """The first password of an invited account, with the token of the invitation."""

    token: MailedToken
    new_password: NewPassword
    full_name: SingleLineStr | None = UNSET


class EmailChange(RequestModel):
    """A new email address, with the password."""

    email: Email
    password: Password


class EmailToken(RequestModel):
    """The token of an email about a changed address."""

    token: MailedToken


class ProfileUpdate(RequestModel):
    """Changes to one's own profile. Omitted members stay unchanged."""

    full_name: SingleLineStr | None = UNSET


class PasswordChange(RequestModel):
    """A new password, with the current one."""

    current_password: Password
    new_password: NewPassword


class AccountDelete(RequestModel):
    """The deletion of an account, with its password."""

    password: Password


class UserUpdate(RequestModel):
    """An administrator's changes to an account. Omitted members stay unchanged."""

    email: Email = UNSET
    full_name: SingleLineStr | None = UNSET
    role: PersonRole = UNSET
    is_active: StrictBool = UNSET


class UserQuery(PageQuery):
    """Filters and order of the list of users."""

    q: Annotated[Text | None, Field(max_length=200, description="Part of email or name.")] = None
    role: PersonRole | None = None
    is_active: bool | None = None
    sort: Literal["created_at", "-created_at", "email", "-email"] = "-created_at"
