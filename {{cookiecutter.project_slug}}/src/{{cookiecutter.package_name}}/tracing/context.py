"""The trace of the current request{% if cookiecutter.use_worker %} or job{% endif %}: its ids in log lines{% if cookiecutter.use_worker %}, and its context in jobs{% endif %}."""
{% if cookiecutter.use_worker %}
from collections.abc import Iterator
from contextlib import contextmanager
{% endif %}
import structlog
from opentelemetry import {% if cookiecutter.use_worker %}propagate, {% endif %}trace
{%- if cookiecutter.use_worker %}
from opentelemetry.trace import SpanKind, StatusCode
{%- endif %}
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import EventDict, WrappedLogger


def add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the ids of the current trace and span to a log line."""
    event.update(_ids())
    return event


def _ids() -> dict[str, str]:
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(span.trace_id),
        "span_id": trace.format_span_id(span.span_id),
    }


class TraceIdsMiddleware:
    """Bind the ids of the request's span to log lines that are written after the span has ended.

    The server logs the traceback of an unexpected error then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        structlog.contextvars.bind_contextvars(**_ids())
        await self.app(scope, receive, send)
{%- if cookiecutter.use_worker %}


def traceparent() -> str | None:
    """Return the traceparent header of the current trace, or None outside of one."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers.get("traceparent")


@contextmanager
def job_span(task: str, attempt: int, parent: str | None) -> Iterator[None]:
    """Create a span of an attempt to run a job, in the trace of the request that enqueued it.

    Args:
        parent: the traceparent of that request.
    """
    with trace.get_tracer(__name__).start_as_current_span(
        f"job {task}",
        propagate.extract({"traceparent": parent} if parent else {}),
        kind=SpanKind.CONSUMER,
        attributes={"job.task": task, "job.attempt": attempt},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        structlog.contextvars.bind_contextvars(**_ids())
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise
{%- endif %}
