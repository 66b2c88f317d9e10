"""Traces: OpenTelemetry spans of requests, statements{% if cookiecutter.use_worker %}, commands and jobs{% elif cookiecutter.use_redis %} and commands{% endif %}, sent to a collector.

Nothing is imported and no thread runs as long as OTEL_EXPORTER_OTLP_ENDPOINT is not set.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from .. import __version__
from ..settings import Settings

FLUSH_SECONDS: Final = 3  # that a collector which does not answer may delay the end of the process
EXPORTER_LOG: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def _is_left_out(scope: MutableMapping[str, Any]) -> bool:
    path: str = scope.get("path", "")
    if path.startswith("/health/"):
        return True
    sampler = getattr(scope["app"].state, "sampler", None)
    return sampler is not None and sampler.leaves_out(scope)


# FastAPI makes the span of a request when there is a provider, and it is not left out.
TELEMETRY: Final[TelemetryConfig] = {
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": _is_left_out,
}


@asynccontextmanager
async def on(app: FastAPI) -> AsyncIterator[None]:
    """Make spans until the block ends, and send them in the background."""
    settings: Settings = app.state.services.settings
    if settings.otel_sdk_disabled or settings.otel_exporter_otlp_endpoint is None:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from .spans import Entry, Exporter, Sampling, statement_spans

    headers = settings.otel_exporter_otlp_headers
    exporter = Exporter(
        endpoint=f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces",
        headers=_pairs(headers.get_secret_value()) if headers else None,
    )
    attributes = {
        "service.version": __version__,
        "deployment.environment.name": settings.environment,
        **_pairs(settings.otel_resource_attributes),
        "service.name": settings.otel_service_name,
    }
    app.state.sampler = Sampling(settings.otel_traces_sampler, settings.otel_traces_sampler_arg)
    provider = TracerProvider(
        sampler=app.state.sampler,
        resource=Resource.create(attributes),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(Entry())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    logging.getLogger(EXPORTER_LOG).addFilter(exporter.is_news)
    try:
        database = app.state.services.database
        with (
            statement_spans(database.read_engine.dialect),
            statement_spans(database.write_engine.dialect),
        ):
            yield
    finally:
        give_up = asyncio.get_running_loop().call_later(FLUSH_SECONDS, exporter.shutdown)
        await asyncio.to_thread(provider.shutdown)
        give_up.cancel()
        logging.getLogger(EXPORTER_LOG).removeFilter(exporter.is_news)


def _pairs(text: str) -> dict[str, str]:
    """Read `key=value,key=value` with percent-encoded values, as OTEL_* variables have it."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {key.strip(): unquote(value.strip()) for key, _, value in pairs}
