"""Redis: a cache, rate limits that all replicas share, and access tokens revoked at once.

The service works without it. A Redis that is slow or gone is passed over, and asked again later.
"""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from ..settings import Settings
from ..throttle import Limit, MemoryThrottle
from .client import Redis
from .denylist import Denylist
from .limits import RateLimitMiddleware, SharedThrottle
from .store import Cache


def setup(
    app: FastAPI, settings: Settings, *, caller: Callable[[HTTPConnection], str | None]
) -> None:
    """Make the cache, the denylist and the rate limits; innermost of all middleware.

    Args:
        caller: names who makes a request, when that is proven without asking the database.
    """
    redis = Redis(settings)
    app.state.redis = redis
    app.state.cache = Cache(redis, ttl=settings.cache_ttl)
    app.state.denylist = Denylist(redis, token_ttl=settings.access_token_ttl)
    app.state.throttle = SharedThrottle(redis, fallback=MemoryThrottle())
    # What services reach through their session, to tell it what a commit has changed.
    app.state.database.info.update(cache=app.state.cache, denylist=app.state.denylist)
    app.state.caller = caller
    limit = Limit(settings.rate_limit, settings.rate_limit_window)
    app.add_middleware(RateLimitMiddleware, limit=limit)
