"""Types of numbers, dates, URLs and JSON, which are the same on each database."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    AwareDatetime,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from .schemas import check_storable

MAX_URL_LENGTH: Final = 2_000
MAX_JSON_LENGTH: Final = 10_000  # bytes
MAX_JSON_DEPTH: Final = 20


def _to_integer(value: object) -> object:
    """Convert a number without a fraction, such as 1.0, which JSON Schema calls an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JavaScript represents integers exactly up to 2**53 (RFC 7493 section 2.2).
Integer = Annotated[int, Field(strict=True, gt=-(2**53), lt=2**53), BeforeValidator(_to_integer)]
Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass(frozen=True)
class DecimalString:
    """A decimal number as a JSON string, because clients read a JSON number as a float.

        Price = Annotated[Decimal, DecimalString(12, 2)]

    Args:
        precision: number of digits, at most 18.
        scale: number of digits after the point. Responses have all of them.
    """

    precision: int
    scale: int

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> Any:
        example = str(self._quantize(Decimal(1)))
        schema = {"type": "string", "pattern": self._pattern, "examples": [example]}
        validators = (BeforeValidator(self._check), AfterValidator(self._quantize))
        return handler.generate_schema(Annotated[Decimal, *validators, WithJsonSchema(schema)])

    @property
    def _pattern(self) -> str:
{%- raw %}
        return rf"^-?[0-9]{{1,{self.precision - self.scale}}}(\.[0-9]{{1,{self.scale}}})?$"
{%- endraw %}

    def _check(self, value: object) -> object:
        if isinstance(value, str) and re.fullmatch(self._pattern, value):
            return value
        if isinstance(value, Decimal):
            return value
        raise ValueError(
            f"must be text with a number of at most {self.precision} digits, "
            f"{self.scale} of them after the point"
        )

    def _quantize(self, value: Decimal) -> Decimal:
        return value.quantize(Decimal(1).scaleb(-self.scale)) + 0  # no negative zero


def _check_iso_8601(value: object) -> object:
    # Pydantic also reads numbers, and text with a number, as seconds since 1970.
    if isinstance(value, date) or (isinstance(value, str) and re.match(r"\d{4}-", value)):
        return value
    raise ValueError("must be text such as 2026-01-31 or 2026-01-31T12:00:00Z")


def _to_utc(value: datetime) -> datetime:
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None
{%- if cookiecutter.database == "postgresql" %}
    # The driver stores the first and the last of all times as infinity.
    if utc.replace(tzinfo=None) in (datetime.min, datetime.max):  # noqa: DTZ901
        raise ValueError("is out of range")
{%- endif %}
    return utc


IsoDate = Annotated[date, BeforeValidator(_check_iso_8601)]
Timestamp = Annotated[AwareDatetime, AfterValidator(_to_utc), BeforeValidator(_check_iso_8601)]

_URL: Final = TypeAdapter(AnyHttpUrl)


def _normalize_url(value: str) -> str:
    try:
        url = str(_URL.validate_python(value))
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"must have at most {MAX_URL_LENGTH} characters")
    return url


Url = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=MAX_URL_LENGTH),
    AfterValidator(_normalize_url),
    BeforeValidator(check_storable),
    Field(json_schema_extra={"format": "uri"}),
]


def _check_members(value: object, levels: int = MAX_JSON_DEPTH) -> None:
    if not isinstance(value, dict | list):
        check_storable(value)
        return
    if levels == 0:
        raise ValueError(f"must not be nested more than {MAX_JSON_DEPTH} levels deep")
    members = [*value, *value.values()] if isinstance(value, dict) else value
    for member in members:
        _check_members(member, levels - 1)


def _check_json(value: dict[str, Any]) -> dict[str, Any]:
    _check_members(value)
    if len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode()) > MAX_JSON_LENGTH:
        raise ValueError(f"must have at most {MAX_JSON_LENGTH} bytes")
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_check_json)]
