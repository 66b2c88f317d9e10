"""A collector that takes spans over OTLP/HTTP, and applications that send theirs to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from {{ cookiecutter.package_name }} import tracing
from {{ cookiecutter.package_name }}.main import create_app

from notes_support import mount
from support import NewDatabase, settings_for
from tracing_support import Collector, NewTracedApp, Span, own_provider


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on this machine."""
    taken = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.requests.append((self.path, dict(self.headers), body))
            for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope_spans in resource_spans.scope_spans:
                    for span in scope_spans.spans:
                        taken.spans.append(Span.of(span, resource_spans.resource))
            self.send_response(taken.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        taken.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield taken
        server.shutdown()
        thread.join()


@pytest.fixture
def new_traced_app(
    new_database: NewDatabase, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> NewTracedApp:
    """Runs applications whose spans have all been sent when the block ends."""
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 60)

    @asynccontextmanager
    async def new(**changes: object) -> AsyncIterator[FastAPI]:
        with own_provider():
            async with new_database() as url:
                changes = {"otel_exporter_otlp_endpoint": collector.url, **changes}
                app = mount(create_app(settings_for(url, **changes)))
                async with app.router.lifespan_context(app):
                    yield app

    return new
