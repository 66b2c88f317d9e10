"""What the tests of traces share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.trace import TracerProvider

NewTracedApp = Callable[..., AbstractAsyncContextManager[FastAPI]]

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


def sent_by_caller(flags: str = "01") -> dict[str, str]:
    """The header of a caller that traces its request, or does not."""
    return {"traceparent": f"00-{TRACE}-{CALLER}-{flags}"}


@contextmanager
def own_provider() -> Iterator[None]:
    """Let the application set a tracer provider, which a process can do only once."""
    with pytest.MonkeyPatch.context() as patch:

        def set_provider(provider: TracerProvider) -> None:
            patch.setattr(trace, "get_tracer_provider", lambda: provider)

        patch.setattr(trace, "set_tracer_provider", set_provider)
        yield


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""

    def value(attribute: KeyValue) -> Any:
        return getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")

    return {attribute.key: value(attribute) for attribute in attributes}


@dataclass(frozen=True)
class Span:
    """A span as the collector gets it."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @classmethod
    def of(cls, span: trace_pb2.Span, resource: Resource) -> "Span":
        """Read a span of the protocol."""
        return cls(
            name=span.name,
            kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
            attributes=values(span.attributes),
            resource=values(resource.attributes),
        )


@dataclass
class Collector:
    """What has been sent.

    Attributes:
        status: what it answers.
        requests: path, headers and body of each.
    """

    url: str = ""
    status: int = 200
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def named(self, name: str) -> Span:
        """The only span of that name."""
        [span] = [span for span in self.spans if span.name == name]
        return span

    def children(self, parent: Span) -> list[Span]:
        """The spans right below another one."""
        return [span for span in self.spans if span.parent_id == parent.span_id]
