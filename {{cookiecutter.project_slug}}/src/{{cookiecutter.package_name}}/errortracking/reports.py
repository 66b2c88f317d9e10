"""What a report says: which error, where in the code, in which request; never what was in it.

A report is made of a few known fields instead of being cleaned of secrets, which nobody can list.
Messages of exceptions quote what they fell over, so they are left out; the log line, which the
request id finds, has the code of the error.
"""

import logging
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final

import sentry_sdk
import structlog
from asgi_correlation_id import correlation_id
from sentry_sdk.integrations.dedupe import DedupeIntegration
{%- if not cookiecutter.use_opentelemetry %}
from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration
from starlette.datastructures import Headers
{%- endif %}
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import __version__
from ..http import route_template
from ..logging import error_of
from ..settings import Settings
{%- if cookiecutter.use_opentelemetry %}
from ..tracing.context import add_trace
{%- endif %}

Event = dict[str, Any]

EVENT: Final = (
    "contexts",
    "environment",
    "event_id",
    "exception",
    "level",
    "platform",
    "release",
    "sdk",
    "server_name",
    "timestamp",
{%- if not cookiecutter.use_opentelemetry %}
    "spans",
    "start_timestamp",
    "transaction_info",
    "type",
{%- endif %}
)
EXCEPTION: Final = ("mechanism", "module", "stacktrace", "type")
{%- if not cookiecutter.use_opentelemetry %}
TRACE: Final = ("op", "parent_span_id", "span_id", "status", "trace_id")
SPAN: Final = (*TRACE, "description", "start_timestamp", "timestamp")
{%- endif %}
{%- if cookiecutter.use_worker %}
TAGS: Final = ("task", "job_id")
{%- endif %}

_request: ContextVar[Scope | None] = ContextVar("request", default=None)


def client_options(settings: Settings) -> dict[str, Any]:
    """How the SDK is set up: it collects nothing by itself."""
    assert settings.sentry_dsn is not None
    version = f"{{ cookiecutter.project_slug }}@{__version__}"
{%- if not cookiecutter.use_opentelemetry %}
    timed = settings.sentry_traces_sample_rate or None  # with 0 spans would be made, and not sent
    sources = [DedupeIntegration(), SqlalchemyIntegration()] if timed else [DedupeIntegration()]
{%- endif %}
    return {
        "dsn": settings.sentry_dsn.get_secret_value(),
        "environment": settings.sentry_environment or settings.environment,
        "release": settings.sentry_release or version,
        "sample_rate": settings.sentry_sample_rate,
        "before_send": _known,
        "default_integrations": False,
        "auto_enabling_integrations": False,
        "auto_session_tracking": False,
        "include_local_variables": False,
        "max_breadcrumbs": 0,
        "send_client_reports": False,
{%- if cookiecutter.use_opentelemetry %}
        "integrations": [DedupeIntegration()],
{%- else %}
        "integrations": sources,
        "traces_sample_rate": timed,
        "before_send_transaction": _known,
{%- endif %}
    }


class ReportHandler(logging.Handler):
    """Reports the exceptions of log lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Report the exception of a line, if it has one."""
        line = record.msg
        error = error_of(line.get("exc_info") if isinstance(line, dict) else record.exc_info)
        if error is not None:
            sentry_sdk.capture_exception(error)


class RequestMiddleware:
{%- if cookiecutter.use_opentelemetry %}
    """Remembers the request: the server logs an error when it has been left."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _request.set(scope)
        await self.app(scope, receive, send)
{%- else %}
    """Remembers the request, as the server logs an error when it has been left; and times it."""

    def __init__(self, app: ASGIApp, timed: bool) -> None:
        self.app = app
        self.timed = timed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _request.set(scope)
        if not self.timed or scope["type"] != "http" or scope["path"].startswith("/health/"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller = {name: headers.get(name, "") for name in ("sentry-trace", "baggage")}
        with sentry_sdk.isolation_scope():
            transaction = sentry_sdk.continue_trace(caller, op="http.server", source="route")
            with sentry_sdk.start_transaction(transaction):
                await self.app(scope, receive, send)
{%- endif %}


def _known(event: Event, _: object) -> Event:
    """Take what is known to be harmless, and say which request{% if cookiecutter.use_worker %} or job{% endif %} it was."""
    report = _part(event, EVENT)
    if "exception" in report:
        errors = report["exception"]["values"]
        known = [{**_part(error, EXCEPTION), "value": "see the log"} for error in errors]
        report["exception"] = {"values": known}
{%- if not cookiecutter.use_opentelemetry %}
    if "spans" in report:
        report["spans"] = [_part(span, SPAN) for span in report["spans"]]
{%- endif %}
    bound = structlog.contextvars.get_contextvars()
{%- if cookiecutter.use_worker %}
    report["tags"] = {"request_id": correlation_id.get(), **_part(bound, TAGS)}
{%- else %}
    report["tags"] = {"request_id": correlation_id.get()}
{%- endif %}
    if "user_id" in bound:
        report["user"] = {"id": bound["user_id"]}
    scope = _request.get()
    if scope is not None:
        report["transaction"] = f"{scope['method']} {route_template(scope)}"
{%- if cookiecutter.use_worker %}
    if "task" in bound:
        report["transaction"] = f"job {bound['task']}"
{%- endif %}
{%- if cookiecutter.use_opentelemetry %}
    ids: Event = {}
    add_trace(None, "", ids)
    report["contexts"] = {"trace": ids} if ids else {}
{%- else %}
    report["contexts"] = {"trace": _part(event["contexts"]["trace"], TRACE)}
{%- endif %}
    return report


def _part(whole: Event, names: Iterable[str]) -> Event:
    return {name: whole[name] for name in names if name in whole}
