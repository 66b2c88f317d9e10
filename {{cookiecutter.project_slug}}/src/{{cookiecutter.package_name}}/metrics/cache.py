"""The cache, Redis behind it, and the requests that its limits refuse."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI

from ..cache.client import Pipeline, UnavailableError
from ..cache.limits import Allowance
from ..instruments import CACHE_READS, RATE_LIMITED, REDIS_ERRORS
from ..throttle import Limit


def observe(app: FastAPI) -> None:
    """Measure what `cache.setup` has made."""
    # Until `cache` counts by itself.
    app.state.services.redis.call = _errors(app.state.services.redis.call)
    app.state.services.cache.get = _reads(app.state.services.cache.get)
    app.state.services.throttle.hit = _excess(app.state.services.throttle.hit)


def _errors(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def counted(command: Callable[[Pipeline], object]) -> Any:
        try:
            return await call(command)
        except UnavailableError:
            REDIS_ERRORS.inc()
            raise

    return counted


def _reads(get: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def counted(
        namespace: str, key: str, load: Callable[[], Awaitable[Any]], kind: object
    ) -> Any:
        outcome = "hit"

        async def load_counted() -> Any:
            nonlocal outcome
            outcome = "miss"
            return await load()

        try:
            return await get(namespace, key, load_counted, kind)
        finally:
            CACHE_READS.labels(outcome).inc()

    return counted


def _excess(
    hit: Callable[[str, Limit], Awaitable[Allowance]],
) -> Callable[[str, Limit], Awaitable[Allowance]]:
    async def counted(key: str, limit: Limit) -> Allowance:
        allowance = await hit(key, limit)
        if allowance.wait > 0:
            RATE_LIMITED.labels(key.split(":")[1]).inc()
        return allowance

    return counted
