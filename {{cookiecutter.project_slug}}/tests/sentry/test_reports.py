"""Reports, as a Sentry server gets them."""

import json
import logging
import subprocess
import sys

{% if cookiecutter.use_opentelemetry or not cookiecutter.use_worker -%}
import pytest
{% endif -%}
from fastapi import Request
from sqlalchemy import text

{% if cookiecutter.use_worker -%}
from {{ cookiecutter.package_name }} import __version__
{% else -%}
from {{ cookiecutter.package_name }} import __version__, background
{% endif -%}
from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentPrincipal,
)
{%- if not cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.background import (
    Context,
    enqueue,
    task,
)
{%- endif %}
from {{ cookiecutter.package_name }}.dependencies import DbSession
from {{ cookiecutter.package_name }}.errors import Problem

from sentry_support import NewReportingApp, Reports
from support import environment_of, log_in, new_account, settings_for
{%- if cookiecutter.use_opentelemetry %}
from tracing_support import own_provider
{%- endif %}

SECRET = "".join(("correct-horse-", "battery-staple"))  # is not found in lines of source
REQUEST_ID = "a-request-of-ours"
{%- if cookiecutter.use_opentelemetry %}
TRACE = "0af7651916cd43dd8448eb211c80319c"
{%- endif %}


async def test_unexpected_error_is_reported_once(
    new_reporting_app: NewReportingApp, reports: Reports
) -> None:
    async with new_reporting_app(sentry_environment="staging") as service:

        @service.app.get("/things/{thing}")
        async def fail(thing: str, principal: CurrentPrincipal) -> None:
            try:
                raise KeyError(thing)
            except KeyError as error:
                logging.getLogger("somebody").exception("cannot")
                raise LookupError(principal) from error

        account = await new_account(service.app)
        headers = {**account.client.headers, "X-Request-ID": REQUEST_ID}
        response = await service.client.get("/things/7", headers=headers)

    assert response.status_code == 500
    cannot, report = (one["payload"]["body"] for one in reports.all())
    assert [error["type"] for error in cannot["exception"]["values"]] == ["KeyError"]
    assert [error["type"] for error in report["exception"]["values"]] == ["KeyError", "LookupError"]
    [frame] = report["exception"]["values"][0]["stacktrace"]["frames"]
    assert (frame["function"], frame["context_line"].strip()) == ("fail", "raise KeyError(thing)")
    assert report["transaction"] == "GET /things/{thing}"
    assert report["user"] == {"id": str(account.id)}
    assert report["tags"] == {"request_id": REQUEST_ID}
    assert report["environment"] == "staging"
    assert report["release"] == f"{{ cookiecutter.project_slug }}@{__version__}"


async def test_reports_contain_no_client_input(
    new_reporting_app: NewReportingApp, reports: Reports
) -> None:
    async with new_reporting_app(sentry_release="abc123") as service:

        @service.app.post("/fail/{name}")
        async def fail(name: str, request: Request, session: DbSession) -> None:
            assert name == SECRET
            secret = (await request.json())["password"]
            logging.getLogger("somebody").error(secret, extra={"password": secret})
            try:
                await session.execute(text("SELECT * FROM nowhere WHERE a = :a"), {"a": secret})
            except Exception as error:
                error.add_note(secret)
                logging.getLogger("somebody").exception(secret, extra={"password": secret})
                raise LookupError(secret) from error

        await service.client.post(
            f"/fail/{SECRET}",
            params={"token": SECRET, SECRET: ""},
            headers={
                "Authorization": f"Bearer {SECRET}",
                "Cookie": f"session={SECRET}",
                "User-Agent": SECRET,
                "Referer": SECRET,
            },
            json={"password": SECRET},
        )

    assert len(reports.all()) == 2
    assert SECRET not in json.dumps(reports.all())
    assert "127.0.0.1" not in json.dumps([one["payload"]["body"] for one in reports.all()])
    assert reports.all()[0]["payload"]["body"]["release"] == "abc123"


async def test_expected_errors_are_not_reported(
    new_reporting_app: NewReportingApp, reports: Reports
) -> None:
    async with new_reporting_app() as service:

        @service.app.get("/busy")
        async def busy() -> None:
            raise Problem(503, "Try again.")

        client = service.client
        answers = [
            await client.get("/nowhere"),
            await client.get("/busy"),
            await client.get("/api/v1/users/me"),
            await client.post("/api/v1/users", json={}),
            await log_in(client, "ada@example.com"),
        ]

    assert [answer.status_code for answer in answers] == [404, 503, 401, 422, 400]
    assert reports.all() == []
{%- if cookiecutter.use_opentelemetry %}


async def test_report_names_the_trace(
    new_reporting_app: NewReportingApp, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    nobody = "http://127.0.0.1:1"
    with own_provider():
        async with new_reporting_app(otel_exporter_otlp_endpoint=nobody) as service:

            @service.app.get("/fail")
            async def fail() -> None:
                raise LookupError

            headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            await service.client.get("/fail", headers=headers)

    assert reports.one()["contexts"]["trace"]["trace_id"] == TRACE
{%- else %}


async def test_requests_are_timed_with_a_sample_rate(
    new_reporting_app: NewReportingApp, reports: Reports
) -> None:
    async with new_reporting_app(sentry_traces_sample_rate=1) as service:
        await service.client.get("/health/ready")
        account = await new_account(service.app)
        await service.client.get(
            "/api/v1/users/me", params={"q": SECRET}, headers=account.client.headers
        )

    report = reports.one()
    assert (report["type"], report["transaction"]) == ("transaction", "GET /api/v1/users/me")
    assert report["contexts"]["trace"]["op"] == "http.server"
    statements = [span["description"] for span in report["spans"] if span["op"] == "db"]
    assert any(statement.startswith("SELECT ") for statement in statements)
    for private in (SECRET, str(account.id), account.email):
        assert private not in json.dumps(report["spans"])
{%- endif %}


def test_nothing_is_imported_without_a_dsn(database_url: str) -> None:
    script = """
import sys
from {{ cookiecutter.package_name }}.main import create_app

create_app()
print("sentry_sdk" in sys.modules)
"""
    settings = settings_for(database_url)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        env=environment_of(settings),
        capture_output=True,
        check=True,
        text=True,
    )

    assert done.stdout == "False\n"
{%- if not cookiecutter.use_worker %}


async def test_task_is_reported_when_it_has_failed_for_good(
    new_reporting_app: NewReportingApp, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RETRY_DELAYS", (0,))

    @task(max_attempts=2)
    async def chore(_: Context) -> None:
        raise LookupError

    async with new_reporting_app() as service:
        state = service.app.state.services
        async with state.database.write_session() as session:
            await enqueue(session, chore)
        await state.background.join()

    report = reports.one()
    assert (report["transaction"], report["tags"]["task"]) == ("job chore", "chore")
    assert [error["type"] for error in report["exception"]["values"]] == ["LookupError"]
{%- endif %}
