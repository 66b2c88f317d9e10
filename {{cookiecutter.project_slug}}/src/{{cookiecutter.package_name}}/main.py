"""The application: the one place where everything is wired."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from . import (
    __version__,
{%- if cookiecutter.use_admin %}
    admin,
{%- endif %}
    api,
    auth,
{%- if cookiecutter.use_redis %}
    cache,
{%- endif %}
    docs,
{%- if cookiecutter.use_sentry %}
    errortracking,
{%- endif %}
    health,
    http,
{%- if cookiecutter.use_prometheus %}
    metrics,
{%- endif %}
{%- if cookiecutter.use_opentelemetry %}
    tracing,
{%- endif %}
{%- if cookiecutter.use_worker %}
    worker,
{%- endif %}
)
{%- if cookiecutter.use_redis %}
from .auth.dependencies import proven_caller
{%- endif %}
from .database import Database
from .logging import configure_logging
from .settings import Settings, load_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service; nothing is connected before it starts.

    Args:
        settings: the configuration; read from the environment when left out.

    Raises:
        SystemExit: the environment is not usable.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    app = FastAPI(
        title="{{ cookiecutter.project_name }}",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=docs.operation_id,
{%- if cookiecutter.use_opentelemetry %}
        telemetry=tracing.TELEMETRY,
{%- endif %}
    )
    app.state.settings = settings
    app.state.database = Database(settings)
{%- if cookiecutter.use_redis %}
    cache.setup(app, settings, caller=proven_caller)
{%- endif %}
    http.setup(app, settings)
{%- if cookiecutter.use_sentry %}
    errortracking.setup(app, settings)
{%- endif %}
    auth.setup(app, settings)
    app.include_router(health.router)
    api.setup(app)
    docs.setup(app, settings)
{%- if cookiecutter.use_worker %}
    worker.setup(app, settings)
{%- endif %}
{%- if cookiecutter.use_admin %}
    admin.setup(app, settings)
{%- endif %}
{%- if cookiecutter.use_prometheus %}
    metrics.setup(app, settings)
{%- endif %}
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold what the process needs open, and close it when the server stops."""
    async with {% if cookiecutter.use_opentelemetry %}tracing.on(app), {% endif %}{% if cookiecutter.use_sentry %}errortracking.on(app), {% endif %}app.state.database{% if cookiecutter.use_redis %}, app.state.redis{% endif %}:
        yield
