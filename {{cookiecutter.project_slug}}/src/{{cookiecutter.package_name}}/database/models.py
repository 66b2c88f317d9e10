"""The base that all models share: constraint names, UUIDv7 keys, times in UTC."""

import sys
from datetime import UTC, datetime
{%- if cookiecutter.database == "sqlite" %}
from decimal import ROUND_HALF_UP, Decimal
{%- endif %}
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import {{ "BigInteger, " if cookiecutter.database == "sqlite" }}DateTime, Dialect, Enum, MetaData, Uuid
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

{% if cookiecutter.database == "sqlite" %}
class ScaledDecimal(TypeDecorator[Decimal]):
    """A decimal number that is stored as an integer, because SQLite has no exact type for it.

    SQL can compare, sort and sum the values; multiply and divide them in Python.

    Args:
        precision: number of digits, at most 18.
        scale: number of digits after the point.
    """

    impl = BigInteger
    cache_ok = True

    def __init__(self, precision: int, scale: int) -> None:
        super().__init__()
        self.precision = precision
        self.scale = scale

    @property
    def python_type(self) -> type[Decimal]:
        """The type of the values."""
        return Decimal

    def process_bind_param(self, value: Decimal | None, _: Dialect) -> int | None:
        """Convert a value to the integer, rounding half up."""
        if value is None:
            return None
        return int(value.scaleb(self.scale).to_integral_value(ROUND_HALF_UP))

    def process_result_value(self, value: int | None, _: Dialect) -> Decimal | None:
        """Convert the integer to a value."""
        return None if value is None else Decimal(value).scaleb(-self.scale)

{% endif %}
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
