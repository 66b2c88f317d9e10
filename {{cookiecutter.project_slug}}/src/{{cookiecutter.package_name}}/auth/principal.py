"""The caller of an authenticated request."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ..audit.models import Credential
from .models import Role


@dataclass(frozen=True)
class Principal:
    """The authenticated caller: the account as it is now, and the credential of the request.

    Attributes:
        session_id: the login session, or the personal access token.
        authenticated_at: time of the last authentication in the session.
        scopes: what the credential allows.
        address: the address of the client.
    """

    id: UUID
    email: str
    full_name: str | None
    role: Role
    is_active: bool
    email_verified_at: datetime | None
    mfa_enabled: bool
    created_at: datetime
    updated_at: datetime
    session_id: UUID
    credential: Credential
    authenticated_at: datetime
    scopes: frozenset[str]
    address: str | None
