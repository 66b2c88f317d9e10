"""Traces, as a collector gets them."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog
from httpx2 import Client

from {{ cookiecutter.package_name }} import __version__
from {{ cookiecutter.package_name }}.auth.models import Role
from {{ cookiecutter.package_name }}.token_format import new_token

from support import (
    PASSWORD,
    NewDatabase,
    environment_of,
    new_account,
    new_client,
    registration,
    serve,
    settings_for,
)
from tracing_support import CALLER, TRACE, Collector, NewTracedApp, Span, sent_by_caller

SECRET = "correct-horse-battery-staple"


def is_select(span: Span) -> bool:
    """Return whether the span is that of a query."""
    return span.name.startswith("SELECT")


async def test_request_is_a_tree_of_spans(
    new_traced_app: NewTracedApp, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20key")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=billing,service.version=1.2")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    async with new_traced_app() as app:
        account = await new_account(app)
        await account.client.get("/health/ready")  # opens the connection
        response = await account.client.get("/api/v1/users/me")

    assert response.status_code == 200
    request = collector.named("GET /api/v1/users/me")
    statements = [span for span in collector.children(request) if is_select(span)]
    assert (request.kind, request.parent_id, request.failed) == ("SERVER", "", False)
    assert request.attributes["http.route"] == "/api/v1/users/me"
    assert request.attributes["http.response.status_code"] == 200
    assert statements
    for span in statements:
        assert (span.kind, span.trace_id) == ("CLIENT", request.trace_id)
        assert span.attributes["db.system.name"] == "{{ cookiecutter.database }}"
        assert span.attributes["db.query.text"].startswith("SELECT ")
{%- if cookiecutter.use_redis %}
    command = next(span for span in collector.children(request) if span.name == "EVALSHA")
    assert command.kind == "CLIENT"
    assert str(account.id) not in str(command.attributes), "keys name users"
{%- endif %}
    expected = {
        "service.name": "shop",
        "service.version": "1.2",
        "deployment.environment.name": "test",
        "team": "billing",
    }
    assert expected.items() <= request.resource.items()
    path, headers, _ = collector.requests[0]
    assert (path, headers["authorization"]) == ("/v1/traces", "Bearer key")


async def test_trace_of_the_caller_is_continued(
    new_traced_app: NewTracedApp, collector: Collector
) -> None:
    async with new_traced_app() as app:
        client = new_client(app)
        await client.get("/api/v1/test-notes", headers=sent_by_caller())
        await client.get("/api/v1/users/me", headers=sent_by_caller("00"))

    [request] = [span for span in collector.spans if span.kind == "SERVER"]
    assert (request.name, request.trace_id) == ("GET /api/v1/test-notes", TRACE)
    assert request.parent_id == CALLER
    assert request.resource["service.version"] == __version__


@pytest.mark.parametrize(
    ("name", "ratio", "traced"),
    [
        ("parentbased_traceidratio", 0, []),
        ("traceidratio", 1, ["sampled", "unsampled", "none"]),
        ("parentbased_always_off", 1, ["sampled"]),
        ("always_on", 0, ["sampled", "unsampled", "none"]),
    ],
)
async def test_sampler_decides_what_is_traced(
    new_traced_app: NewTracedApp,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    ratio: float,
    traced: list[str],
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", str(ratio))
    callers = {"sampled": sent_by_caller(), "unsampled": sent_by_caller("00"), "none": {}}
    async with new_traced_app() as app:
        for caller, headers in callers.items():
            await new_client(app).get(f"/{caller}", headers=headers)

    paths = [span.attributes["url.path"] for span in collector.spans if span.kind == "SERVER"]
    expected = traced + ["sampled"] * (name == "parentbased_traceidratio")
    assert paths == [f"/{caller}" for caller in expected]


async def test_probes_are_not_traced(new_traced_app: NewTracedApp, collector: Collector) -> None:
    async with new_traced_app() as app:
        ready = await new_client(app).get("/health/ready")

    assert ready.status_code == 200
    assert collector.spans == []


async def test_spans_contain_no_client_input(
    new_traced_app: NewTracedApp, collector: Collector
) -> None:
    token = new_token()
    taken = {"email": f"{SECRET}@example.com"}
    account = registration(full_name=SECRET, **taken)
    async with new_traced_app() as app:

        @app.get("/fail")
        async def fail() -> None:
            raise LookupError(SECRET)

        client = new_client(app, token=SECRET)
        first = await client.post("/api/v1/users", json=account)
        admin = await new_account(app, role=Role.ADMIN)
        second = await admin.client.patch(f"/api/v1/users/{admin.id}", json=taken)
        await client.get("/fail", params={"q": SECRET}, headers={"Cookie": f"session={SECRET}"})
        await client.get(f"/api/v1/users/{token}")

    assert (first.status_code, second.status_code) == (202, 409)
    failed = collector.named("GET /fail")
    assert (failed.failed, failed.attributes["error.type"]) == (True, "500")
    assert failed.attributes["url.query"] == "REDACTED"
    refused = [span for span in collector.spans if span.name.startswith("UPDATE") and span.failed]
    assert len(refused) == 1
    for secret in (SECRET, PASSWORD, token):
        assert not any(secret.encode() in body for _, _, body in collector.requests)


async def test_log_lines_have_the_ids(
    new_traced_app: NewTracedApp, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    async with new_traced_app(log_level="INFO", log_format="json") as app:
        capsys.readouterr()
        await new_client(app).get("/api/v1/test-notes", headers=sent_by_caller())
        # The server logs an unexpected error when the span has ended.
        structlog.stdlib.get_logger("uvicorn.error").error("late")
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    [request] = [span for span in collector.spans if span.kind == "SERVER"]
    ours = [line for line in lines if line["message"] in {"request", "late"}]
    assert len(ours) == 2
    for line in ours:
        assert (line["trace.id"], line["span.id"]) == (TRACE, request.span_id)


@pytest.mark.parametrize("headers", [sent_by_caller("00"), {}], ids=["called", "first"])
async def test_log_lines_of_what_is_not_traced_have_ids_too(
    new_traced_app: NewTracedApp,
    collector: Collector,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with new_traced_app(log_level="INFO", log_format="json") as app:
        capsys.readouterr()
        await new_client(app).get("/api/v1/test-notes", headers=headers)
        structlog.stdlib.get_logger("uvicorn.error").error("late")
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    ours = [line for line in lines if line["message"] in {"request", "late"}]
    [(trace_id, span_id)] = {(line["trace.id"], line["span.id"]) for line in ours}
    assert (len(ours), len(trace_id), len(span_id)) == (2, 32, 16)
    assert (trace_id == TRACE) is bool(headers)
    assert span_id != CALLER
    assert collector.spans == []


async def test_stopping_sends_what_is_left(
    new_database: NewDatabase, collector: Collector, tmp_path: Path
) -> None:
    async with new_database() as url:
        settings = settings_for(url, otel_exporter_otlp_endpoint=collector.url)
        with serve(settings, tmp_path / "log") as server:
            with Client(base_url=server.base_url, timeout=60) as client:
                assert client.get("/health/live").status_code == 200
                assert client.get("/api/v1/users/me").status_code == 401
            server.process.terminate()
            assert server.process.wait(timeout=60) == 0

    [request] = [span for span in collector.spans if span.kind == "SERVER"]
    assert request.name == "GET /api/v1/users/me"


@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "is silent"])
async def test_unavailable_collector_is_logged_once(
    new_traced_app: NewTracedApp,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    listens: bool,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        traced = new_traced_app(
            otel_exporter_otlp_endpoint=endpoint, log_level="INFO", log_format="json"
        )
        started = time.monotonic()
        async with traced as app:
            response = await new_client(app).get("/api/v1/users/me")
        seconds = time.monotonic() - started

    assert response.status_code == 401
    assert seconds < 60
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [failure] = [line for line in lines if line["log.level"] in {"warning", "error"}]
    assert "spans batch" in failure["message"]


async def test_outage_of_the_collector_is_logged_at_each_end(
    new_traced_app: NewTracedApp,
    collector: Collector,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")  # milliseconds
    collector.status = 400
    async with new_traced_app(log_level="INFO", log_format="json") as app:
        client = new_client(app)
        for _ in range(3):
            seen = len(collector.requests)
            await client.get("/api/v1/test-notes")
            async with asyncio.timeout(60):
                while len(collector.requests) == seen:  # noqa: ASYNC110 - in a thread
                    await asyncio.sleep(0.01)
        collector.status = 200
        await client.get("/api/v1/test-notes")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [line["message"] for line in lines if "export" in line["message"]]
    assert said[0].startswith("Failed to export spans batch code: 400")
    assert said[1:] == ["spans are exported again"]


def test_nothing_is_imported_without_a_collector(database_url: str) -> None:
    script = """
import asyncio, sys, threading
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import load_settings
from {{ cookiecutter.package_name }}.state import get_state

async def start(**off):
    app = create_app(load_settings().model_copy(update=off))
    async with app.router.lifespan_context(app):
        print(*(name for name in sys.modules if name.startswith("opentelemetry.exporter")))
        print(*(thread.name for thread in threading.enumerate()))

asyncio.run(start(otel_sdk_disabled=True))
asyncio.run(start(otel_exporter_otlp_endpoint=None))
"""
    settings = settings_for(database_url, otel_exporter_otlp_endpoint="http://127.0.0.1:1")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        env=environment_of(settings),
        capture_output=True,
        check=True,
        text=True,
    )

    assert done.stdout == "\nMainThread\n" * 2
