"""The exporter; imported only when there is a collector."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind, Status

from ..token_format import redact_tokens

log = structlog.stdlib.get_logger(__name__)

LIBRARY_LOG: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class RedactingExporter(OTLPSpanExporter):
    """Export spans without user input: query strings, and error messages, which may quote it.

    Statements and commands outside of requests{% if cookiecutter.use_worker %} and jobs{% endif %}, such as those of probes, are not exported.
    """

    is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans, and log when exports succeed again after a failure."""
        kept = [redact(span) for span in spans if span.parent or span.kind is not SpanKind.CLIENT]
        if not kept:
            return SpanExportResult.SUCCESS
        result = super().export(kept)
        if result is SpanExportResult.SUCCESS and self.is_failing:
            self.is_failing = False
            log.info("spans are exported again")
        return result


def redact(span: ReadableSpan) -> ReadableSpan:
    """Return a copy without the query string, tokens, the message of the status and the events."""
    attributes = {
        name: redact_tokens(value) if isinstance(value, str) else value
        for name, value in (span.attributes or {}).items()
    }
    if "url.query" in attributes:
        attributes["url.query"] = "REDACTED"
    return ReadableSpan(
        span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


@contextmanager
def log_outage_once(exporter: RedactingExporter) -> Iterator[None]:
    """Pass only the first of the library's log lines, which are all about failed exports."""

    def is_first(_: logging.LogRecord) -> bool:
        was_failing, exporter.is_failing = exporter.is_failing, True
        return not was_failing

    logger = logging.getLogger(LIBRARY_LOG)
    logger.addFilter(is_first)
    try:
        yield
    finally:
        logger.removeFilter(is_first)
