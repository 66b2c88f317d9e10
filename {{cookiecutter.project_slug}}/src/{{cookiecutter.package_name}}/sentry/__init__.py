"""Reports of unexpected errors to Sentry: every exception that is logged as an error.

Expected errors (4xx, 503) are not logged as errors, so they are not reported.
A job is reported when it has failed for good, not at each attempt.
The SDK is not initialized unless SENTRY_DSN is set.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware

from ..settings import Settings
from ..state import get_state

FLUSH_SECONDS: Final = 3  # before the process stops, for reports that have not been sent


def middleware(settings: Settings) -> list[Middleware]:
    """Return the middleware that relates reports to requests; none without SENTRY_DSN."""
    if settings.sentry_dsn is None:
        return []
    from .reports import RequestMiddleware

    return [Middleware(RequestMiddleware)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Report errors while the application runs."""
    settings = get_state(app).settings
    if settings.sentry_dsn is None:
        yield
        return
    import sentry_sdk

    from .reports import ErrorHandler, init

    init(settings, settings.sentry_dsn)
    handler = ErrorHandler(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        await asyncio.to_thread(sentry_sdk.get_client().close, FLUSH_SECONDS)
