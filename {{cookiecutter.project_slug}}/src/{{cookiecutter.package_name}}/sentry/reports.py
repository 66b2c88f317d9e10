"""The content of a report: the error, its place in the code, and the request or job it belongs to.

The SDK filters many secrets, but not those in messages of exceptions, query strings, paths and most
headers. So a report keeps only fields without user input; the log line with the same request id has
the code of the error.
"""

import logging
from collections.abc import Container
from contextvars import ContextVar
from typing import Any, Final

import sentry_sdk
import structlog
from asgi_correlation_id import correlation_id
from pydantic import SecretStr
{%- if not cookiecutter.use_opentelemetry %}
from sentry_sdk.integrations import Integration
{%- endif %}
from sentry_sdk.integrations.dedupe import DedupeIntegration
{%- if not cookiecutter.use_opentelemetry %}
from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration
{%- endif %}
from sentry_sdk.scrubber import EventScrubber
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import __version__
from ..http import route_template
from ..logging import error_of
from ..settings import Settings

EVENT: Final = (
    *("environment", "event_id", "exception", "level", "platform", "release", "sdk"),
    *("server_name", "timestamp"),
{%- if not cookiecutter.use_opentelemetry %}
    *("spans", "start_timestamp", "transaction_info", "type"),
{%- endif %}
)
EXCEPTION: Final = ("mechanism", "module", "stacktrace", "type")
{%- if cookiecutter.use_opentelemetry %}
TRACE: Final = ("span_id", "trace_id")
{%- else %}
TRACE: Final = ("op", "parent_span_id", "span_id", "status", "trace_id")
SPAN: Final = (*TRACE, "description", "start_timestamp", "timestamp")
{%- endif %}
JOB: Final = ("job_id", "task")

_request: ContextVar[Scope | None] = ContextVar("request", default=None)


def init(settings: Settings, dsn: SecretStr) -> None:
    """Initialize the SDK."""
{%- if not cookiecutter.use_opentelemetry %}
    integrations: list[Integration] = [DedupeIntegration()]
    rate = settings.sentry_traces_sample_rate or None  # with 0 spans would be created and dropped
    if rate:
        integrations += [
            StarletteIntegration(failed_request_status_codes=set()),  # a 503 is an expected error
            SqlalchemyIntegration(),
        ]
{%- endif %}
    release = f"{{ cookiecutter.project_slug }}@{__version__}"
    sentry_sdk.init(
        dsn=dsn.get_secret_value(),
        environment=settings.sentry_environment or settings.environment,
        release=settings.sentry_release or release,
        sample_rate=settings.sentry_sample_rate,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        event_scrubber=EventScrubber(recursive=True),
        before_send=_redact,
        # `ErrorHandler` reports what the server logs. The integration of logging does not find
        # exceptions in structlog's lines, and those of Starlette and FastAPI slow requests down.
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        send_client_reports=False,
{%- if cookiecutter.use_opentelemetry %}
        integrations=[DedupeIntegration()],
{%- else %}
        integrations=integrations,
        traces_sample_rate=rate,
        before_send_transaction=_redact,
{%- endif %}
    )


class ErrorHandler(logging.Handler):
    """Report the exceptions of log lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Report the exception of a line, if it has one."""
        line = record.msg
        error = error_of(line.get("exc_info") if isinstance(line, dict) else record.exc_info)
        if error is not None:
            sentry_sdk.capture_exception(error)


class RequestMiddleware:
    """Remember the request for reports; its route is known only later."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _request.set(scope)
        await self.app(scope, receive, send)


def _redact(event: Any, _: object) -> Any:
    """Remove fields that may contain user input, and add the ids that locate the log lines."""
    request = _request.get()
{%- if not cookiecutter.use_opentelemetry %}
    if "spans" in event and request is not None and request["path"].startswith("/health/"):
        return None
{%- endif %}
    report = _pick(event, EVENT)
    if "exception" in report:
        errors = [_pick(error, EXCEPTION) for error in report["exception"]["values"]]
        report["exception"] = {"values": [{**error, "value": "see the log"} for error in errors]}
    bound = structlog.contextvars.get_contextvars()
    report["tags"] = {"request_id": correlation_id.get(), **_pick(bound, JOB)}
    if "user_id" in bound:
        report["user"] = {"id": bound["user_id"]}
    if request is not None:
        report["transaction"] = f"{request['method']} {route_template(request) or 'unknown route'}"
    if "task" in bound:
        report["transaction"] = f"job {bound['task']}"
{%- if cookiecutter.use_opentelemetry %}
    report["contexts"] = {"trace": _pick(bound, TRACE)}
{%- else %}
    report["contexts"] = {"trace": _pick(event["contexts"]["trace"], TRACE)}
    if "spans" in report:
        report["spans"] = [_pick(span, SPAN) for span in report["spans"]]
{%- endif %}
    return report


def _pick(values: Any, names: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
