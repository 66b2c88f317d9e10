"""Background jobs on the admin pages."""

import pytest
from httpx2 import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.worker.models import Job, State


@pytest.fixture
async def jobs(session: AsyncSession) -> dict[State, Job]:
    """A job in each state."""
    made = {
        state: Job(task=f"task-{state}", state=state, arguments={"word": "x"}, due_at=utcnow())
        for state in State
    }
    made[State.FAILED].error_type = "ConnectionRefusedError"
    session.add_all(made.values())
    await session.commit()
    return made


async def test_jobs_are_found_by_state_without_their_arguments(
    browser: AsyncClient, jobs: dict[State, Job]
) -> None:
    every = await browser.get("/admin/job/list")
    failed = await browser.get("/admin/job/list?state=failed")
    details = await browser.get(f"/admin/job/details/{jobs[State.FAILED].id}")

    assert all(f"task-{state}" in every.text for state in State)
    assert [f"task-{state}" in failed.text for state in State] == [False, False, False, True]
    assert "ConnectionRefusedError" in details.text
    assert "word" not in every.text + details.text


async def test_administrator_demoted_meanwhile_retries_nothing(
    demoted_browser: AsyncClient, jobs: dict[State, Job], session: AsyncSession
) -> None:
    failed = jobs[State.FAILED]

    response = await demoted_browser.post(f"/admin/job/action/retry?pks={failed.id}")

    await session.refresh(failed)
    assert (response.status_code, failed.state) == (403, State.FAILED)


async def test_only_failed_jobs_are_retried(
    browser: AsyncClient, jobs: dict[State, Job], session: AsyncSession
) -> None:
    retry = f"/admin/job/action/retry?pks={','.join(str(job.id) for job in jobs.values())}"

    assert "Retry 4 jobs?" in (await browser.get(retry)).text
    assert (await browser.post(retry)).status_code == 303

    for state, job in jobs.items():
        await session.refresh(job)
        assert job.state == (State.QUEUED if state is State.FAILED else state)
