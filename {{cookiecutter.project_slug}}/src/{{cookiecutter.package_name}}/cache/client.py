"""The Redis client of a process."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Final, Self

import structlog
from redis import asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

{% if cookiecutter.use_prometheus -%}
from ..instruments import REDIS_ERRORS
{% endif -%}
from ..settings import Settings

log = structlog.stdlib.get_logger(__name__)

Client = driver.Redis
# Prefix of every key, because other services may use the same Redis.
KEY_PREFIX: Final = "{{ cookiecutter.project_slug }}"
RETRY_INTERVAL: Final = 1.0  # seconds between attempts to reach Redis during an outage


class RedisUnavailableError(Exception):
    """A command failed, or was not sent because Redis is unavailable."""


class RedisClient:
    """A Redis client with a circuit breaker; an async context manager.

    A connection error or timeout opens the circuit, and a successful ping in the background closes
    it. While the circuit is open, commands fail at once. The start and the end of an outage are
    logged.
    """

    def __init__(self, settings: Settings) -> None:
        self.client: Client = Client.from_url(
            settings.redis_url,
            decode_responses=True,
            encoding_errors="replace",
            socket_connect_timeout=settings.redis_connect_timeout,
            socket_timeout=settings.redis_timeout,
            # A restarted server has closed the pooled connections. Timeouts are not retried.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._outage: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._outage is not None:
            self._outage.cancel()
            await asyncio.wait([self._outage])
        await self.client.aclose()

    @asynccontextmanager
    async def available(self) -> AsyncIterator[Client]:
        """Yield the client, to send commands.

        Raises:
            RedisUnavailableError: a command failed, or Redis is unavailable.
        """
        if self._outage is not None:
{%- if cookiecutter.use_prometheus %}
            REDIS_ERRORS.inc()
{%- endif %}
            raise RedisUnavailableError
        try:
            yield self.client
        except (RedisError, OSError) as error:
{%- if cookiecutter.use_prometheus %}
            REDIS_ERRORS.inc()
{%- endif %}
            if isinstance(error, ResponseError):  # Redis responds, so this is no outage.
                log.warning("redis error", error=error)
            elif self._outage is None:
                log.warning("redis unavailable", error=error)
                # In a context of its own, because it outlives the request.
                self._outage = asyncio.create_task(self._wait_for_recovery(), context=Context())
            raise RedisUnavailableError from error

    async def _wait_for_recovery(self) -> None:
        started = time.monotonic()
        while self._outage is not None:
            await asyncio.sleep(RETRY_INTERVAL)
            with suppress(RedisError, OSError):
                await self.client.ping()
                self._outage = None
        log.info("redis available", outage_seconds=round(time.monotonic() - started))
