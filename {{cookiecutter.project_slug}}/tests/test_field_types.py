"""Types of numbers, dates, URLs and JSON."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError
{%- if cookiecutter.database == "sqlite" %}
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncSession
{%- endif %}

{% if cookiecutter.database == "sqlite" -%}
from {{ cookiecutter.package_name }}.database import ScaledDecimal
{% endif -%}
from {{ cookiecutter.package_name }}.field_types import (
    MAX_JSON_DEPTH,
    MAX_JSON_LENGTH,
    MAX_URL_LENGTH,
    DecimalString,
    Float,
    Integer,
    IsoDate,
    JsonObject,
    Timestamp,
    Url,
)

Price = Annotated[Decimal, DecimalString(12, 2)]


def nested(levels: int) -> dict[str, Any]:
    """Return an object of this depth."""
    return {"a": nested(levels - 1)} if levels > 1 else {}


@pytest.mark.parametrize(
    ("field_type", "value", "normalized"),
    [
        (Integer, 2**53 - 1, "9007199254740991"),
        (Float, 1, "1.0"),
        (Price, "-0", '"0.00"'),
        (Price, Decimal("9999999999.9"), '"9999999999.90"'),
        (IsoDate, "2026-01-31", '"2026-01-31"'),
        (IsoDate, date(2026, 1, 31), '"2026-01-31"'),
        (Timestamp, "2026-01-31T01:00:00+02:00", '"2026-01-30T23:00:00Z"'),
        (Url, " HTTPS://EXAMPLE.com/ü ", '"https://example.com/%C3%BC"'),
        (JsonObject, {"a": [1, None]}, '{"a":[1,null]}'),
    ],
)
def test_valid_value_is_normalized(field_type: Any, value: object, normalized: str) -> None:
    adapter = TypeAdapter(field_type)

    assert adapter.dump_json(adapter.validate_python(value)).decode() == normalized


@pytest.mark.parametrize(
    ("field_type", "value"),
    [
        (Integer, 2**53),
        (Integer, True),
        (Float, float("nan")),
        (Price, 1.5),
        (Price, "0.005"),
        (IsoDate, 0),
        (IsoDate, "2026-02-30"),
        (Timestamp, "2026-01-31T01:00:00"),
        (Timestamp, "0001-01-01T00:00:00+01:00"),
        (Timestamp, "9999-12-31T23:59:59.999999-01:00"),
        (Url, "javascript:alert(1)"),
        (Url, f"https://example.com/{'ü' * (MAX_URL_LENGTH // 3)}"),
        (JsonObject, nested(MAX_JSON_DEPTH + 1)),
        (JsonObject, {"a": "a" * MAX_JSON_LENGTH}),
        (JsonObject, {"a": [float("inf")]}),
        (JsonObject, {"a\0": 1}),
    ],
)
def test_invalid_value_is_rejected(field_type: Any, value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(field_type).validate_python(value)
{%- if cookiecutter.database == "sqlite" %}


@pytest.mark.parametrize(
    ("value", "stored"),
    [("9999999999.99", "9999999999.99"), ("-0.025", "-0.03"), (None, None)],
)
async def test_decimal_is_stored_with_its_digits(
    session: AsyncSession, value: str | None, stored: str | None
) -> None:
    number = literal(value and Decimal(value), ScaledDecimal(12, 2))

    assert await session.scalar(select(number)) == (stored and Decimal(stored))
{%- endif %}
