"""Keyset pagination: a cursor encodes the last row of a page, so every page costs the same.

Cursors are opaque to clients and hold only values that the client has already seen.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, Field, TypeAdapter
from sqlalchemy import Integer, Row, Select, bindparam, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from .exceptions import InvalidCursorError
from .schemas import RequestModel, ResponseModel, Text, check_storable

Read = TypeVar("Read", bound=ResponseModel)

BigInt = Annotated[int, Field(ge=-(2**63), lt=2**63)]
# The sort order of the page, the sorted value and the key of its last row.
CURSOR: Final = TypeAdapter(tuple[str, Any, Any])


class PageQuery(RequestModel):
    """The query parameters of every list. A subclass adds filters and the allowed sort orders.

    A sort order is a column name, with a leading minus for descending order. The column must not
    be nullable.
    """

    sort: str
    limit: Annotated[int, Field(ge=1, le=100, description="Maximum number of rows.")] = 20
    cursor: Annotated[
        Text | None, Field(max_length=2000, description="`next_cursor` of the previous page.")
    ] = None


class Page(ResponseModel, Generic[Read]):
    """One page of a list; `next_cursor` is null on the last page."""

    items: list[Read]
    next_cursor: str | None


class RowPage(NamedTuple):
    """The rows of a page, for a route whose response model is a `Page`."""

    items: Sequence[Row[*tuple[Any, ...]]]
    next_cursor: str | None


async def paginate(
    session: AsyncSession,
    statement: Select[*tuple[Any, ...]],
    query: PageQuery,
    parameters: Mapping[str, object] | None = None,
) -> RowPage:
    """Load one page with one SQL statement.

    Args:
        statement: selects columns, among them `id` and those that may be sorted by, without an
            order. SQLAlchemy compiles a statement faster when it is the same object in each call.
        parameters: values of the statement's bind parameters, whose names have no leading
            underscore.

    Raises:
        InvalidCursorError: the cursor is malformed or was issued for another sort order.
    """
    values: dict[str, object] = {**(parameters or {}), "_limit": query.limit + 1}
    column = query.sort.removeprefix("-")
    if query.cursor is not None:
        types = (statement.selected_columns[name].type for name in (column, "id"))
        last_value, last_id = _decode_cursor(query.cursor, query.sort, *types)
        values |= {"_last_value": last_value, "_last_id": last_id}
    page = _page_statement(statement, query.sort, has_cursor=query.cursor is not None)
    rows = (await session.execute(page, values)).all()
    if len(rows) <= query.limit:
        return RowPage(rows, None)
    rows = rows[: query.limit]
    return RowPage(rows, _encode_cursor(query.sort, getattr(rows[-1], column), rows[-1].id))


@lru_cache(maxsize=100)
def _page_statement(
    statement: Select[*tuple[Any, ...]], sort: str, *, has_cursor: bool
) -> Select[*tuple[Any, ...]]:
    descending = sort.startswith("-")
    column, key = statement.selected_columns[sort.removeprefix("-")], statement.selected_columns.id
    if has_cursor:
        row = tuple_(column, key)
        last = tuple_(
            bindparam("_last_value", type_=column.type), bindparam("_last_id", type_=key.type)
        )
        statement = statement.where(row < last if descending else row > last)
    order = (column.desc(), key.desc()) if descending else (column, key)
    return statement.order_by(*order).limit(bindparam("_limit", type_=Integer))


def _encode_cursor(sort: str, value: Any, key: UUID | int) -> str:
    return urlsafe_b64encode(CURSOR.dump_json((sort, value, key))).decode()


def _decode_cursor(
    cursor: str, sort: str, value_type: TypeEngine[Any], key_type: TypeEngine[Any]
) -> tuple[Any, Any]:
    try:
        sorted_by, value, key = CURSOR.validate_json(urlsafe_b64decode(cursor))
        value = _type_adapter(value_type).validate_python(value)
        key = _type_adapter(key_type).validate_python(key)
        if sorted_by != sort:
            raise InvalidCursorError
        value = check_storable(value)
        return value.astimezone(UTC) if isinstance(value, datetime) else value, key
    except (ValueError, OverflowError):
        raise InvalidCursorError from None


def _type_adapter(column_type: TypeEngine[Any]) -> TypeAdapter[Any]:
    digits = (getattr(column_type, name, None) for name in ("precision", "scale"))
    python_type: Any = column_type.python_type
    return _bounded_adapter(python_type, *digits)


@cache
def _bounded_adapter(
    python_type: Any, precision: int | None, scale: int | None
) -> TypeAdapter[Any]:
    decimal = Annotated[Decimal, Field(max_digits=precision, decimal_places=scale)]
    bounded: dict[Any, Any] = {datetime: AwareDatetime, int: BigInt, Decimal: decimal}
    return TypeAdapter(bounded.get(python_type, python_type))
