"""Redis: a cache, rate limits that all replicas share, and access tokens revoked at once.

The service works without it. A Redis that is slow or gone is passed over, and asked again later.
"""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from ..settings import Settings
from ..throttle import Limit
from .limits import RateLimitMiddleware


def setup(
    app: FastAPI, settings: Settings, *, caller: Callable[[HTTPConnection], str | None]
) -> None:
    """Add the rate limits.

    Args:
        caller: names who makes a request, when that is proven without asking the database.
    """
    # What services reach through their session, to tell it what a commit has changed.
    services = app.state.services
    services.database.info.update(cache=services.cache, denylist=services.denylist)
    app.state.caller = caller
    limit = Limit(settings.rate_limit, settings.rate_limit_window)
    app.add_middleware(RateLimitMiddleware, limit=limit)
