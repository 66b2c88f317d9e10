"""Request and response bodies of the item routes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, field_validator

from ..pagination import PageQuery
from ..schemas import LEFT_OUT, Input, Line, Output, Text

Description = Annotated[Text, StringConstraints(max_length=2000)]
TagName = Annotated[
    str, StringConstraints(min_length=1, max_length=50, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
]
Tags = Annotated[
    list[TagName], Field(max_length=20), AfterValidator(lambda names: sorted(set(names)))
]


class ItemCreate(Input):
    """A new item."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"title": "Write the report", "description": None, "tags": ["work"]}]
        }
    )

    title: Line
    description: Description | None = None
    tags: Tags = Field(default_factory=list)


class ItemUpdate(Input):
    """Changes to an item; what is left out stays."""

    title: Line = LEFT_OUT
    description: Description | None = LEFT_OUT
    tags: Tags = LEFT_OUT


class ItemQuery(PageQuery):
    """Filters and order of the list of items."""

    q: Annotated[Text | None, Field(max_length=200, description="Part of the title.")] = None
    tag: Annotated[TagName | None, Field(description="Only items with this tag.")] = None
    sort: Literal["created_at", "-created_at", "title", "-title"] = "-created_at"


class ItemRead(Output):
    """An item with its tags, in alphabetical order."""

    id: UUID
    title: str
    description: str | None
    tags: list[str]
    created_at: datetime
    updated_at: datetime

    @field_validator("tags", mode="before")
    @classmethod
    def _names(cls, tags: str | list[object] | None) -> Sequence[object]:
        if tags is None or isinstance(tags, str):  # read as a text, without objects
            return sorted((tags or "").split())
        return [getattr(tag, "name", tag) for tag in tags]
