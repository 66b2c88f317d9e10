"""The application: the one place where everything is wired."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from . import (
    TITLE,
    __version__,
{%- if cookiecutter.use_admin %}
    admin,
{%- endif %}
    api,
    docs,
    errors,
    health,
    http,
{%- if cookiecutter.use_prometheus %}
    metrics,
{%- endif %}
{%- if cookiecutter.use_sentry %}
    sentry,
{%- endif %}
{%- if cookiecutter.use_opentelemetry %}
    tracing,
{%- endif %}
)
from .auth import oauth
from .logging import configure_logging
from .preconditions import ConditionalGetMiddleware
{%- if cookiecutter.use_redis %}
from .rate_limits import RateLimitMiddleware
{%- endif %}
from .settings import Settings, load_settings
from .state import create_state, get_state
{%- if cookiecutter.use_redis %}
from .throttle import Limit
{%- endif %}

log = structlog.stdlib.get_logger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service. Nothing is connected before it starts.

    Args:
        settings: the configuration; read from the environment by default.

    Raises:
        SystemExit: the environment is not valid.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    app = FastAPI(
        title=TITLE,
        version=__version__,
        lifespan=lifespan,
        middleware=middleware(settings),
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=docs.operation_id,
{%- if cookiecutter.use_opentelemetry %}
        telemetry=tracing.TELEMETRY,
{%- endif %}
    )
    app.state.services = create_state(settings)
    errors.setup(app)
    oauth.setup(app)
    health.setup(app)
    api.setup(app)
    docs.setup(app, settings)
{%- if cookiecutter.use_admin %}
    admin.setup(app, settings)
{%- endif %}
{%- if cookiecutter.use_prometheus %}
    metrics.setup(app, settings)
{%- endif %}
    return app


def middleware(settings: Settings) -> list[Middleware]:
    """Return the middleware in the order in which a request passes through it."""
    return [
{%- if cookiecutter.use_prometheus %}
        Middleware(metrics.MetricsMiddleware),
{%- endif %}
{%- if cookiecutter.use_sentry %}
        *sentry.middleware(settings),
{%- endif %}
        Middleware(
            CorrelationIdMiddleware,
            update_request_header=False,
            validator=http.is_request_id,
            transformer=None,
        ),
        Middleware(http.DefaultHeadersMiddleware, https_only=settings.environment == "production"),
        Middleware(http.AccessLogMiddleware),
{%- if cookiecutter.use_opentelemetry %}
        Middleware(tracing.TraceIdsMiddleware),
{%- endif %}
        *http.cors(settings),
        Middleware(errors.ProblemMiddleware, debug=settings.debug),
        Middleware(http.HostMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False),
        Middleware(http.TextMiddleware),
        Middleware(RequestBodyLimitMiddleware, max_body_size=settings.max_body_size),
{%- if cookiecutter.use_redis %}
        Middleware(
            RateLimitMiddleware, limit=Limit(settings.rate_limit, settings.rate_limit_window)
        ),
{%- endif %}
        Middleware(ConditionalGetMiddleware),
    ]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what the process needs, and close it in reverse order when the server stops."""
    state = get_state(app)
    async with AsyncExitStack() as stack:
{%- if cookiecutter.use_opentelemetry %}
        await stack.enter_async_context(tracing.lifespan(app))
{%- endif %}
{%- if cookiecutter.use_sentry %}
        await stack.enter_async_context(sentry.lifespan(app))
{%- endif %}
        await stack.enter_async_context(state.database)
{%- if cookiecutter.use_redis %}
        await stack.enter_async_context(state.redis)
        await stack.enter_async_context(state.cache)
{%- endif %}
{%- if not cookiecutter.use_worker %}
        await stack.enter_async_context(state.background)
{%- endif %}
        if not state.mailer.is_available:
            log.warning("email is not sent", reason="SMTP_URL is not set")
        yield
