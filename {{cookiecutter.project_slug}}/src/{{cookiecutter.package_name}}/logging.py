"""Structured logs: JSON lines with Elastic Common Schema fields on stdout (12-factor, "Logs").

Lines of structlog and of the standard library have the same format. Values that are not fields of
the schema are put under `labels`.

Exceptions are logged with type, code and traceback, but without their text, in which drivers and
libraries quote user input. Log a caught exception with `error=error`, never with its text.
"""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import structlog
from asgi_correlation_id import correlation_id
from structlog.typing import EventDict, Processor, WrappedLogger

from . import __version__
from .settings import Settings
from .token_format import redact_tokens
{%- if cookiecutter.use_opentelemetry %}
from .tracing.context import add_trace
{%- endif %}

ECS_VERSION: Final = "9.2.0"
FIELDS: Final[Mapping[str, str]] = {
    "timestamp": "@timestamp",
    "level": "log.level",
    "logger": "log.logger",
    "event": "message",
    "request_id": "http.request.id",
{%- if cookiecutter.use_opentelemetry %}
    "trace_id": "trace.id",
    "span_id": "span.id",
{%- endif %}
    "method": "http.request.method",
    "status": "http.response.status_code",
    "path": "url.path",
    "duration": "event.duration",
    "address": "client.ip",
    "user_agent": "user_agent.original",
    "user_id": "user.id",
    "error_type": "error.type",
    "error_code": "error.code",
    "error_message": "error.message",
    "exception": "error.stack_trace",
}


def configure_logging(settings: Settings) -> None:
    """Write all log lines of the process to stdout, in the format of LOG_FORMAT."""
    _prepare_stdout(settings)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
{%- if cookiecutter.use_opentelemetry %}
        add_trace,
{%- endif %}
    ]
    final: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _ErrorFields(with_text=settings.debug or settings.environment == "local"),
    ]
    if _is_for_people(settings):
        final += [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        final += [_EcsFields(settings), structlog.processors.JSONRenderer(ensure_ascii=False)]
    final += [_redact]

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final)
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # http.AccessLogMiddleware logs the requests.
    logging.getLogger("uvicorn.access").disabled = True
    # The library logs each invalid request id, and with it text of the client.
    logging.getLogger("asgi_correlation_id").setLevel("ERROR")
    logging.getLogger("alembic.runtime.plugins").setLevel("WARNING")
    logging.getLogger("sqlalchemy.engine").setLevel("INFO" if settings.debug else "WARNING")
{%- if cookiecutter.database == "sqlite" %}
    # It logs the parameters of statements.
    logging.getLogger("aiosqlite").setLevel("WARNING")
{%- endif %}


def _prepare_stdout(settings: Settings) -> None:
    # Logging a character that the encoding lacks must not raise.
    if sys.stdout is None:  # closed when the process started
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        # JSON must be UTF-8 (RFC 8259 section 8.1).
        encoding = None if _is_for_people(settings) else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def _is_for_people(settings: Settings) -> bool:
    return settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stdout.isatty()
    )


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if request_id := correlation_id.get():
        event["request_id"] = request_id
    return event


def _redact(_: WrappedLogger, __: str, line: Any) -> str:
    # A client may send a token where no secret belongs, such as in a path.
    return redact_tokens(line)


def error_of(exc_info: object) -> BaseException | None:
    """Return the exception of a log line, from any value that loggers accept as `exc_info`."""
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def error_code(error: BaseException) -> str | None:
    """Return the code of an error, such as ECONNREFUSED, or None if there is none."""
    cause: Any = getattr(error, "orig", None) or error  # SQLAlchemy wraps the driver's error
{%- if cookiecutter.database == "postgresql" %}
    code = getattr(cause, "sqlstate", None)
{%- else %}
    code = getattr(cause, "sqlite_errorname", None)
{%- endif %}
    if code is None and isinstance(cause, OSError):
        code = errno.errorcode.get(cause.errno or 0)
    if code is None and isinstance(getattr(cause, "code", None), int):
        code = cause.code  # SMTP
    if code is None and cause is not error:
        code = type(cause).__name__
    return None if code is None else str(code)


{% if cookiecutter.database == "postgresql" -%}
def _constraint(error: BaseException) -> str | None:
    driver_error = getattr(getattr(error, "orig", None), "__cause__", None)
    name: str | None = getattr(driver_error, "constraint_name", None)
    return name


{% endif -%}
def _traceback_of(error: BaseException) -> str:
    """Format a traceback as Python does, without the text of the exceptions."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_traceback_of(cause)}\n" if cause is not None else ""
    group = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    inside = "".join(f"\n{_traceback_of(member)}" for member in group)
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}{frames}{type(error).__qualname__}{inside}"


class _ErrorFields:
    """Describe the exception of a line: `exc_info`, or `error` for a line without a traceback.

    Args:
        with_text: log the text of exceptions, too; for development only.
    """

    def __init__(self, *, with_text: bool) -> None:
        self.with_text = with_text

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        raised = error_of(event.pop("exc_info", None))
        error = raised or event.pop("error", None)
        if error is None:
            return event
        event["error_type"] = type(error).__qualname__
        if code := error_code(error):
            event["error_code"] = code
{%- if cookiecutter.database == "postgresql" %}
        if constraint := _constraint(error):
            event["constraint"] = constraint
{%- endif %}
        if self.with_text:
            event["error_message"] = str(error)
        else:
            # asyncio and other libraries repeat the exception in the message.
            message = str(event["event"])
            if text := str(error):
                message = message.replace(text, type(error).__qualname__)
            event["event"] = message.partition("\n")[0]
        if raised is not None:
            trace = "".join(traceback.format_exception(raised))
            event["exception"] = trace if self.with_text else _traceback_of(raised)
        return event


class _EcsFields:
    def __init__(self, settings: Settings) -> None:
        self.constant = {
            "ecs.version": ECS_VERSION,
            "service.name": "{{ cookiecutter.project_slug }}",
            "service.version": __version__,
            "service.environment": settings.environment,
        }

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        fields: dict[str, Any] = {}
        labels: dict[str, Any] = {}
        for key, value in event.items():
            if value is None:
                continue
            if key in FIELDS:
                fields[FIELDS[key]] = value
            else:
                labels[key] = value
        fields.update(self.constant)
        if labels:
            fields["labels"] = labels
        return fields
