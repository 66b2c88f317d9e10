"""Rate limits that all replicas share: a sliding window, counted in Redis."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Problem, problem_response
from ..throttle import Limit, Throttle, address_key
from .client import PREFIX, Redis, UnavailableError

TOO_MANY: Final = "Too many requests; try again later."
# Each is one round trip, by the clock of Redis. KEYS: the counter. ARGV: amount, window in seconds.
# Returns whether the request is allowed, how many were in this window and in the one before, and
# the seconds that this one has lasted.
HIT: Final = """
local amount, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'since', 'count', 'before')
local since, count, before = tonumber(kept[1]), tonumber(kept[2]), tonumber(kept[3])
if not since or now >= since + 2 * window then
    since, count, before = now, 0, 0
elseif now >= since + window then
    since, count, before = since + window, 0, count
end
local passed = now - since
local allowed = count + math.floor(before * (1 - passed / window)) < amount
if allowed then
    count = count + 1
    redis.call('HSET', KEYS[1], 'since', since, 'count', count, 'before', before)
    redis.call('EXPIRE', KEYS[1], 2 * window)
end
return {allowed and 1 or 0, count, before, tostring(passed)}
"""
# Returns the seconds until the attempt would be allowed; 0 when it is.
ATTEMPT: Final = """
local amount, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local oldest = redis.call('LINDEX', KEYS[1], amount - 1)
if oldest and now < oldest + window then
    return tostring(oldest + window - now)
end
redis.call('LPUSH', KEYS[1], now)
redis.call('LTRIM', KEYS[1], 0, amount - 1)
redis.call('EXPIRE', KEYS[1], window)
return '0'
"""


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

    async def hit(self, key: str, limit: Limit) -> Allowance:
        """Count a request unless the limit is reached, in two counters for each key.

        Requests of the window before count in proportion to its part in the sliding one.
        """
        try:
            [(allowed, count, before, passed)] = await self._redis.call(
                lambda pipeline: pipeline.eval(HIT, 1, f"{PREFIX}:{key}", *limit)
            )
        except UnavailableError:
            wait = await self._fallback.attempt(key, limit)
            return Allowance(limit, None, wait, wait)
        left = limit.window - float(passed)
        if allowed:
            remaining = limit.amount - count - int(before * left / limit.window)
            return Allowance(limit, max(remaining, 0), 0, left)
        # Until so much of the window before has passed, or all of this one.
        wait = left - (limit.amount - count) * limit.window / before if before else left
        return Allowance(limit, 0, wait, wait)

    async def attempt(self, key: str, limit: Limit) -> float:
        """See `Throttle.attempt`; each attempt is kept with its time."""
        try:
            [wait] = await self._redis.call(
                lambda pipeline: pipeline.eval(ATTEMPT, 1, f"{PREFIX}:{key}", *limit)
            )
            return float(wait)
        except UnavailableError:
            return await self._fallback.attempt(key, limit)

    async def reset(self, key: str, limit: Limit) -> None:
        """See `Throttle.reset`."""
        with suppress(UnavailableError):
            await self._redis.call(lambda pipeline: pipeline.delete(f"{PREFIX}:{key}"))
        await self._fallback.reset(key, limit)


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
    throttle: SharedThrottle = state.services.throttle
    return await throttle.hit(f"rate:{policy}:{caller}", limit)
