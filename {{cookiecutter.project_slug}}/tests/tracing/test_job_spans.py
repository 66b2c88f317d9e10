"""A job continues the trace of the request that enqueued it."""

import json

import pytest
from fastapi import FastAPI

from {{ cookiecutter.package_name }}.worker.models import Status
from {{ cookiecutter.package_name }}.worker.tasks import purge

from support import new_client, registration
from tracing_support import TRACE, Collector, NewTracedApp, sent_by_caller
from worker_support import Service


async def register_in_vain(app: FastAPI, **headers: str) -> None:
    """Register an account, and wait until the first attempt to send an email has failed."""
    service = Service(app)
    await new_client(app).post("/api/v1/users", json=registration(), headers=headers)
    [job] = await service.jobs()
    async with service.working():
        await service.becomes(job.id, Status.QUEUED)


async def test_job_continues_the_trace_of_its_request(
    new_traced_app: NewTracedApp, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    async with new_traced_app(smtp_url="smtp://127.0.0.1:1", log_format="json") as app:
        await register_in_vain(app)

    request = collector.named("POST /api/v1/users")
    job = collector.named("job send_verification")
    assert (job.kind, job.trace_id, job.parent_id) == (
        "CONSUMER",
        request.trace_id,
        request.span_id,
    )
    assert (job.failed, job.attributes["job.attempt"]) == (True, 1)
    assert "SELECT" in [span.name.split()[0] for span in collector.children(job)]
    # The worker's own statements belong to no trace.
    assert {span.trace_id for span in collector.spans} == {request.trace_id}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [ended] = [line for line in lines if line["message"] == "job"]
    assert (ended["trace.id"], ended["span.id"]) == (job.trace_id, job.span_id)


async def test_job_of_a_request_that_is_not_traced_is_not_either(
    new_traced_app: NewTracedApp, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    async with new_traced_app(smtp_url="smtp://127.0.0.1:1", log_format="json") as app:
        await register_in_vain(app, **sent_by_caller("00"))

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [ended] = [line for line in lines if line["message"] == "job"]
    assert ended["trace.id"] == TRACE
    assert [span.name for span in collector.spans] == []


async def test_job_without_a_request_has_a_trace_of_its_own(
    new_traced_app: NewTracedApp, collector: Collector
) -> None:
    async with new_traced_app() as app:
        service = Service(app)
        async with service.working():
            await service.finish(await service.add(purge))

    job = collector.named("job purge")
    assert (job.parent_id, job.failed) == ("", False)
