"""Accounts, their login sessions, and the refresh tokens of a session."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base, TimestampMixin, UuidKeyMixin, enum_column, utcnow


class Role(StrEnum):
    """What a user may do: `admin` may manage all users."""

    USER = "user"
    ADMIN = "admin"


class User(UuidKeyMixin, TimestampMixin, Base):
    """A person with an account. The email is stored in the form of `schemas.Email`."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(254), unique=True)
    full_name: Mapped[str | None] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(60))
    role: Mapped[Role] = mapped_column(enum_column(Role), default=Role.USER)
    is_active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (Index("ix_users_created_at_id", "created_at", "id"),)


# The columns of an account that its owner and administrators may read.
ACCOUNT_COLUMNS = (
    User.id,
    User.email,
    User.full_name,
    User.role,
    User.is_active,
    User.created_at,
    User.updated_at,
)


class LoginSession(UuidKeyMixin, TimestampMixin, Base):
    """A login: of a browser if it has a cookie, else of an OAuth client with a token family."""

    __tablename__ = "login_sessions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    cookie_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    address: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(300))
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
