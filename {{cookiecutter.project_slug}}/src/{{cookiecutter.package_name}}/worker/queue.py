"""Tasks, and the queue of jobs in PostgreSQL."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Generic, ParamSpec

import structlog
from asgi_correlation_id import correlation_id
from croniter import croniter
from pgqueuer import AsyncpgDriver, JobId, Queries
from pydantic import ConfigDict, TypeAdapter, validate_call
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..mail import Mailer
from ..settings import Settings
{%- if cookiecutter.use_opentelemetry %}
from ..tracing.context import traceparent
{%- endif %}

Arguments = ParamSpec("Arguments")

JSON_OBJECT: Final = TypeAdapter(dict[str, Any])
# SQLAlchemy begins the transaction with the first statement that it sends itself.
BEGIN: Final = text("SELECT 1")


@dataclass(frozen=True)
class Context:
    """The first argument of every task.

    Attributes:
        session: a transaction that is committed together with the completion of the job. Commit it
            before slow work elsewhere, to release its connection.
        job_id: the same at each attempt; use it as an idempotency key for other services.
    """

    session: AsyncSession
    mailer: Mailer
    settings: Settings
    job_id: JobId


@dataclass(frozen=True)
class Task(Generic[Arguments]):
    """A function that workers run; see `task` for the attributes."""

    name: str
    function: Callable[Concatenate[Context, Arguments], Awaitable[None]]
    max_attempts: int
    timeout: float
    cron: str | None


TASKS: Final[dict[str, Task[...]]] = {}


def task(
    *, max_attempts: int = 5, timeout: float = 60, cron: str | None = None
) -> Callable[[Callable[Concatenate[Context, Arguments], Awaitable[None]]], Task[Arguments]]:
    """Register a function as a task. Jobs are stored with its name.

    Args:
        max_attempts: number of attempts before the job fails.
        timeout: seconds that an attempt may take.
        cron: schedule in UTC: minute, hour, day, month, weekday.

    Raises:
        ValueError: the schedule is invalid, or never due.
    """
    if cron is not None and not croniter.is_valid(cron, strict=True):
        raise ValueError(f"{cron!r} is not a cron expression, such as '30 4 * * 1-5'")

    def register(
        function: Callable[Concatenate[Context, Arguments], Awaitable[None]],
    ) -> Task[Arguments]:
        # Convert arguments from JSON to their types.
        validated = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
        name = function.__name__
        TASKS[name] = registered = Task(name, validated, max_attempts, timeout, cron)
        return registered

    return register


async def enqueue(
    session: AsyncSession,
    task: Task[Arguments],
    *positional: Arguments.args,
    **arguments: Arguments.kwargs,
) -> JobId:
    """Enqueue a job in the session's transaction: if that is rolled back, there is no job.

    Args:
        arguments: of the task, by keyword; they are stored as JSON until the job is done.

    Raises:
        TypeError: an argument was passed by position.
    """
    if positional:
        raise TypeError("the arguments of a task must be passed by keyword")
    queries = await job_queries(session)
    payload = JSON_OBJECT.dump_json(arguments)
    [job_id] = await queries.enqueue(task.name, payload, headers=_headers())
    return job_id


async def job_queries(session: AsyncSession) -> Queries:
    """Return PgQueuer's queries on the session's connection, in its transaction."""
    connection = await session.connection()
    await connection.execute(BEGIN)
    raw_connection = await connection.get_raw_connection()
    return Queries(AsyncpgDriver(raw_connection.driver_connection))


def _headers() -> dict[str, str]:
    """Return the ids that connect a job with the request that enqueues it."""
    headers = {
        "request_id": correlation_id.get(),
        "user_id": structlog.contextvars.get_contextvars().get("user_id"),
{%- if cookiecutter.use_opentelemetry %}
        "traceparent": traceparent(),
{%- endif %}
    }
    return {name: value for name, value in headers.items() if value}
