"""Pages by keyset: the cursor names the last row seen, so that late pages cost what early ones do.

A cursor is opaque to clients. It is checked against the sort order when it comes back; a changed
one is refused, and it can reveal nothing but values that the client was shown.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, Field, TypeAdapter
from sqlalchemy import Select, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from .database import Timestamped
from .errors import FieldError, Problem
from .schemas import Input, Output, Text

Model = TypeVar("Model", bound=Timestamped)
Read = TypeVar("Read", bound=Output)

# The order that the page was read in, the value it sorts by, the key.
CURSOR: Final = TypeAdapter(tuple[str, Any, UUID])


class PageQuery(Input):
    """The query parameters of every list; a list adds its filters and its orders."""

    limit: Annotated[int, Field(ge=1, le=100, description="Rows in a page.")] = 20
    cursor: Annotated[
        Text | None, Field(max_length=2000, description="`next_cursor` of the page before.")
    ] = None


class Page(Output, Generic[Read]):
    """A part of a list; `next_cursor` is null on the last page."""

    items: list[Read]
    next_cursor: str | None


async def paginate(
    session: AsyncSession,
    statement: Select[Model],
    columns: Mapping[str, InstrumentedAttribute[Any]],
    *,
    sort: str,
    page: PageQuery,
) -> tuple[Sequence[Model], str | None]:
    """Run the statement for one page, in one SQL statement.

    Args:
        statement: selects the model, filtered, without order.
        columns: what may be sorted by; columns that are never null.
        sort: a key of `columns`, with a leading minus for descending.

    Returns:
        The rows and the cursor of the next page.

    Raises:
        Problem: 422, the cursor is not one that this list gave out.
    """
    descending = sort.startswith("-")
    name = sort.removeprefix("-")
    column = columns[name]
    key: InstrumentedAttribute[UUID] = column.class_.id
    if page.cursor is not None:
        value, last = _decode(page.cursor, sort, column.type.python_type)
        here = tuple_(literal(value, column.type), literal(last, key.type))
        row = tuple_(column, key)
        statement = statement.where(row < here if descending else row > here)
    order = (column.desc(), key.desc()) if descending else (column, key)
    rows = (await session.scalars(statement.order_by(*order).limit(page.limit + 1))).all()
    if len(rows) <= page.limit:
        return rows, None
    last_row = rows[page.limit - 1]
    return rows[: page.limit], _encode(sort, getattr(last_row, name), last_row.id)


def _encode(sort: str, value: object, key: UUID) -> str:
    return urlsafe_b64encode(CURSOR.dump_json((sort, value, key))).decode()


def _decode(cursor: str, sort: str, kind: Any) -> tuple[Any, UUID]:
    try:
        sorted_by, text, key = CURSOR.validate_json(urlsafe_b64decode(cursor))
        value = _values_of(kind).validate_python(text)
        if isinstance(value, datetime):
            value = value.astimezone(UTC)
        if sorted_by != sort or "\0" in str(value):
            raise ValueError
    except (ValueError, OverflowError):
        raise Problem(
            422,
            "The request is not valid.",
            errors=[
                FieldError(
                    pointer="/query/cursor",
                    detail="is not a cursor of this list in this order",
                )
            ],
        ) from None
    return value, key


@cache
def _values_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(AwareDatetime if kind is datetime else kind)
