"""The cache, Redis behind it, and the requests that its limits refuse."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from prometheus_client import Counter

from ..cache.client import Pipeline, UnavailableError
from ..cache.limits import Allowance
from ..throttle import Limit
from .wrap import wrap

READS = Counter("cache_reads", "Values read through the cache, by outcome.", ["outcome"])
ERRORS = Counter("redis_errors", "Commands that Redis did not answer, or was not asked for.")
LIMITED = Counter("rate_limited_requests", "Requests beyond a rate limit, by policy.", ["policy"])


def observe(app: FastAPI) -> None:
    """Measure what `cache.setup` has made."""
    for outcome in ("hit", "miss"):
        READS.labels(outcome)
    LIMITED.labels("default")
    wrap(app.state.redis, "call", _errors)
    wrap(app.state.cache, "get", _reads)
    wrap(app.state.throttle, "hit", _excess)


def _errors(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def counted(command: Callable[[Pipeline], object]) -> Any:
        try:
            return await call(command)
        except UnavailableError:
            ERRORS.inc()
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
            READS.labels(outcome).inc()

    return counted


def _excess(
    hit: Callable[[str, Limit], Awaitable[Allowance]],
) -> Callable[[str, Limit], Awaitable[Allowance]]:
    async def counted(key: str, limit: Limit) -> Allowance:
        allowance = await hit(key, limit)
        if allowance.wait > 0:
            LIMITED.labels(key.split(":")[1]).inc()
        return allowance

    return counted
