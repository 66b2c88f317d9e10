"""The bases and text types of all request and response bodies."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, StringConstraints

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
    if any(ord(character) < 32 and character not in "\t\n\r" for character in value):
        raise ValueError("must not contain control characters")
    return value


Text = Annotated[str, AfterValidator(_printable)]
Line = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Email = Annotated[EmailStr, AfterValidator(str.lower)]
