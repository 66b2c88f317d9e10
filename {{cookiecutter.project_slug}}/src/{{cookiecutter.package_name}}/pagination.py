"""Pages by keyset: the cursor names the last row seen, so that late pages cost what early ones do.

A cursor is opaque to clients. It is checked against the sort order when it comes back; a changed
one is refused, and it can reveal nothing but values that the client was shown.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, Field, TypeAdapter
from sqlalchemy import ColumnElement, Integer, Select, bindparam, tuple_

from .database import Base, Reader, Record
from .errors import FieldError, Problem
from .schemas import Input, Output, Text, check_storable

Read = TypeVar("Read", bound=Output)

# The order that the page was read in, the value it sorts by, the key.
CURSOR: Final = TypeAdapter(tuple[str, Any, UUID])


class PageQuery(Input):
    """The query parameters of every list; a list adds its filters and names its orders.

    An order is the name of a column, with a leading minus for descending.
    """

    sort: str

    limit: Annotated[int, Field(ge=1, le=100, description="Rows in a page.")] = 20
    cursor: Annotated[
        Text | None, Field(max_length=2000, description="`next_cursor` of the page before.")
    ] = None


class Page(Output, Generic[Read]):
    """A part of a list; `next_cursor` is null on the last page."""

    items: list[Read]
    next_cursor: str | None


def shown(model: type[Base], read: type[Output]) -> list[ColumnElement[Any]]:
    """The columns of a model that a response shows: to read them alone is faster than objects."""
    columns = model.__table__.c
    return [columns[name] for name in read.model_fields if name in columns]


async def paginate(
    reader: Reader, statement: Select[*tuple[Any, ...]], page: PageQuery, **values: object
) -> tuple[Sequence[Record], str | None]:
    """Run the statement for one page, in one SQL statement.

    Args:
        statement: selects columns, the key and those that may be sorted by among them, which are
            never null; filtered, without order. One that is kept is made ready only once.
        values: of the parameters that the statement has.

    Returns:
        The rows and the cursor of the next page.

    Raises:
        Problem: 422, the cursor is not one that this list gave out.
    """
    sort = page.sort
    name = sort.removeprefix("-")
    if page.cursor is not None:
        kind = statement.selected_columns[name].type.python_type
        values["last_value"], values["last_key"] = _decode(page.cursor, sort, kind)
    paged = _paged(statement, sort, page.cursor is not None)
    rows = await reader.rows(paged, **values, rows=page.limit + 1)
    if len(rows) <= page.limit:
        return rows, None
    last_row = rows[page.limit - 1]
    return rows[: page.limit], _encode(sort, getattr(last_row, name), last_row.id)


@lru_cache(maxsize=100)
def _paged(statement: Select[*tuple[Any, ...]], sort: str, later: bool) -> Select[*tuple[Any, ...]]:
    """The statement in this order, for the first page or a later one."""
    descending = sort.startswith("-")
    columns = statement.selected_columns
    column, key = columns[sort.removeprefix("-")], columns["id"]
    if later:
        here = tuple_(
            bindparam("last_value", type_=column.type), bindparam("last_key", type_=key.type)
        )
        row = tuple_(column, key)
        statement = statement.where(row < here if descending else row > here)
    order = (column.desc(), key.desc()) if descending else (column, key)
    return statement.order_by(*order).limit(bindparam("rows", type_=Integer))


def _encode(sort: str, value: object, key: UUID) -> str:
    return urlsafe_b64encode(CURSOR.dump_json((sort, value, key))).decode()


def _decode(cursor: str, sort: str, kind: Any) -> tuple[Any, UUID]:
    try:
        sorted_by, text, key = CURSOR.validate_json(urlsafe_b64decode(cursor))
        value = _values_of(kind).validate_python(text)
        if isinstance(value, datetime):
            value = value.astimezone(UTC)
        if sorted_by != sort:
            raise ValueError
        check_storable(value)
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
