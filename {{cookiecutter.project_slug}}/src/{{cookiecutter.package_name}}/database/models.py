"""The base that all models share: constraint names, UUIDv7 keys, times in UTC."""

import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import DateTime, Dialect, Enum, MetaData, Uuid
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7


def utcnow() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is stored and loaded in UTC.

    Raises:
        ValueError: a naive time is stored.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """The type of the values."""
        return datetime

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Convert a value to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone cannot be stored")
        return value.astimezone(UTC)
{%- if cookiecutter.database == "sqlite" %}

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Add the time zone, which the database does not keep."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)
{%- endif %}


def enum_column(enumeration: type[StrEnum]) -> Enum:
    """Return a column type that stores the values as text, so that more can be added later."""
    return Enum(
        enumeration,
        native_enum=False,
        length=20,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """Base of every model."""

    # Constraints without a name cannot be changed by a later migration.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime(), UUID: Uuid()}


class UuidKeyMixin:
    """A primary key that sorts by creation time (UUIDv7, RFC 9562)."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-1)


def _created_at(context: DefaultExecutionContext) -> Any:
    return context.get_current_parameters()["created_at"]  # type: ignore[no-untyped-call]


class TimestampMixin:
    """The times of creation and of the last change, which are equal in a new row."""

    created_at: Mapped[datetime] = mapped_column(default=utcnow, sort_order=1)
    updated_at: Mapped[datetime] = mapped_column(default=_created_at, onupdate=utcnow, sort_order=2)
