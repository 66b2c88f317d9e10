"""Accounts, their login sessions and tokens, and their second factors."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base, TimestampMixin, UuidKeyMixin, enum_column, utcnow


class Role(StrEnum):
    """A set of scopes: `admin` may manage all users; `service` is the role of service accounts."""

    USER = "user"
    ADMIN = "admin"
    SERVICE = "service"


class User(UuidKeyMixin, TimestampMixin, Base):
    """An account of a person or a program. The email is stored in the form of `schemas.Email`.

    Attributes:
        password_hash: empty if no password is set, as in an account that was invited.
        email_verified_at: time when the owner proved to receive email at the address.
        mfa_enabled: whether a login needs a second factor. It is written together with the
            confirmed authenticators, while the row is locked.
    """

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(254), unique=True)
    full_name: Mapped[str | None] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(60))
    role: Mapped[Role] = mapped_column(enum_column(Role), default=Role.USER)
    is_active: Mapped[bool] = mapped_column(default=True)
    email_verified_at: Mapped[datetime | None]
    mfa_enabled: Mapped[bool] = mapped_column(default=False, server_default=false())

    __table_args__ = (Index("ix_users_created_at_id", "created_at", "id"),)


# The columns of an account that its owner and administrators may read.
ACCOUNT_COLUMNS = (
    User.id,
    User.email,
    User.full_name,
    User.role,
    User.is_active,
    User.email_verified_at,
    User.mfa_enabled,
    User.created_at,
    User.updated_at,
)


class LoginSession(UuidKeyMixin, TimestampMixin, Base):
    """A login: of a browser if it has a cookie, else of an OAuth client with a token family.

    Attributes:
        authenticated_at: time of the last authentication. Null: `created_at`.
        amr: methods of the last authentication (RFC 8176), separated by spaces. Null: `pwd`.
        scope: the granted scopes, separated by spaces. Null: all scopes of the role.
    """

    __tablename__ = "login_sessions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    cookie_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    address: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(300))
    authenticated_at: Mapped[datetime | None]
    amr: Mapped[str | None] = mapped_column(String(40))
    scope: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class RefreshToken(Base):
    """A refresh token, stored as its hash. It can be used once."""

    __tablename__ = "refresh_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[UUID] = mapped_column(
        ForeignKey("login_sessions.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    used_at: Mapped[datetime | None]


class Purpose(StrEnum):
    """The one operation that an account token allows."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - not a secret
    EMAIL_VERIFICATION = "email_verification"
    INVITATION = "invitation"
    EMAIL_CHANGE = "email_change"
    EMAIL_UNDO = "email_undo"


class AccountToken(UuidKeyMixin, Base):
    """A one-time token sent by email, stored as its hash.

    Attributes:
        email: the address that the token was sent to.
    """

    __tablename__ = "account_tokens"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[Purpose] = mapped_column(enum_column(Purpose))
    email: Mapped[str] = mapped_column(String(254), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class AuthenticatorKind(StrEnum):
    """The method of a second factor."""

    TOTP = "totp"


class Authenticator(UuidKeyMixin, TimestampMixin, Base):
    """A second factor of an account, enabled once it is confirmed.

    Attributes:
        secret: the encrypted key (RFC 6238).
        last_step: time step of the last accepted code. Later codes must be of a later step.
        failures: wrong codes in a row.
    """

    __tablename__ = "authenticators"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[AuthenticatorKind] = mapped_column(enum_column(AuthenticatorKind))
    name: Mapped[str | None] = mapped_column(String(100))
    secret: Mapped[str] = mapped_column(String(255))
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(default=0)
    confirmed_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class RecoveryCode(UuidKeyMixin, Base):
    """A code that replaces a second factor once, stored as its hash."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)


class PersonalAccessToken(UuidKeyMixin, Base):
    """A token that its owner made for a program, stored as its hash.

    Attributes:
        scope: the granted scopes, separated by spaces.
        last_used_at: written at most once a minute.
    """

    __tablename__ = "personal_access_tokens"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    scope: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    last_used_at: Mapped[datetime | None]

    @property
    def scopes(self) -> list[str]:
        """The granted scopes."""
        return self.scope.split()


class ServiceAccount(TimestampMixin, Base):
    """The client credentials of a program: a user with the role `service` and without a password.

    Attributes:
        user_id: the user, whose id is the client id.
        scope: the granted scopes, separated by spaces.
        secret_hash: the hash of the client secret. Null: there is none.
        jwks: public keys of the client (RFC 7517), for `private_key_jwt`. Null: there are none.
    """

    __tablename__ = "service_accounts"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100), unique=True)
    scope: Mapped[str] = mapped_column(Text)
    secret_hash: Mapped[str | None] = mapped_column(String(64))
    jwks: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class ClientAssertion(UuidKeyMixin, Base):
    """A used client assertion (RFC 7523), which must not be used again until it expires.

    Attributes:
        jti_hash: the hash of the client id and the id of the assertion.
    """

    __tablename__ = "client_assertions"

    jti_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
