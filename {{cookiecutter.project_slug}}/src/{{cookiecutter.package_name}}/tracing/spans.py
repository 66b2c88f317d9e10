"""What is recorded, which of it, and how it is sent; imported only when there is a collector."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import Attributes
from sqlalchemy import Dialect
from starlette.datastructures import Headers
from starlette.types import Scope

from .context import entered, recorded

log = structlog.stdlib.get_logger(__name__)

PARENT_BASED: Final = "parentbased_"
EXECUTE: Final = ("do_execute", "do_execute_no_params", "do_executemany")


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


@contextmanager
def statement_spans(dialect: Dialect) -> Iterator[None]:
    """Make a span of each statement until the block ends, with its text and without its parameters.

    The instrumentation that OpenTelemetry has for SQLAlchemy puts messages of the database into
    spans, which quote values, and makes a span of each connection taken from the pool. It listens
    to events of the engine, which then looks for listeners anew on each connection.

    Args:
        dialect: of the engine, whose methods are replaced.
    """

    def with_spans(execute: Callable[..., None]) -> Callable[..., None]:
        def execute_with_span(cursor: object, statement: str, *arguments: Any) -> None:
            if not trace.get_current_span().is_recording():
                execute(cursor, statement, *arguments)
                return
            operation = statement.split(maxsplit=1)[0].upper()
            attributes = {
                "db.system.name": dialect.name,
                "db.operation.name": operation,
                "db.query.text": statement,
            }
            with recorded(operation, SpanKind.CLIENT, attributes):
                execute(cursor, statement, *arguments)

        return execute_with_span

    methods = {name: getattr(dialect, name) for name in EXECUTE}
    for name, execute in methods.items():
        setattr(dialect, name, with_spans(execute))
    try:
        yield
    finally:
        for name, execute in methods.items():
            setattr(dialect, name, execute)
