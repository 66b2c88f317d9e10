"""A job that has failed for good is reported, its single attempts are not."""

import pytest

from {{ cookiecutter.package_name }}.worker.models import State
from {{ cookiecutter.package_name }}.worker.outbox import (
    TASKS,
    Context,
    task,
)

from sentry_support import NewReportingApp, Reports
from worker_support import Service


async def test_job_is_reported_when_it_has_failed_for_good(
    new_reporting_app: NewReportingApp, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chore(_: Context) -> None:
        raise LookupError

    monkeypatch.setitem(TASKS, "chore", task(attempts=2)(chore))
    async with new_reporting_app() as reporting:
        service = Service(reporting.app)
        async with service.working():
            job_id = await service.add(TASKS["chore"])
            await service.becomes(job_id, State.QUEUED, attempts=1)
            await service.send_again()
            await service.becomes(job_id, State.FAILED, attempts=2)

    report = reports.one()
    assert (report["transaction"], report["tags"]["job_id"]) == ("job chore", str(job_id))
    assert [error["type"] for error in report["exception"]["values"]] == ["LookupError"]
