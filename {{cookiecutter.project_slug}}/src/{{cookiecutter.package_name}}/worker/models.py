"""The table of jobs: the outbox, and what became of each job."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base, TimestampMixin, UuidKeyMixin, enum_column


class State(StrEnum):
    """Where a job is: `failed` has used up its attempts and waits for an administrator."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Job(UuidKeyMixin, TimestampMixin, Base):
    """A task to be run with some arguments, which are forgotten when it is done.

    Attributes:
        key: what there may be only one job for, such as a task and the minute it is due.
        due_at: when the scheduler sends a queued job, or takes a running one back from a worker
            that must be dead.
        not_before: when the next attempt may begin, after one that failed.
        request_id: of the request that asked for the job.
        user_id: who made that request.
{%- if cookiecutter.use_opentelemetry %}
        traceparent: of that request (W3C Trace Context).
{%- endif %}
    """

    __tablename__ = "jobs"

    task: Mapped[str] = mapped_column(String(100))
    key: Mapped[str | None] = mapped_column(String(150), unique=True)
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    state: Mapped[State] = mapped_column(enum_column(State), default=State.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    error_type: Mapped[str | None] = mapped_column(String(100))
    request_id: Mapped[str | None] = mapped_column(String(128))
    user_id: Mapped[UUID | None]
{%- if cookiecutter.use_opentelemetry %}
    traceparent: Mapped[str | None] = mapped_column(String(55))
{%- endif %}
    due_at: Mapped[datetime]
    not_before: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_jobs_created_at_id", "created_at", "id"),
        Index("ix_jobs_finished_at", "finished_at"),
        Index(
            "ix_jobs_due_at",
            "due_at",
            {{ cookiecutter.database }}_where=text("state IN ('queued', 'running')"),
        ),
    )
