"""The connection to Redis: shared by requests, bounded in time, passed over while it is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, Self

import structlog
from redis import asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError, ResponseError

from ..settings import Settings
{%- if cookiecutter.use_opentelemetry %}
from ..tracing.context import commands_span
{%- endif %}

log = structlog.stdlib.get_logger(__name__)

Client = driver.Redis
Pipeline = driver.client.Pipeline
Answers = list[Any]  # one for each command
PAUSE_SECONDS: Final = 1.0  # between tries while Redis does not work
# Of every key, as others may use the same Redis.
PREFIX: Final = "{{ cookiecutter.project_slug }}"


class UnavailableError(Exception):
    """Redis did not answer in time, or has not lately and is not asked."""


class Redis:
    """The connection of one process; an asynchronous context manager that closes it.

    What is asked while an answer is on its way is sent together after that: for the process to ask
    takes longer than for Redis to answer, which does one thing after the other anyway.

    After a failure Redis is not asked for a second, so that an outage costs the requests of that
    moment one time-out each, and later ones nothing. It is logged when it begins and when it ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.redis_timeout
        self._down_since: float | None = None
        self._next_try = 0.0
        self._repeated: dict[asyncio.Task[None], Callable[[], Awaitable[None]]] = {}
        self.client: Client = Client.from_url(
            settings.redis_url,
            socket_timeout=None,  # `call` limits the time of all that it sends
            # A server that was started anew has closed the connection.
            retry=Retry(ExponentialWithJitterBackoff(base=0.002, cap=0.01), retries=2),
            decode_responses=True,
            encoding_errors="replace",  # what others have put there is no reason to fail
        )
        self._pipeline, self._waiting = self._nothing()
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        untold = dict(self._repeated)
        for task in untold:
            task.cancel()
        await asyncio.gather(*untold, return_exceptions=True)
        self._next_try = 0
        for action in untold.values():
            with suppress(UnavailableError):  # told now or never
                await action()
        if self._sender is not None:  # for somebody who has given up
            await asyncio.wait([self._sender])
        await self.client.aclose()

    async def call(self, command: Callable[[Pipeline], object]) -> Answers:
        """Ask, when the answers that are on their way have come, and return what Redis answers.

        Args:
            command: adds one or several commands to a pipeline.

        Raises:
            UnavailableError: there was no answer within REDIS_TIMEOUT, or an error for one.
        """
        now = time.monotonic()
        if self._down_since is not None:
            if now < self._next_try:
                raise UnavailableError
            self._next_try = now + PAUSE_SECONDS  # one request tries, the others go on without
        before = len(self._pipeline)
        command(self._pipeline)
        waiting: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        self._waiting.append((slice(before, len(self._pipeline)), waiting))
        if self._sender is None or self._sender.done():
            # It goes on for other requests: nothing of this one is in its log lines.
            self._sender = asyncio.create_task(self._send(), context=Context())
{%- if cookiecutter.use_opentelemetry %}
        with commands_span(self._pipeline.command_stack[before:]):
            return _checked(await waiting)
{%- else %}
        return _checked(await waiting)
{%- endif %}

    def _nothing(self) -> tuple[Pipeline, list[tuple[slice, asyncio.Future[Answers]]]]:
        """No commands, and nobody who waits for answers."""
        return self.client.pipeline(transaction=False), []

    async def _send(self) -> None:
        """Send what has been asked until nothing more is."""
        waiting = self._waiting
        try:
            while self._waiting:
                pipeline, waiting = self._pipeline, self._waiting
                self._pipeline, self._waiting = self._nothing()
                async with asyncio.timeout(self._timeout):
                    answers = await pipeline.execute(raise_on_error=False)
                self._succeed()
                for part, one in waiting:
                    if not one.done():  # nobody waits any more
                        one.set_result(answers[part])
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._fail(error)
        except BaseException:
            # Answers may still be on their way, and are nobody's.
            await self.client.connection_pool.disconnect()
            raise
        finally:
            self._sender = None
            waiting = [*waiting, *self._waiting]
            self._pipeline, self._waiting = self._nothing()
            for _, one in waiting:
                if not one.done():
                    one.set_exception(UnavailableError())

    def repeat(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do something in the background, again and again until Redis answers."""

        async def until_it_works() -> None:
            while True:
                await asyncio.sleep(PAUSE_SECONDS)
                with suppress(UnavailableError):
                    await action()
                    return

        task = asyncio.create_task(until_it_works())
        self._repeated[task] = action
        task.add_done_callback(self._repeated.pop)

    def _succeed(self) -> None:
        if self._down_since is not None:
            log.info("redis available", outage_seconds=round(time.monotonic() - self._down_since))
            self._down_since = None

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._next_try = now + PAUSE_SECONDS
        if self._down_since is None:
            self._down_since = now
            log.warning("redis unavailable", error=error)


def _checked(answers: Answers) -> Answers:
    for error in answers:
        if isinstance(error, ResponseError):  # it is there, and refuses
            log.warning("redis error", error=error)
            raise UnavailableError from error
    return answers
