"""Response bodies and queries of the job routes."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from ..pagination import PageQuery
from ..schemas import ResponseModel, Text
from .models import Status


class JobQuery(PageQuery):
    """Filters and order of the list of jobs."""

    status: Status | None = None
    task: Annotated[Text | None, Field(max_length=100, description="Name of the task.")] = None
    sort: Literal["created_at", "-created_at"] = "-created_at"


class JobRead(ResponseModel):
    """An unfinished job, without its arguments, which may be confidential."""

    id: int
    task: str
    status: Status
    attempts: int = Field(description="Number of attempts that have begun.")
    error_type: str | None = Field(description="Type of the last attempt's error.")
    request_id: str | None
    user_id: UUID | None
    created_at: datetime
    updated_at: datetime
    run_after: datetime = Field(description="Earliest time of the next attempt.")
