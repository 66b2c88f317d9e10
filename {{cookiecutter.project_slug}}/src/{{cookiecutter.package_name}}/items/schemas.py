"""Request and response bodies of the item routes."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from ..pagination import PageQuery
from ..schemas import UNSET, RequestModel, ResponseModel, SingleLineStr, Text

Description = Annotated[Text, StringConstraints(max_length=2000)]
TagName = Annotated[
    str, StringConstraints(min_length=1, max_length=50, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
]
Tags = Annotated[
    list[TagName], Field(max_length=20), AfterValidator(lambda names: sorted(set(names)))
]


class ItemCreate(RequestModel):
    """A new item."""

    title: SingleLineStr = Field(examples=["Write the report"])
    description: Description | None = None
    tags: Tags = Field(default_factory=list, examples=[["work"]])


class ItemUpdate(RequestModel):
    """Changes to an item. Omitted members stay unchanged."""

    title: SingleLineStr = UNSET
    description: Description | None = UNSET
    tags: Tags = UNSET


class ItemQuery(PageQuery):
    """Filters and order of the list of items."""

    q: Annotated[Text | None, Field(max_length=200, description="Part of the title.")] = None
    tag: Annotated[TagName | None, Field(description="Only items with this tag.")] = None
    sort: Literal["created_at", "-created_at", "title", "-title"] = "-created_at"


class ItemRead(ResponseModel):
    """An item with its tags, in alphabetical order."""

    id: UUID
    title: str
    description: str | None
    tags: Annotated[list[str], AfterValidator(sorted)] = Field(validation_alias="tag_names")
    created_at: datetime
    updated_at: datetime
