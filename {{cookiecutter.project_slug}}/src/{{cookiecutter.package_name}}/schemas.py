"""The bases and text types of all request and response bodies."""

import re
import unicodedata
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

CONTROL: Final = r"\x00-\x1f\x7f"
CONTROL_BUT_BREAKS: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
# JSON can express both, but UTF-8 has no lone surrogates, and not every database stores NUL.
NOT_STORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
MAX_UNKNOWN_MEMBERS: Final = 100
MAX_EMAIL_LENGTH: Final = 254
# Default_Ignorable_Code_Point (Unicode TR 44) as far as email-validator accepts it.
INVISIBLE: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# The scripts of Chinese, Japanese and Korean, which are written together, also with Latin letters.
EAST_ASIAN: Final = frozenset(
    {"BOPOMOFO", "CJK", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA", "KATAKANA-HIRAGANA"}
)

# For members of a partial change: optional, yet neither nullable nor with a default in the schema.
# Read such a body with `model_dump(exclude_unset=True)`.
UNSET: Final[Any] = Field(default_factory=lambda: None)


class RequestModel(BaseModel):
    """A request body. Unknown members are rejected, so that typos are noticed."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _limit_members(cls, data: Any) -> Any:
        # An error for each of many thousand members would block the event loop for seconds.
        if isinstance(data, dict) and len(data) > len(cls.model_fields) + MAX_UNKNOWN_MEMBERS:
            raise ValueError("has too many members")
        return data


class ResponseModel(BaseModel):
    """A response body, read from the attributes of a model."""

    model_config = ConfigDict(from_attributes=True)


Value = TypeVar("Value")


def check_storable(value: Value) -> Value:
    """Return the value unless it is text with a NUL or lone surrogate.

    Raises:
        ValueError: the text cannot be encoded or stored.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and NOT_STORABLE.search(text):
        raise ValueError("must not contain NUL or lone surrogate characters")
    return value


def _printable(value: str) -> str:
    if re.search(f"[{CONTROL_BUT_BREAKS}]", value):
        raise ValueError("must not contain control characters")
    return value


def _one_line(value: str) -> str:
    if re.search(f"[{CONTROL}]", value):
        raise ValueError("must be one line without control characters")
    return value


# The patterns are for the OpenAPI description only; the validators do the checks.
Text = Annotated[
    str,
    AfterValidator(check_storable),
    AfterValidator(_printable),
    Field(json_schema_extra={"pattern": f"^[^{CONTROL_BUT_BREAKS}]*$"}),
]
SingleLineStr = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_one_line),
    BeforeValidator(check_storable),
    Field(json_schema_extra={"pattern": rf"^[^{CONTROL}]*[^{CONTROL}\s][^{CONTROL}]*$"}),
]
Secret = Annotated[
    SecretStr,
    AfterValidator(check_storable),
    Field(json_schema_extra={"pattern": r"^[^\x00]*$"}),
]


def _nfkc(value: object) -> object:
    if not isinstance(value, str):
        return value
    if len(value) > MAX_EMAIL_LENGTH:
        raise ValueError(f"must have at most {MAX_EMAIL_LENGTH} characters")
    return unicodedata.normalize("NFKC", value).lower()


def _unambiguous(value: str) -> str:
    local_part = value.rpartition("@")[0]
    if INVISIBLE.search(local_part):
        raise ValueError("must not contain invisible characters")
    # A character's name begins with its script; the standard library has no property for it.
    letters = filter(str.isalpha, local_part)
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in letters}
    if len(scripts - EAST_ASIAN) > 1:
        raise ValueError("must not mix letters of different scripts before the @")
    return value.lower()


# In one form (NFKC, lower case), so that look-alike spellings cannot be accounts of their own.
Email = Annotated[
    EmailStr,
    BeforeValidator(_nfkc),
    AfterValidator(_unambiguous),
    BeforeValidator(check_storable),
]
_EMAIL: Final = TypeAdapter[str](Email)


def normalize_email(value: str) -> str:
    """Return an email address in the form of `Email`; other text only in lower case."""
    try:
        return _EMAIL.validate_python(value)
    except ValidationError:
        return value.strip().lower()
