"""Types of members that are not text: accepted values are stored and sorted exactly."""

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import APIRouter, Query
from httpx2 import AsyncClient, Response
from orders import database
from orders.dependencies import DbSession, ReadSession
from orders.field_types import (
    DecimalString,
    Float,
    Integer,
    IsoDate,
    JsonObject,
    Timestamp,
    Url,
)
from orders.pagination import BigInt, Page, PageQuery, RowPage, paginate
from orders.schemas import RequestModel, ResponseModel
from pydantic import Field, ValidationError
from sqlalchemy import JSON, BigInteger, Double, Numeric, String, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from support import NOWHERE, NewApp, new_client, pointers, read_pages

from render.counters import Base

IS_SQLITE = NOWHERE.startswith("sqlite")
NUMERIC = database.ScaledDecimal(12, 2) if IS_SQLITE else Numeric(12, 2)
URL = "/samples"
KEY = UUID(int=1).hex

Price = Annotated[Decimal, DecimalString(12, 2)]


class Sample(database.UuidKeyMixin, database.TimestampMixin, Base):
    """A row with a column of each type."""

    __tablename__ = "samples"

    count: Mapped[int] = mapped_column(BigInteger)
    weight: Mapped[float] = mapped_column(Double)
    price: Mapped[Decimal] = mapped_column(NUMERIC)
    day: Mapped[date]
    time: Mapped[datetime]
    site: Mapped[str] = mapped_column(String(2000))
    extra: Mapped[dict[str, Any]] = mapped_column(JSON().with_variant(JSONB(), "postgresql"))


class SampleCreate(RequestModel):
    """A new row."""

    count: Integer = 0
    weight: Float = 0.0
    price: Price = Decimal(0)
    day: IsoDate = date(2026, 1, 31)
    time: Timestamp = datetime(2026, 1, 31, tzinfo=UTC)
    site: Url = "https://example.com/"
    extra: JsonObject = Field(default_factory=dict)


class SampleRead(ResponseModel):
    """A row."""

    id: UUID
    count: int
    weight: float
    price: Price
    day: date
    time: datetime
    site: str
    extra: dict[str, Any]


class SampleQuery(PageQuery):
    """The order and the filters of the list."""

    count_min: BigInt | None = None
    weight_min: Annotated[float | None, Query(allow_inf_nan=False)] = None
    price_min: Price | None = None
    day_min: IsoDate | None = None
    time_min: Timestamp | None = None
    sort: Literal[
        "count", "-count", "weight", "-weight", "price", "-price", "day", "-day", "time", "-time"
    ] = "count"


router = APIRouter(prefix=URL)


@router.post("", status_code=201, response_model=SampleRead)
async def create_sample(data: SampleCreate, session: DbSession) -> Sample:
    """Store a row."""
    sample = Sample(**data.model_dump())
    session.add(sample)
    await session.flush()
    return sample


@router.get("", response_model=Page[SampleRead])
async def list_samples(query: Annotated[SampleQuery, Query()], session: ReadSession) -> RowPage:
    """List the rows that are not below the filters."""
    statement = select(*Sample.__table__.columns)
    for name in ("count", "weight", "price", "day", "time"):
        if (least := getattr(query, f"{name}_min")) is not None:
            statement = statement.where(Sample.__table__.columns[name] >= least)
    return await paginate(session, statement, query)


@router.get("/{sample_id}", response_model=SampleRead)
async def get_sample(sample_id: UUID, session: ReadSession) -> Sample:
    """Return a row."""
    return (await session.scalars(select(Sample).where(Sample.id == sample_id))).one()


@pytest.fixture
async def samples(new_app: NewApp) -> AsyncIterator[AsyncClient]:
    """Return a client of an application with these routes."""
    app = new_app()
    app.include_router(router)
    async with new_client(app) as client:
        yield client


class Json(str):
    """A value as JSON text, which may be invalid."""

    __slots__ = ()


async def create(client: AsyncClient, name: str, value: object) -> Response:
    """Store a row with the value of a member."""
    text = value if isinstance(value, Json) else json.dumps(value)
    content = f'{{"{name}": {text}}}'
    return await client.post(URL, content=content, headers={"Content-Type": "application/json"})


def nested(levels: int) -> Json:
    """Return an object that is nested to this number of levels."""
    return Json('{"a":' * levels + "1" + "}" * levels)


@pytest.mark.parametrize(
    ("name", "sent", "stored"),
    [
        ("count", 2**53 - 1, 2**53 - 1),
        ("count", -(2**53) + 1, -(2**53) + 1),
        ("count", 1.0, 1),
        ("weight", 1, 1),
        ("weight", 1e308, 1e308),
        ("weight", -5e-324, -5e-324),
        ("price", "1", "1.00"),
        ("price", "1.5", "1.50"),
        ("price", "-0.00", "0.00"),
        ("price", "9999999999.99", "9999999999.99"),
        ("price", "-9999999999.99", "-9999999999.99"),
        ("price", "0000000001", "1.00"),
        ("day", "0001-01-01", "0001-01-01"),
        ("day", "9999-12-31", "9999-12-31"),
        ("time", "2026-01-01T01:00:00+02:00", "2025-12-31T23:00:00Z"),
        ("time", "2026-01-01 00:00:00.1234567Z", "2026-01-01T00:00:00.123456Z"),
        ("time", "0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00.000001Z"),
        ("time", "9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.999998Z"),
        ("site", " HTTPS://EXAMPLE.com ", "https://example.com/"),
        ("site", "https://ü.de/ü?x=ä#y", "https://xn--tda.de/%C3%BC?x=%C3%A4#y"),
        ("site", "http://a/" + "x" * 1991, "http://a/" + "x" * 1991),
        ("extra", nested(20), json.loads(nested(20))),
        ("extra", Json('{"a": "\\\\u0000"}'), {"a": "\\u0000"}),
        ("extra", Json('{"a": 1.0, "b": 1e2, "c": 1e-400}'), {"a": 1.0, "b": 1e2, "c": 0.0}),
        ("extra", Json('{"a": ' + "9" * 4000 + "}"), {"a": int("9" * 4000)}),
        ("extra", Json('{"a": 1, "a": 2, "__proto__": {}}'), {"a": 2, "__proto__": {}}),
        ("extra", {"😀": ["😀", None, True, ""]}, {"😀": ["😀", None, True, ""]}),
        ("extra", {"a": "x" * 9_991}, {"a": "x" * 9_991}),
    ],
)
async def test_valid_value_is_stored_exactly(
    samples: AsyncClient, name: str, sent: object, stored: object
) -> None:
    created = await create(samples, name, sent)
    read = await samples.get(f"{URL}/{created.json()['id']}")

    assert created.status_code == 201
    assert created.json()[name] == stored
    assert read.json() == created.json()


INVALID: dict[str, list[object]] = {
    "count": [True, 1.5, 2.0**53, "1", None, 2**53, -(2**53), 10**400],
    "weight": [True, "1.5", None, Json("NaN"), Json("1e999")],
    "price": [
        *(1, 1.5, True, None, "", "0.005", "1e1", "٣.00", "Infinity"),
        *(" 1", "1 ", "1\n", "+1", ".5", "1.", "99999999999"),
    ],
    "day": [
        *(0, "0", True, None, "", "2026-1-1", "20260101", "٢٠٢٦-01-01"),
        *("2026-02-30", "2026-W01-1", "10000-01-01", "-001-01-01"),
    ],
    "time": [
        *(0, "0", None, "1e9", "2026-01-01", "2026-01-01T00:00:00", "2026-06-30T23:59:60Z"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    ],
    "site": [
        *("", "//a", "javascript:alert(1)", "ftp://a", "http://", 1, None),
        *("http://a\0", Json(r'"http://a/\ud800"')),
        *("http://a/" + "x" * 1992, "http://a/" + "ü" * 700),
    ],
    "extra": [
        *([], "a", None, nested(21), nested(300), nested(900)),
        *(Json(f'{{"a": [{number}]}}') for number in ("NaN", "1e999", "-Infinity")),
        *(Json(f'{{"a": {text}}}') for text in (r'"\u0000"', r'"\ud800"')),
        *(Json(f'{{"a": {{{text}: 1}}}}') for text in (r'"\u0000"', r'"\udfff"')),
        *({"a": "x" * 9_992}, {"a": "ü" * 5_000}),
    ],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in INVALID.items() for value in values]
)
async def test_invalid_value_is_rejected(samples: AsyncClient, name: str, value: object) -> None:
    response = await create(samples, name, value)

    assert response.status_code == 422
    assert pointers(response) == [f"/body/{name}"]
    [error] = response.json()["errors"]
    assert "\n" not in error["detail"]
    assert "codec" not in error["detail"]


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 100_000, "[" * 4_000 + "]" * 4_000])
async def test_json_that_cannot_be_parsed_is_rejected(samples: AsyncClient, value: str) -> None:
    response = await create(samples, "extra", Json(f'{{"a": {value}}}'))

    # How deep JSON may be depends on the version of Python.
    assert response.status_code in {400, 422}


def test_python_values_are_valid() -> None:
    sample = SampleCreate(
        price=Decimal("1.5"), day=date(2026, 1, 31), time=datetime(2026, 1, 31, 1, tzinfo=UTC)
    )

    assert (sample.price, sample.day.day, sample.time.hour) == (Decimal("1.50"), 31, 1)
    with pytest.raises(ValidationError):
        SampleCreate(price=1.5)  # type: ignore[arg-type]


@pytest.mark.skipif(IS_SQLITE, reason="SQLite stores every time")
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_time_that_postgresql_stores_as_infinity_is_rejected(
    samples: AsyncClient, time: str
) -> None:
    response = await create(samples, "time", time)

    assert pointers(response) == ["/body/time"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("count", [-(2**53) + 1, -3, 0, 5, 2**53 - 1]),
        ("weight", [-1e308, -0.25, 5e-324, 0.1, 1.5, 1e308]),
        ("price", ["-9999999999.99", "-0.01", "0.00", "0.10", "9.00", "10.00", "9999999999.99"]),
        ("day", ["0001-01-01", "1999-12-31", "2026-01-31", "9999-12-31"]),
        ("time", ["0001-01-02T00:00:00Z", "2026-01-31T00:00:00Z", "2026-01-31T00:00:00.000001Z"]),
    ],
)
async def test_pages_are_sorted_and_filtered(
    samples: AsyncClient, name: str, values: list[Any]
) -> None:
    for value in [*values[::2], *values[1::2]]:
        assert (await create(samples, name, value)).status_code == 201

    ascending = await read_pages(samples, URL, sort=name, limit=1)
    descending = await read_pages(samples, URL, sort=f"-{name}", limit=2)
    filtered = await read_pages(samples, URL, **{"sort": name, f"{name}_min": values[1]})

    assert [row[name] for page in ascending for row in page] == values
    assert [row[name] for page in descending for row in page] == values[::-1]
    assert [row[name] for page in filtered for row in page] == values[1:]


FORGED: list[object] = [
    *(0, -1, 2**63, 2**63 - 1, 10**30, 1.5, 1e308, float("nan"), float("inf"), float("-inf")),
    *(True, None, [], {}, "", "a", "a\0", "1", "1.005", "1E+10", "1E+30", "1E-20"),
    *("9" * 18, "9" * 17 + ".5", "NaN", "Infinity", "-Infinity", "2026-01-01", "0001-01-01"),
    *("9999-12-31", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
]


@pytest.mark.parametrize("name", ["count", "weight", "price", "day", "time"])
async def test_forged_cursor_and_filter_are_no_server_errors(
    samples: AsyncClient, name: str
) -> None:
    await create(samples, name, SampleCreate().model_dump(mode="json")[name])
    queries: list[dict[str, Any]] = [{f"{name}_min": str(value)} for value in FORGED]
    queries += [{f"{name}_min": text} for text in ("٣", "1_000", "0x1", " 1", "9" * 400)]
    for sort in (name, f"-{name}"):
        texts = (json.dumps([sort, value, KEY]) for value in FORGED)
        cursors = (urlsafe_b64encode(text.encode()).decode() for text in texts)
        queries += [{"sort": sort, "cursor": cursor} for cursor in cursors]

    responses = [await samples.get(URL, params=query) for query in queries]
    statuses = {response.status_code for response in responses}

    assert statuses == {200, 422}


async def test_decimals_are_summed_exactly_and_rounded_half_up(session: AsyncSession) -> None:
    values = {**SampleCreate().model_dump(), "price": Decimal("0.1")}
    session.add_all([Sample(**values) for _ in range(3)])
    rounded = Sample(**values | {"price": Decimal("-0.025")})
    session.add(rounded)
    await session.flush()
    await session.refresh(rounded)

    assert rounded.price == Decimal("-0.03")
    assert await session.scalar(select(func.sum(Sample.price))) == Decimal("0.27")
