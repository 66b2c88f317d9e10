"""Response bodies and queries of the job routes."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from ..pagination import PageQuery
from ..schemas import ResponseModel, Text
from .models import State


class JobQuery(PageQuery):
    """Filters and order of the list of jobs."""

    state: State | None = None
    task: Annotated[Text | None, Field(max_length=100, description="Name of the task.")] = None
    sort: Literal["created_at", "-created_at"] = "-created_at"


class JobRead(ResponseModel):
    """A job, as administrators see it; not its arguments, which are nobody else's business."""

    id: UUID
    task: str
    state: State
    attempts: int
    error_type: str | None = Field(description="Of the last attempt that went wrong.")
    request_id: str | None
    user_id: UUID | None
    created_at: datetime
    due_at: datetime = Field(description="When it is tried (again) unless it has begun.")
    started_at: datetime | None
    finished_at: datetime | None
