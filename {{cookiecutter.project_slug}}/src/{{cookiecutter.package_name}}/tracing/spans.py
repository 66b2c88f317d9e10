"""What is recorded, which of it, and how it is sent; imported only when there is a collector."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.util.types import Attributes
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from starlette.datastructures import Headers
from starlette.types import Scope

from .context import entered

log = structlog.stdlib.get_logger(__name__)

PARENT_BASED: Final = "parentbased_"


class Sampling(Sampler):
    """What is recorded: of the requests{% if cookiecutter.use_worker %} and jobs{% endif %} what a sampler says, and what happens in them.

    What belongs to none is left out: what probes{% if cookiecutter.use_worker %} and idle workers{% endif %} ask.

    Args:
        name: of the sampler, as OTEL_TRACES_SAMPLER has it.
        ratio: of the traces, for samplers that take one.
    """

    def __init__(self, name: str, ratio: float) -> None:
        roots: dict[str, Sampler] = {
            "always_on": ALWAYS_ON,
            "always_off": ALWAYS_OFF,
            "traceidratio": TraceIdRatioBased(ratio),
        }
        root = roots[name.removeprefix(PARENT_BASED)]
        self._sampler = ParentBased(root) if name.startswith(PARENT_BASED) else root
        self._ids = RandomIdGenerator()
        self._fields = {field.lower().encode() for field in propagate.get_global_textmap().fields}

    def leaves_out(self, scope: Scope) -> bool:
        """Whether a request is not recorded; it has ids for the log{% if cookiecutter.use_worker %} and its jobs{% endif %} nevertheless.

        FastAPI asks before it makes the span, which takes long even if nothing is recorded.
        """
        is_called = any(name in self._fields for name, _ in scope["headers"])
        context = propagate.extract(Headers(scope=scope)) if is_called else Context()
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id or self._ids.generate_trace_id()
        sampled = self._sampler.should_sample(context, trace_id, "")
        dropped = sampled.decision is Decision.DROP
        if dropped:
            entered.set(SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False))
        return dropped

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        *further: Any,
        **named: Any,
    ) -> SamplingResult:
        """Ask the sampler, if the answer is still open."""
        parent = trace.get_current_span(parent_context).get_span_context()
        if kind is SpanKind.SERVER:  # of a request that is not left out
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
        if kind is SpanKind.CLIENT and not parent.is_valid:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, *further, **named
        )

    def get_description(self) -> str:
        """Name the sampler."""
        return self._sampler.get_description()


class Entry(SpanProcessor):
    """Looks at each span as it begins."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Hide what a client has typed, and remember where this process came in."""
        if span.parent is None or span.parent.is_remote:
            entered.set(span.get_span_context())
        if "url.query" in (span.attributes or {}):
            span.set_attribute("url.query", "REDACTED")


class Exporter(OTLPSpanExporter):
    """Sends spans, and says once when that begins to fail, and once when it works again."""

    _failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans to the collector."""
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS and self._failing:
            self._failing = False
            log.info("spans are exported again")
        return result

    def is_news(self, _: logging.LogRecord) -> bool:
        """Whether a line of the library, which are all about failures, is the first of its kind."""
        known, self._failing = self._failing, True
        return not known


class Statements:
    """Makes a span of each statement of an engine, with its text and without its parameters.

    The instrumentation that OpenTelemetry has for SQLAlchemy puts messages of the database into
    spans, which quote values, and makes a span of each connection taken from the pool.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tracer = trace.get_tracer(__name__)
        self._listeners: dict[str, Callable[..., Any]] = {
            "before_cursor_execute": self._begin,
            "after_cursor_execute": self._end,
            "handle_error": self._fail,
        }
        for name, listener in self._listeners.items():
            event.listen(engine, name, listener)

    def close(self) -> None:
        """Make no further spans."""
        for name, listener in self._listeners.items():
            event.remove(self._engine, name, listener)

    def _begin(
        self, _: object, __: object, statement: str, ___: object, context: Any, ____: bool
    ) -> None:
        if not trace.get_current_span().is_recording():
            context.span = trace.INVALID_SPAN
            return
        operation = statement.split(maxsplit=1)[0].upper()
        attributes = {
            "db.system.name": self._engine.dialect.name,
            "db.operation.name": operation,
            "db.query.text": statement,
        }
        context.span = self._tracer.start_span(
            operation, kind=SpanKind.CLIENT, attributes=attributes
        )

    def _end(
        self, _: object, __: object, ___: str, ____: object, context: Any, _____: bool
    ) -> None:
        context.span.end()

    def _fail(self, failure: ExceptionContext) -> None:
        span = getattr(failure.execution_context, "span", None)
        if span is not None:
            span.set_attribute("error.type", type(failure.original_exception).__qualname__)
            span.set_status(StatusCode.ERROR)
            span.end()
