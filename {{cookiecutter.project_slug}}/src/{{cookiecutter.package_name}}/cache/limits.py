"""Limits that all replicas share: a moving window, counted in Redis."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from ..throttle import Limit, Throttle
from .client import KEY_PREFIX, RedisClient, RedisUnavailableError


@dataclass(frozen=True)
class Allowance:
    """Whether a request is allowed.

    Attributes:
        remaining: requests left; None when only this process has counted.
        wait: seconds until the next request is allowed; 0 when this one is.
        reset: seconds until the oldest request no longer counts.
    """

    limit: Limit
    remaining: int | None
    wait: float
    reset: float

    def headers(self, policy: str) -> dict[str, str]:
        """Return RateLimit header fields (draft-ietf-httpapi-ratelimit-headers-10), Retry-After."""
        headers = {"RateLimit-Policy": f'"{policy}";q={self.limit.amount};w={self.limit.window}'}
        if self.remaining is not None:
            reset = math.ceil(self.reset)
            headers["RateLimit"] = f'"{policy}";r={self.remaining};t={reset}'
        if self.wait > 0:
            headers["Retry-After"] = str(math.ceil(self.wait))
        return headers


class RedisThrottle(Throttle):
    """Count the attempts of all replicas.

    The process also counts by itself: requests during an outage of Redis, and login attempts at
    all times, so that an outage does not reset the login limits.
    """

    def __init__(self, redis: RedisClient) -> None:
        super().__init__()
        self._redis = redis
        options: dict[str, Any] = {"connection_pool": redis.client.connection_pool}
        # The URL is not used: the pool has the connections.
        storage = RedisStorage(
            "redis://", implementation="redispy", key_prefix=KEY_PREFIX, **options
        )
        self._limiter = MovingWindowRateLimiter(storage)

    async def hit(self, key: str, limit: Limit) -> Allowance:
        """Count a request unless the limit is reached."""
        try:
            return await self._hit(key, limit)
        except RedisUnavailableError:
            wait = await super().attempt(key, limit)
            return Allowance(limit, None, wait, wait)

    async def attempt(self, key: str, limit: Limit) -> float:
        """See `Throttle.attempt`."""
        wait = await super().attempt(key, limit)
        with suppress(RedisUnavailableError):
            wait = (await self._hit(key, limit)).wait
        return wait

    async def reset(self, key: str, limit: Limit) -> None:
        """See `Throttle.reset`."""
        await super().reset(key, limit)
        with suppress(RedisUnavailableError):
            async with self._redis.available():
                await self._limiter.clear(_item(limit), key)

    async def _hit(self, key: str, limit: Limit) -> Allowance:
        async with self._redis.available():
            is_allowed = await self._limiter.hit(_item(limit), key)
            stats = await self._limiter.get_window_stats(_item(limit), key)
        reset = max(stats.reset_time - time.time(), 0)
        return Allowance(limit, stats.remaining, 0 if is_allowed else reset, reset)


def _item(limit: Limit) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(limit.amount, limit.window)
