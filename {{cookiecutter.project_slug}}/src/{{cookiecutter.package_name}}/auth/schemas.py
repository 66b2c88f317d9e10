"""Request and response bodies of the authentication routes."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictBool

from ..database import utcnow
from ..field_types import JsonObject, Timestamp
from ..pagination import PageQuery
from ..schemas import UNSET, Email, RequestModel, ResponseModel, Secret, SingleLineStr, Text
from .client_assertions import ASSERTION_TYPE, check_public_keys
from .models import AuthenticatorKind, Role
from .passwords import NewPassword

Otp = Annotated[
    Secret,
    Field(
        description="A code of the authenticator app, or a recovery code.",
        max_length=64,
        examples=["492039"],
    ),
]
FactorName = Annotated[SingleLineStr, Field(max_length=100, examples=["Phone"])]
TokenName = Annotated[SingleLineStr, Field(max_length=100, examples=["Nightly export"])]
RecoveryCode = Annotated[str, Field(examples=["GE3D-INRX-GAZT-IMJS-GM4T-MNZY"])]
ServiceAccountName = Annotated[SingleLineStr, Field(max_length=100, examples=["Nightly report"])]
# RFC 6749 section 3.3
ScopeName = Annotated[str, Field(pattern=r"^[!#-\[\]-~]+$", max_length=100)]
Scopes = Annotated[
    list[ScopeName], Field(min_length=1, max_length=1000, examples=[["account:read"]])
]
PublicKeys = Annotated[
    JsonObject,
    AfterValidator(check_public_keys),
    Field(description="A JSON Web Key Set (RFC 7517), for `private_key_jwt`."),
]
# A one-time token of a link that was sent by email.
MailedToken = Annotated[Secret, Field(max_length=100)]


class TokenRequest(BaseModel):
    """An access token request (RFC 6749 sections 4.3.2, 4.4.2 and 6).

    Unknown parameters are ignored.
    """

    grant_type: Text | None = Field(default=None, examples=["password"])
    username: Text | None = Field(default=None, description="The email address.", max_length=254)
    password: Secret | None = Field(default=None, max_length=1000)
    otp: Secret | None = Field(
        default=None,
        description="With `password`, if the error was `mfa_required`: a code of the authenticator "
        "app, or a recovery code.",
        max_length=64,
    )
    refresh_token: Text | None = Field(default=None, max_length=200)
    client_id: Text | None = Field(
        default=None, description="With `client_credentials`: optional.", max_length=100
    )
    client_assertion_type: Text | None = Field(
        default=None, description=f"With `client_assertion`: `{ASSERTION_TYPE}`.", max_length=100
    )
    client_assertion: Text | None = Field(
        default=None,
        description="With `client_credentials`, instead of the Basic header: a JSON Web Token that "
        "the client has signed (RFC 7523 section 2.2).",
        max_length=10_000,
    )
    scope: Text | None = Field(
        default=None,
        description="Scopes separated by spaces. Default: all scopes of the user's role or, with "
        "`refresh_token`, of the session.",
        examples=["account:read"],
    )


class TokenResponse(ResponseModel):
    """An access token response (RFC 6749 section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - not a secret
    expires_in: Annotated[int, Field(description="Seconds until the access token expires.")]
    scope: Annotated[
        str, Field(description="The scopes of the access token.", examples=["account:read"])
    ]
    refresh_token: Annotated[
        str | None, Field(description="Not included with `client_credentials`.")
    ] = None


class OAuthErrorBody(ResponseModel):
    """An error of the token and revocation endpoints (RFC 6749 section 5.2)."""

    error: Annotated[str, Field(examples=["invalid_grant", "mfa_required", "email_not_verified"])]
    error_description: str


class RevocationRequest(BaseModel):
    """A revocation request (RFC 7009 section 2.1)."""

    token: Text = Field(
        description="A refresh, access or personal access token.", min_length=1, max_length=5000
    )
    token_type_hint: Text | None = Field(default=None, max_length=200)


class SessionCreate(RequestModel):
    """A login from a browser."""

    email: Annotated[Text, Field(max_length=254, examples=["ada@example.com"])]
    password: Annotated[Secret, Field(max_length=1000, examples=["analytical-engine-1843"])]
    otp: Otp | None = None


class Reauthentication(RequestModel):
    """Proof that the caller is the owner of the account."""

    password: Annotated[Secret, Field(max_length=1000, examples=["analytical-engine-1843"])]
    otp: Otp | None = None


class LoginSessionRead(ResponseModel):
    """A login session of the caller."""

    id: UUID
    kind: Literal["token", "cookie"]
    current: Annotated[bool, Field(description="Whether this request belongs to it.")]
    scopes: Annotated[list[str], Field(description="What it allows.", examples=[["account:read"]])]
    address: str | None
    user_agent: str | None
    created_at: datetime
    authenticated_at: Annotated[
        datetime, Field(description="Time of the last authentication, at login or later.")
    ]
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
    email_verified_at: datetime | None
    mfa_enabled: Annotated[bool, Field(description="Whether a login needs a second factor.")]
    created_at: datetime
    updated_at: datetime


class ServiceAccountCreate(RequestModel):
    """A new service account, which authenticates with its keys, or else with a secret."""

    name: ServiceAccountName
    scopes: Scopes
    jwks: PublicKeys | None = None


class ServiceAccountUpdate(RequestModel):
    """Changes to a service account. Omitted members stay unchanged."""

    name: ServiceAccountName = UNSET
    scopes: Scopes = UNSET
    jwks: PublicKeys = UNSET
    is_active: StrictBool = UNSET


class ServiceAccountQuery(PageQuery):
    """Order of the list of service accounts."""

    sort: Literal["created_at", "-created_at", "name", "-name"] = "-created_at"


def _split(value: object) -> object:
    return value.split() if isinstance(value, str) else value


class ServiceAccountRead(ResponseModel):
    """A service account, as administrators see it."""

    id: Annotated[UUID, Field(description="The client id.")]
    name: str
    scopes: Annotated[list[str], BeforeValidator(_split)]
    auth_method: Annotated[
        Literal["client_secret_basic", "private_key_jwt"],
        Field(description="How the client authenticates at the token endpoint."),
    ]
    jwks: Annotated[dict[str, Any] | None, Field(description="The public keys of the client.")]
    is_active: bool
    created_at: datetime
    updated_at: datetime


class ServiceAccountCreated(ServiceAccountRead):
    """A new service account, with its secret."""

    client_secret: Annotated[
        str | None, Field(description="Shown only once; null for an account with keys.")
    ]


class ClientSecretRead(ResponseModel):
    """A new client secret, which is shown only once."""

    client_secret: str


class FactorRead(ResponseModel):
    """A second factor of the caller."""

    id: UUID
    kind: AuthenticatorKind
    name: FactorName | None
    created_at: datetime
    last_used_at: datetime | None


class FactorList(ResponseModel):
    """The second factors of the caller."""

    factors: list[FactorRead]
    recovery_codes_left: Annotated[int, Field(examples=[10])]


class TotpCreate(RequestModel):
    """An authenticator app to be added."""

    name: FactorName | None = None


class TotpRead(ResponseModel):
    """The secret of an authenticator app, which is shown only once."""

    id: UUID
    secret: Annotated[
        str,
        Field(
            description="To be typed in where a QR code cannot be scanned.",
            examples=["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        ),
    ]
    uri: Annotated[
        str,
        Field(
            description="To be shown as a QR code.",
            examples=["otpauth://totp/Example:ada%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBV"],
        ),
    ]


class FactorConfirmation(RequestModel):
    """The first code of a new factor."""

    otp: Otp


class RecoveryCodes(ResponseModel):
    """New recovery codes, which are shown only once. Each can be used once."""

    recovery_codes: list[RecoveryCode]


MAX_TOKEN_LIFETIME: Final = timedelta(days=366)


def _check_expiry(value: datetime) -> datetime:
    if not timedelta() < value - utcnow() <= MAX_TOKEN_LIFETIME:
        raise ValueError(f"must be within {MAX_TOKEN_LIFETIME.days} days from now")
    return value


class PersonalTokenCreate(RequestModel):
    """A personal access token to be created."""

    name: TokenName
    scopes: Annotated[
        Scopes, Field(description="What the token allows, within the role of its owner.")
    ]
    expires_at: Annotated[
        Timestamp,
        AfterValidator(_check_expiry),
        Field(description=f"At most {MAX_TOKEN_LIFETIME.days} days from now."),
    ]


class PersonalTokenRead(ResponseModel):
    """A personal access token of an account."""

    id: UUID
    name: TokenName
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: Annotated[datetime | None, Field(description="Updated at most once a minute.")]


class PersonalTokenCreated(PersonalTokenRead):
    """A new personal access token, which is shown only once."""

    token: Annotated[str, Field(description="Send it as `Authorization: Bearer`.")]


class EmailRequest(RequestModel):
    """A request for a message to an email address."""

    email: Annotated[Email, Field(examples=["ada@example.com"])]


class PasswordReset(RequestModel):
    """A new password, with the token of the link that was sent by email."""

    token: MailedToken
    new_password: NewPassword


class EmailVerification(RequestModel):
    """The verification of an email address, with the token of the link that was sent to it."""

    token: MailedToken
    password: Annotated[
        Secret | None, Field(max_length=1000, description="Proves that the account is yours.")
    ] = None
    discard_password: Annotated[
        StrictBool,
        Field(description="Without a proof: replace the password, and revoke every session."),
    ] = False


class VerifiedEmail(ResponseModel):
    """A verified email address."""

    email: str
    password_discarded: bool
