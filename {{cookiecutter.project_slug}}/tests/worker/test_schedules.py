"""Tasks with a schedule."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    RefreshToken,
)
from {{ cookiecutter.package_name }}.auth.tasks import send_verification
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.worker.models import (
    Status,
    queue_log,
    queue_statistics,
)
from {{ cookiecutter.package_name }}.worker.queue import Context, task
from {{ cookiecutter.package_name }}.worker.tasks import purge

from support import new_account
from worker_support import NewTask, Service, until

OLD_ROWS = (
    """
    INSERT INTO pgqueuer (priority, entrypoint, status, updated)
    VALUES (0, 'send_verification', 'failed', :time)
    """,
    """
    INSERT INTO pgqueuer_log (priority, entrypoint, status, job_id, created, aggregated)
    VALUES (0, 'send_verification', 'successful', 0, :time, true)
    """,
    """
    INSERT INTO pgqueuer_statistics (priority, entrypoint, status, count, created)
    VALUES (0, 'send_verification', 'successful', 1, :time)
    """,
)
LONG_AGO = timedelta(days=8)


async def test_scheduled_task_is_run_once_by_several_workers(
    service: Service, new_task: NewTask
) -> None:
    ran: list[int] = []

    async def record(context: Context) -> None:
        ran.append(context.job_id)

    async def has_run_five_times() -> bool:
        return len(ran) >= 5

    new_task(record, cron="* * * * * *")
    async with service.working(), service.working():
        await until(has_run_five_times)

    async with service.database.read_session() as session:
        statement = select(queue_log.c.created).where(queue_log.c.status == "queued")
        enqueued: list[datetime] = list(await session.scalars(statement))
    assert len(set(ran)) == len(ran)
    # Two runs may be in one second, if the first is late by nearly a second.
    seconds = (max(enqueued) - min(enqueued)).total_seconds()
    assert len(enqueued) <= seconds + 2


async def test_purge_keeps_what_is_valid(service: Service) -> None:
    gone, ended, valid = [await new_account(service.app) for _ in range(3)]
    long_ago = utcnow() - LONG_AGO
    async with service.database.write_session() as session:
        for account, column in ((gone, "expires_at"), (ended, "revoked_at")):
            login = await session.scalar(select(LoginSession).filter_by(user_id=account.id))
            setattr(login, column, long_ago)
    for time in (long_ago, utcnow()):
        for statement in OLD_ROWS:
            await service.execute(statement, time=time)

    async with service.working():
        await service.finish(await service.add(purge))

    async with service.database.read_session() as session:
        users: list[UUID] = list(await session.scalars(select(LoginSession.user_id)))
        tokens = await session.scalar(select(func.count()).select_from(RefreshToken))
        logged = await session.scalar(select(func.count()).where(queue_log.c.job_id == 0))
        statistics = (await session.scalars(select(queue_statistics.c.created))).all()
    assert (users, tokens, logged) == ([valid.id], 1, 1)
    assert long_ago not in statistics
    assert [job.status for job in await service.jobs()] == [Status.FAILED]


async def test_old_job_of_an_unknown_task_fails(service: Service) -> None:
    old, new = [await service.add(send_verification, user_id=UUID(int=0)) for _ in range(2)]
    await service.execute("UPDATE pgqueuer SET entrypoint = 'renamed'")
    created = utcnow() - LONG_AGO
    await service.execute("UPDATE pgqueuer SET created = :at WHERE id = :id", at=created, id=old)

    async with service.working():
        await service.finish(await service.add(purge))

    failed, waiting = await service.job(old), await service.job(new)
    assert (failed.status, failed.error_type) == (Status.FAILED, "UnknownTaskError")
    assert waiting.status == Status.QUEUED


@pytest.mark.parametrize("cron", ["", "* * * *", "*/0 * * * *", "61 * * * *", "0 0 30 2 *"])
def test_schedule_that_is_never_due_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="is not a cron expression"):
        task(cron=cron)(purge.function)
