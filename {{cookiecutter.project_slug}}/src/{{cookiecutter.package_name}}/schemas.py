"""The bases and text types of all request and response bodies."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, StringConstraints

CONTROL: Final = r"\x00-\x1f\x7f"
CONTROL_BUT_BREAKS: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"

# For members of a partial change: optional, yet neither nullable nor with a default in the schema.
# Read such a body with `model_dump(exclude_unset=True)`.
LEFT_OUT: Final[Any] = Field(default_factory=lambda: None)


class Input(BaseModel):
    """Sent by a client: unknown members are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    """Sent to a client; reads the attributes of a model."""

    model_config = ConfigDict(from_attributes=True)


def _printable(value: str) -> str:
    if re.search(f"[{CONTROL_BUT_BREAKS}]", value):
        raise ValueError("must not contain control characters")
    return value


def _one_line(value: str) -> str:
    if re.search(f"[{CONTROL}]", value):
        raise ValueError("must be one line without control characters")
    return value


# The patterns are for the description only: they say what is checked in another way.
Text = Annotated[
    str,
    AfterValidator(_printable),
    Field(json_schema_extra={"pattern": f"^[^{CONTROL_BUT_BREAKS}]*$"}),
]
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_one_line),
    Field(json_schema_extra={"pattern": rf"^[^{CONTROL}]*[^{CONTROL}\s][^{CONTROL}]*$"}),
]
Email = Annotated[EmailStr, AfterValidator(str.lower)]
