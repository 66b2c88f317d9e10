"""Rate limits that all replicas share: a sliding window, counted in Redis."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Problem, problem_response
from ..throttle import Limit, Throttle, address_key
from .client import PREFIX, Redis, UnavailableError

TOO_MANY = "Too many requests; try again later."


@dataclass(frozen=True)
class Allowance:
    """What a client may still do.

    Attributes:
        remaining: requests left; None when they are counted in this process only.
        wait: seconds until the next one is allowed; 0 when this one was.
        reset: seconds until there are more.
    """

    limit: Limit
    remaining: int | None
    wait: float
    reset: float

    def headers(self, policy: str) -> dict[str, str]:
        """RateLimit header fields (draft-ietf-httpapi-ratelimit-headers-10) and Retry-After."""
        headers = {"RateLimit-Policy": f'"{policy}";q={self.limit.amount};w={self.limit.window}'}
        if self.remaining is not None:
            reset = math.ceil(self.reset)
            headers["RateLimit"] = f'"{policy}";r={self.remaining};t={reset}'
        if self.wait > 0:
            headers["Retry-After"] = str(math.ceil(self.wait))
        return headers


class SharedThrottle:
    """A throttle for all replicas; see `throttle.Throttle`.

    Args:
        fallback: counts while Redis is away.
    """

    def __init__(self, redis: Redis, *, fallback: Throttle) -> None:
        self._redis = redis
        self._fallback = fallback
        options: dict[str, Any] = {"connection_pool": redis.client.connection_pool}
        storage = RedisStorage(
            "redis://", implementation="redispy", key_prefix=f"{PREFIX}:limits", **options
        )
        self._counting = SlidingWindowCounterRateLimiter(storage)
        self._exact = MovingWindowRateLimiter(storage)

    async def hit(self, key: str, limit: Limit) -> Allowance:
        """Count a request unless the limit is reached, in two counters for each key.

        Requests of the window before count in proportion to its part in the sliding one.
        """
        item = RateLimitItemPerSecond(*limit)
        try:
            allowed = await self._redis.call(lambda _: self._counting.hit(item, key))
            stats = await self._redis.call(lambda _: self._counting.get_window_stats(item, key))
        except UnavailableError:
            wait = await self._fallback.attempt(key, limit)
            return Allowance(limit, None, wait, wait)
        reset = stats.reset_time - time.time()
        if reset <= 0:  # the window has just begun
            reset = limit.window
        return Allowance(limit, stats.remaining, 0 if allowed else reset, reset)

    async def attempt(self, key: str, limit: Limit) -> float:
        """See `Throttle.attempt`; each attempt is kept with its time."""
        item = RateLimitItemPerSecond(*limit)
        try:
            if await self._redis.call(lambda _: self._exact.hit(item, key)):
                return 0
            stats = await self._redis.call(lambda _: self._exact.get_window_stats(item, key))
        except UnavailableError:
            return await self._fallback.attempt(key, limit)
        wait: float = max(stats.reset_time - time.time(), 1)
        return wait

    async def forget(self, key: str, limit: Limit) -> None:
        """See `Throttle.forget`."""
        item = RateLimitItemPerSecond(*limit)
        with suppress(UnavailableError):
            await self._redis.call(lambda _: self._exact.clear(item, key))
        await self._fallback.forget(key, limit)


class RateLimitMiddleware:
    """The limit of all requests below /api/: of a user, or else of a client address."""

    def __init__(self, app: ASGIApp, limit: Limit) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self.app(scope, receive, send)
            return
        allowance = await _hit(HTTPConnection(scope), "default", self.limit)
        headers = allowance.headers("default")
        if allowance.wait > 0:
            await problem_response(429, TOO_MANY, headers=headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                for name, value in headers.items():
                    MutableHeaders(scope=message).append(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class RateLimit:
    """A dependency: a limit of a route or router, besides the limit of all requests.

    Args:
        policy: names the limit in its header fields; routes of the same policy count together.

    Raises:
        Problem: 429 with Retry-After, the limit is reached.
    """

    def __init__(self, policy: str, limit: Limit) -> None:
        self.policy = policy
        self.limit = limit

    async def __call__(self, request: Request, response: Response) -> None:
        allowance = await _hit(request, self.policy, self.limit)
        headers = allowance.headers(self.policy)
        if allowance.wait > 0:
            raise Problem(429, TOO_MANY, headers=headers)
        for name, value in headers.items():
            response.headers.append(name, value)


async def _hit(connection: HTTPConnection, policy: str, limit: Limit) -> Allowance:
    state = connection.app.state
    address = connection.client.host if connection.client else None
    caller: str = state.caller(connection) or address_key(address)
    throttle: SharedThrottle = state.throttle
    return await throttle.hit(f"rate:{policy}:{caller}", limit)
