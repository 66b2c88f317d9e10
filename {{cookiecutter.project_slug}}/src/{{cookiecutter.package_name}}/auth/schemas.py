"""Request and response bodies of the authentication routes."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from ..schemas import RequestModel, ResponseModel, Secret, Text
from .models import Role


class TokenRequest(BaseModel):
    """An access token request (RFC 6749 sections 4.3.2 and 6); unknown parameters are ignored."""

    grant_type: Text | None = Field(default=None, examples=["password"])
    username: Text | None = Field(default=None, description="The email address.", max_length=254)
    password: Secret | None = Field(default=None, max_length=1000)
    refresh_token: Text | None = Field(default=None, max_length=200)
    scope: Text | None = Field(default=None, description="No scopes are defined.", max_length=200)


class TokenResponse(ResponseModel):
    """An access token response (RFC 6749 section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - not a secret
    expires_in: Annotated[int, Field(description="Seconds until the access token expires.")]
    refresh_token: str


class OAuthErrorBody(ResponseModel):
    """An error of the token and revocation endpoints (RFC 6749 section 5.2)."""

    error: Annotated[str, Field(examples=["invalid_grant"])]
    error_description: str


class RevocationRequest(BaseModel):
    """A revocation request (RFC 7009 section 2.1)."""

    token: Text = Field(description="A refresh or access token.", min_length=1, max_length=5000)
    token_type_hint: Text | None = Field(default=None, max_length=200)


class SessionCreate(RequestModel):
    """A login from a browser."""

    email: Annotated[Text, Field(max_length=254, examples=["ada@example.com"])]
    password: Annotated[Secret, Field(max_length=1000, examples=["analytical-engine-1843"])]


class LoginSessionRead(ResponseModel):
    """A login session of the caller."""

    id: UUID
    kind: Literal["token", "cookie"]
    current: Annotated[bool, Field(description="Whether this request belongs to it.")]
    address: str | None
    user_agent: str | None
    created_at: datetime
    refreshed_at: Annotated[
        datetime | None, Field(description="Time of the last token refresh; null for browsers.")
    ]
    expires_at: datetime


class UserRead(ResponseModel):
    """An account, as its owner and administrators see it."""

    id: UUID
    email: str
    full_name: str | None
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime
