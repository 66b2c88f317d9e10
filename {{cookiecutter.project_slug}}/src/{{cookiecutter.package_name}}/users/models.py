"""The user table."""

from enum import StrEnum

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base, TimestampMixin, UuidKeyMixin, one_of


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
    role: Mapped[Role] = mapped_column(one_of(Role), default=Role.USER)
    is_active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (Index("ix_users_created_at_id", "created_at", "id"),)
