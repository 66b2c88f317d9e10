"""What tasks are, and the outbox: a job is a row that the asking transaction writes.

It is sent right after the commit. When that does not happen, because the process dies in between
or Redis is away, the scheduler sends it.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Concatenate, Final, Generic, ParamSpec
from uuid import UUID

import structlog
from asgi_correlation_id import correlation_id
from pydantic import ConfigDict, TypeAdapter, validate_call
from sqlalchemy.ext.asyncio import AsyncSession

from ..cache.client import PREFIX, Pipeline, Redis, UnavailableError
from ..database import after_commit, utcnow
from ..mail import Mailer
from ..settings import Settings
{%- if cookiecutter.use_opentelemetry %}
from ..tracing.context import traceparent
{%- endif %}
from .models import Job

Arguments = ParamSpec("Arguments")

STREAM: Final = f"{PREFIX}:jobs"
MAX_LENGTH: Final = 100_000  # messages in the stream; the table remembers what falls out
JSON_OBJECT: Final = TypeAdapter(dict[str, Any])
CRON_FIELD: Final = re.compile(r"\*(/[1-9]\d*)?|\d+(-\d+)?(,\d+(-\d+)?)*")
CRON_LIMITS: Final = (59, 23, 31, 12, 6)  # minute, hour, day, month, weekday (0 is Sunday)
SEND_AFTER: Final = timedelta(seconds=10)  # the scheduler sends what nobody has begun by then


@dataclass(frozen=True)
class Context:
    """What a task gets besides its arguments.

    Attributes:
        title: name of the service, for people.
        session: a unit of work; it is committed together with the news that the job is done. A
            task that goes on to something slow commits before, so that it holds nothing.
        job_id: the same in every attempt, so that others can recognise what they got before.
    """

    session: AsyncSession
    mailer: Mailer
    settings: Settings
    title: str
    job_id: UUID


@dataclass(frozen=True)
class Task(Generic[Arguments]):
    """A function that workers run.

    Attributes:
        attempts: how often it is tried until it has failed.
        timeout: seconds that an attempt may take.
        cron: when it is due by itself, in UTC: minute, hour, day, month, weekday; each a number,
            a list, a range, `*` or `*/2`.
    """

    name: str
    function: Callable[Concatenate[Context, Arguments], Awaitable[None]]
    attempts: int
    timeout: float
    cron: str | None

    @cached_property
    def run(self) -> Callable[..., Awaitable[None]]:
        """The function, for arguments that were stored as JSON."""
        function: Callable[..., Awaitable[None]] = self.function
        return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)


TASKS: Final[dict[str, Task[...]]] = {}


def task(
    *, attempts: int = 5, timeout: float = 60, cron: str | None = None
) -> Callable[[Callable[Concatenate[Context, Arguments], Awaitable[None]]], Task[Arguments]]:
    """Decorate a function to make it a task, known by its name; parameters as `Task`."""

    def decorate(
        function: Callable[Concatenate[Context, Arguments], Awaitable[None]],
    ) -> Task[Arguments]:
        if cron is not None:
            _check(cron)
        name = function.__name__
        made = Task(name, function, attempts=attempts, timeout=timeout, cron=cron)
        TASKS[name] = made
        return made

    return decorate


class Outbox:
    """Tells the workers of jobs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def send(self, jobs: Iterable[tuple[UUID, str]]) -> None:
        """Send jobs, by key and task, in one round trip.

        Raises:
            UnavailableError: Redis did not answer in time; some may have been sent.
        """

        def add(pipeline: Pipeline) -> None:
            for job_id, name in jobs:
                fields: dict[Any, Any] = {"data": _message(job_id, name)}
                pipeline.xadd(STREAM, fields, maxlen=MAX_LENGTH, approximate=True)

        await self._redis.call(add)


def _check(cron: str) -> None:
    # pycron takes more, and then matches nothing, or fails when it is too late.
    fields = cron.split(" ")
    usable = len(fields) == len(CRON_LIMITS) and all(
        CRON_FIELD.fullmatch(field) and all(int(n) <= limit for n in re.findall(r"\d+", field))
        for field, limit in zip(fields, CRON_LIMITS, strict=True)
    )
    if not usable:
        raise ValueError(f"{cron!r} is not like '30 4 * * 1-5': numbers, lists, ranges, *, */2")


def _message(job_id: UUID, name: str) -> str:
    # As taskiq writes it, whose import would cost every server process 10 MB.
    fields = {"task_id": str(job_id), "task_name": name, "labels": {}, "args": [str(job_id)]}
    return json.dumps({**fields, "kwargs": {}})


def enqueue(
    session: AsyncSession,
    task: Task[Arguments],
    *_: Arguments.args,
    **arguments: Arguments.kwargs,
) -> Job:
    """Have a task run once the session's transaction is committed; if it is not, never.

    Args:
        arguments: of the task, by keyword; they are kept until the job is done.
    """
    job = Job(
        task=task.name,
        arguments=JSON_OBJECT.dump_python(arguments, mode="json"),
        request_id=correlation_id.get(),
        user_id=_user_id(),
{%- if cookiecutter.use_opentelemetry %}
        traceparent=traceparent(),
{%- endif %}
    )
    add(session, job)
    return job


def add(session: AsyncSession, job: Job) -> None:
    """Have a job sent when the session's transaction is committed.

    Sessions of a process without an outbox, such as a command, leave that to the scheduler.
    """
    job.due_at = utcnow() + SEND_AFTER
    session.add(job)
    outbox: Outbox | None = session.info.get("outbox")
    if outbox is not None:

        async def send() -> None:
            with suppress(UnavailableError):
                await outbox.send([(job.id, job.task)])

        after_commit(session, send)


def _user_id() -> UUID | None:
    user_id = structlog.contextvars.get_contextvars().get("user_id")
    return UUID(user_id) if user_id else None
