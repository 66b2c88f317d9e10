"""Background jobs on the admin pages."""

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.worker.models import Status, queue
from {{ cookiecutter.package_name }}.worker.queue import job_queries


@pytest.fixture
async def jobs(session: AsyncSession) -> dict[Status, int]:
    """The ids of a job of each status."""
    queries = await job_queries(session)
    ids: dict[Status, int] = {
        status: (await queries.enqueue(f"task-{status}", b'{"word": "x"}'))[0] for status in Status
    }
    for status, job_id in ids.items():
        await session.execute(update(queue).where(queue.c.id == job_id).values(status=status))
    await session.commit()
    return ids


async def statuses(session: AsyncSession) -> dict[int, str]:
    """Return the status of each job."""
    rows = await session.execute(select(queue.c.id, queue.c.status))
    return dict(rows.all())


async def test_jobs_are_found_by_status_without_their_arguments(
    browser: AsyncClient, jobs: dict[Status, int]
) -> None:
    every = await browser.get("/admin/job/list")
    failed = await browser.get("/admin/job/list?status=failed")
    details = await browser.get(f"/admin/job/details/{jobs[Status.FAILED]}")

    assert all(f"task-{status}" in every.text for status in Status)
    assert [f"task-{status}" in failed.text for status in Status] == [False, False, True]
    assert "task-failed" in details.text
    assert "word" not in every.text + details.text


@pytest.mark.parametrize("key", ["x", "0", str(2**63)])
async def test_key_that_no_job_can_have_is_not_found(browser: AsyncClient, key: str) -> None:
    response = await browser.get(f"/admin/job/details/{key}")

    assert response.status_code == 404


async def test_administrator_demoted_meanwhile_retries_nothing(
    demoted_browser: AsyncClient, jobs: dict[Status, int], session: AsyncSession
) -> None:
    failed = jobs[Status.FAILED]

    response = await demoted_browser.post(f"/admin/job/action/retry?pks={failed}")

    assert "Only+administrators+may+do+this." in response.headers["Location"]
    assert (await statuses(session))[failed] == Status.FAILED


async def test_only_failed_jobs_are_retried(
    browser: AsyncClient, jobs: dict[Status, int], session: AsyncSession
) -> None:
    retry = f"/admin/job/action/retry?pks={','.join(map(str, jobs.values()))}"

    assert "Retry 3 jobs?" in (await browser.get(retry)).text
    assert (await browser.post(retry)).status_code == 303

    assert await statuses(session) == {
        jobs[Status.QUEUED]: Status.QUEUED,
        jobs[Status.PICKED]: Status.PICKED,
        jobs[Status.FAILED]: Status.QUEUED,
    }
