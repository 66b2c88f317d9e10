"""Which trace something belongs to: in log lines{% if cookiecutter.use_worker %}, and in jobs{% endif %} (W3C Trace Context)."""

{% if cookiecutter.use_worker -%}
from collections.abc import Iterator
from contextlib import contextmanager
{% endif -%}
from contextvars import ContextVar

from opentelemetry import {% if cookiecutter.use_worker %}propagate, {% endif %}trace
{%- if cookiecutter.use_worker %}
from opentelemetry.trace import SpanKind, StatusCode
{%- endif %}
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
    with trace.get_tracer(__name__).start_as_current_span(
        f"job {task}",
        propagate.extract({"traceparent": asked_by} if asked_by else {}),
        SpanKind.CONSUMER,
        {"job.task": task, "job.attempt": attempt},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        entered.set(span.get_span_context())
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise
{%- endif %}
