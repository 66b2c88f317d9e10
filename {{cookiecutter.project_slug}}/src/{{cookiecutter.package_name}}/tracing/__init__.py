"""OpenTelemetry spans of requests, statements{% if cookiecutter.use_worker and cookiecutter.use_redis %}, Redis commands and jobs{% elif cookiecutter.use_redis %} and Redis commands{% elif cookiecutter.use_worker %} and jobs{% endif %}, sent to a collector.

FastAPI creates the spans of requests, and OpenTelemetry's instrumentation the spans below them.
Without OTEL_EXPORTER_OTLP_ENDPOINT, no spans are recorded and no thread is started. The SDK reads
the other OTEL_* variables, such as OTEL_TRACES_SAMPLER, from the environment.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from .. import __version__
from ..settings import Settings
from .context import TraceIdsMiddleware as TraceIdsMiddleware

FLUSH_SECONDS: Final = 3  # before the process stops, for spans that have not been sent

TELEMETRY: Final[TelemetryConfig] = {
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: (
        scope["path"].removeprefix(scope.get("root_path", "")).startswith("/health/")
    ),
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Export spans in the background while the application runs."""
    settings: Settings = app.state.services.settings
    if settings.otel_sdk_disabled or settings.otel_exporter_otlp_endpoint is None:
        yield
        return
    from opentelemetry import trace
{%- if cookiecutter.use_redis %}
    from opentelemetry.instrumentation.redis import RedisInstrumentor
{%- endif %}
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from .exporter import RedactingExporter, log_outage_once

    # The stable names of attributes, as FastAPI has them.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "database,http")
    defaults = Resource.create(
        {
            "service.name": "{{ cookiecutter.project_slug }}",
            "service.version": __version__,
            "deployment.environment.name": settings.environment,
        }
    )
    exporter = RedactingExporter(f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces")
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence over the defaults.
    provider = TracerProvider(
        resource=defaults.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    database = app.state.services.database
    engines = [engine.sync_engine for engine in database.engines.values()]
    # The instrumentation works with SQLAlchemy 2.1, but does not declare it yet.
    SQLAlchemyInstrumentor().instrument(engines=engines, skip_dep_check=True)
{%- if cookiecutter.use_redis %}
    RedisInstrumentor().instrument()
{%- endif %}
    with log_outage_once(exporter):
        try:
            yield
        finally:
            SQLAlchemyInstrumentor().uninstrument()
{%- if cookiecutter.use_redis %}
            RedisInstrumentor().uninstrument()
{%- endif %}
            # Shutting down the exporter cancels its retries, so that an unreachable collector does
            # not delay the exit.
            give_up = asyncio.get_running_loop().call_later(FLUSH_SECONDS, exporter.shutdown)
            await asyncio.to_thread(provider.shutdown)
            give_up.cancel()
