"""Reports of unexpected errors: what is logged as an error, with an exception, goes to Sentry.

So what a client is told (4xx, 503) is not reported, and an unexpected error of a request is.
{%- if cookiecutter.use_worker %}
A job is reported when it has failed for good, not at each attempt.
{%- endif %}
Without SENTRY_DSN nothing is imported.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from ..settings import Settings

FLUSH_SECONDS: Final = 3  # that reports may delay the end of the process


def setup(app: FastAPI, settings: Settings) -> None:
    """Add what knows which request an error belongs to; outermost of all middleware."""
    if settings.sentry_dsn is not None:
        from .reports import RequestMiddleware

{% if cookiecutter.use_opentelemetry %}        app.add_middleware(RequestMiddleware)
{%- else %}        app.add_middleware(RequestMiddleware, timed=settings.sentry_traces_sample_rate > 0)
{%- endif %}


@asynccontextmanager
async def on(app: FastAPI) -> AsyncIterator[None]:
    """Report errors until the block ends, and send in the end what has not been sent."""
    settings: Settings = app.state.services.settings
    if settings.sentry_dsn is None:
        yield
        return
    import sentry_sdk

    from .reports import ReportHandler, client_options

    sentry_sdk.init(**client_options(settings))
    handler = ReportHandler(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        await asyncio.to_thread(sentry_sdk.get_client().close, FLUSH_SECONDS)
