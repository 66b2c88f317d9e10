"""A job is reported when it has failed for good, not at each attempt."""

import pytest

from {{ cookiecutter.package_name }}.worker.models import Status
from {{ cookiecutter.package_name }}.worker.queue import (
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

    monkeypatch.setitem(TASKS, "chore", task(max_attempts=2)(chore))
    async with new_reporting_app() as reporting:
        service = Service(reporting.app)
        async with service.working():
            job_id = await service.add(TASKS["chore"])
            await service.becomes(job_id, Status.QUEUED)
            await service.make_due()
            await service.becomes(job_id, Status.FAILED, attempts=2)

    report = reports.one()
    assert (report["transaction"], report["tags"]["job_id"]) == ("job chore", str(job_id))
    assert [error["type"] for error in report["exception"]["values"]] == ["LookupError"]
