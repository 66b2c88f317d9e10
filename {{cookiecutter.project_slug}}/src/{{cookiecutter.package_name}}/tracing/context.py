"""Which trace something belongs to: in log lines{% if cookiecutter.use_worker %}, and in jobs{% endif %} (W3C Trace Context)."""

from collections.abc import Iterator{% if cookiecutter.use_redis %}, Sequence{% endif %}
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import {% if cookiecutter.use_worker %}propagate, {% endif %}trace
{%- if cookiecutter.use_worker %}
from opentelemetry.context import Context
{%- endif %}
from opentelemetry.trace import SpanKind, StatusCode
from structlog.typing import EventDict, WrappedLogger

# The span by which the request{% if cookiecutter.use_worker %} or job{% endif %} came in, recorded or not. It stays when that span has ended:
# the server logs the traceback of an unexpected error after that.
entered: ContextVar[trace.SpanContext] = ContextVar("entered", default=trace.INVALID_SPAN_CONTEXT)


def add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Give a log line the ids of its trace and span."""
    span = _span()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
        event["span_id"] = trace.format_span_id(span.span_id)
    return event


def _span() -> trace.SpanContext:
    span = trace.get_current_span().get_span_context()
    return span if span.is_valid else entered.get()


@contextmanager
def recorded(
    name: str,
    kind: SpanKind,
    attributes: dict[str, Any],
{%- if cookiecutter.use_worker %}
    context: Context | None = None,
{%- endif %}
) -> Iterator[trace.Span]:
    """Make a span, which has failed when the block raises; the message is not in it."""
    with trace.get_tracer(__name__).start_as_current_span(
        name,
{%- if cookiecutter.use_worker %}
        context,
{%- endif %}
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise
{%- if cookiecutter.use_redis %}


@contextmanager
def commands_span(commands: Sequence[tuple[Sequence[Any], object]]) -> Iterator[None]:
    """Make a span of what Redis is asked, without keys and values, if what asks has one.

    Args:
        commands: as a pipeline keeps them.
    """
    if not trace.get_current_span().is_recording():
        yield
        return
    operation = commands[0][0][0] if len(commands) == 1 else "PIPELINE"
    attributes = {"db.system.name": "redis", "db.operation.name": operation}
    with recorded(operation, SpanKind.CLIENT, attributes):
        yield
{%- endif %}
{%- if cookiecutter.use_worker %}


def traceparent() -> str | None:
    """The traceparent header of what is asked for now; None outside of any trace."""
    headers: dict[str, str] = {}
    propagate.inject(headers, trace.set_span_in_context(trace.NonRecordingSpan(_span())))
    return headers.get("traceparent")


@contextmanager
def job_span(task: str, attempt: int, asked_by: str | None) -> Iterator[None]:
    """Make a span of an attempt to do a job, in the trace of the request that asked for it.

    Args:
        asked_by: the traceparent of that request.
    """
    attributes = {"job.task": task, "job.attempt": attempt}
    context = propagate.extract({"traceparent": asked_by} if asked_by else {})
    with recorded(f"job {task}", SpanKind.CONSUMER, attributes, context) as span:
        entered.set(span.get_span_context())
        yield
{%- endif %}
