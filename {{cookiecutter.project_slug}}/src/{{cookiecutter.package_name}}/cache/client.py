"""The connection to Redis: bounded in time, and passed over while it does not work."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Self

import structlog
from redis import asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError, ResponseError

from ..settings import Settings

log = structlog.stdlib.get_logger(__name__)

Client = driver.Redis
PAUSE_SECONDS: Final = 1.0  # between tries while Redis does not work
# Of every key, as others may use the same Redis.
PREFIX: Final = "{{ cookiecutter.project_slug }}"


class UnavailableError(Exception):
    """Redis did not answer in time, or has not lately and is not asked."""


class Redis:
    """The connection pool of one process; an asynchronous context manager that closes it.

    After a failure Redis is not asked for a second, so that an outage costs the requests of that
    moment one time-out each, and later ones nothing. It is logged when it begins and when it ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.redis_timeout
        self._slots = asyncio.Semaphore(settings.redis_pool_size)
        self._down_since: float | None = None
        self._next_try = 0.0
        self._repeated: dict[asyncio.Task[None], Callable[[], Awaitable[None]]] = {}
        self.client: Client = Client.from_pool(
            driver.ConnectionPool.from_url(
                settings.redis_url,
                max_connections=settings.redis_pool_size,  # as many as there are slots
                # A server that was started anew has closed the connections of the pool.
                retry=Retry(ExponentialWithJitterBackoff(base=0.002, cap=0.01), retries=2),
                decode_responses=True,
            )
        )

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
        await self.client.aclose()

    async def call(self, command: Callable[[Client], Awaitable[Any]]) -> Any:
        """Run commands within REDIS_TIMEOUT.

        Raises:
            UnavailableError: there was no answer in time, or an error for one.
        """
        now = time.monotonic()
        if self._down_since is not None:
            if now < self._next_try:
                raise UnavailableError
            self._next_try = now + PAUSE_SECONDS  # one request tries, the others go on without
        asked = False
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                asked = True
                result = await command(self.client)
        except (ResponseError, UnicodeDecodeError) as error:  # it is there, and refuses
            log.warning("redis error", error_type=type(error).__name__, error_message=str(error))
            raise UnavailableError from error
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            if asked:  # or else all connections are busy
                self._fail(error)
            raise UnavailableError from error
        if self._down_since is not None:
            log.info("redis available", outage_seconds=round(time.monotonic() - self._down_since))
            self._down_since = None
        return result

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

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._next_try = now + PAUSE_SECONDS
        if self._down_since is None:
            self._down_since = now
            log.warning(
                "redis unavailable", error_type=type(error).__name__, error_message=str(error)
            )
