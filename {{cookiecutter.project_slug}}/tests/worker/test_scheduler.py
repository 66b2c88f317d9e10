"""What is done by the clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    RefreshToken,
)
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.logging import configure_logging
from {{ cookiecutter.package_name }}.worker.models import Job, State
from {{ cookiecutter.package_name }}.worker.outbox import task
from {{ cookiecutter.package_name }}.worker.scheduler import Scheduler
from {{ cookiecutter.package_name }}.worker.tasks import purge, send_welcome

from support import new_account
from worker_support import NewService, Service, until

NIGHT = datetime(2030, 1, 31, 3, 17, tzinfo=UTC)


async def test_due_job_is_made_once_by_several_schedulers(service: Service) -> None:
    schedulers = [Scheduler(service.app) for _ in range(3)]
    for scheduler in schedulers:
        scheduler._next_minute = NIGHT - timedelta(minutes=2)
        await scheduler.tick(NIGHT - timedelta(seconds=1))
    assert await service.jobs() == []

    await asyncio.gather(*(scheduler.tick(NIGHT) for scheduler in schedulers))

    assert [job.task for job in await service.jobs()] == ["purge"]


async def test_purge_keeps_what_is_alive(service: Service) -> None:
    gone, ended, alive = [await new_account(service.app) for _ in range(3)]
    long_ago = utcnow() - timedelta(days=8)
    old = await service.add(send_welcome, user_id=alive.id)
    async with service.app.state.services.database.write_session() as session:
        for account, column in ((gone, "expires_at"), (ended, "revoked_at")):
            login = await session.scalar(select(LoginSession).filter_by(user_id=account.id))
            setattr(login, column, long_ago)
        job = await session.get_one(Job, old)
        job.state, job.finished_at = State.DONE, long_ago
        session.add(Job(task="x", state=State.FAILED, due_at=long_ago, finished_at=utcnow()))

    async with service.working():
        job_id = await service.add(purge)
        await service.becomes(job_id, State.DONE)

    async with service.app.state.services.database.read_session() as session:
        users: list[UUID] = list(await session.scalars(select(LoginSession.user_id)))
        tokens = await session.scalar(select(func.count()).select_from(RefreshToken))
    assert (users, tokens) == ([alive.id], 1)
    assert [job.task for job in await service.jobs()] == ["x", "purge"]


async def test_job_of_an_unknown_task_fails_in_the_end(service: Service) -> None:
    long_ago = utcnow() - timedelta(days=8)
    async with service.app.state.services.database.write_session() as session:
        session.add(Job(task="renamed", created_at=long_ago, due_at=long_ago))

    job_id = await service.add(purge)
    async with service.working():
        await service.becomes(job_id, State.DONE)

    [strange] = await service.jobs(task="renamed")
    assert (strange.state, strange.error_type) == (State.FAILED, "UnknownTask")


@pytest.mark.parametrize(
    "cron",
    ["@daily", "* * * *", "* *  * * *", "*/0 * * * *", "61 * * * *", "* * * jan *", "0 3 * * 7"],
)
def test_time_that_would_never_come_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="is not like"):
        task(cron=cron)(purge.function)


async def test_scheduler_waits_for_a_redis_that_is_away(
    new_service: NewService, capsys: pytest.CaptureFixture[str]
) -> None:
    async with new_service(redis_url="unix:///nowhere/redis.sock") as service:
        configure_logging(service.app.state.services.settings)
        job_id = await service.add(send_welcome, user_id=UUID(int=0))
        await service.pass_time()
        due = (await service.job(job_id)).due_at
        said, stop = "", asyncio.Event()

        async def complained() -> bool:
            nonlocal said
            said += capsys.readouterr().out
            return "scheduler waits" in said

        running = asyncio.create_task(Scheduler(service.app).run(stop))
        await until(complained)
        stop.set()
        await running

        assert (await service.job(job_id)).due_at == due
