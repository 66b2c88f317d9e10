"""Tasks that run in the process of the service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select

from {{ cookiecutter.package_name }} import background
from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.background import (
    Context,
    Runner,
    enqueue,
    task,
)
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.logging import configure_logging
from {{ cookiecutter.package_name }}.mail import Mailer

from support import NOWHERE, NewDatabase, new_user, settings_for, until_set


@pytest.fixture
async def database(new_database: NewDatabase) -> AsyncIterator[Database]:
    """Provide a separate database, whose connections tasks can use at the same time."""
    async with new_database() as url, Database(settings_for(url)) as database:
        yield database


@pytest.fixture
def runner(database: Database, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Provide a runner that retries at once."""
    monkeypatch.setattr(background, "RETRY_DELAYS", (0,))
    settings = settings_for(NOWHERE)
    return Runner(database, Mailer(settings), settings)


async def add(database: Database, function: Callable[..., Any], **arguments: object) -> None:
    """Enqueue a task in a transaction of its own."""
    async with database.write_session() as session:
        await enqueue(session, task()(function), **arguments)


async def test_task_runs_after_the_commit(database: Database, runner: Runner) -> None:
    ran: list[tuple[str, bool]] = []

    @task()
    async def look(context: Context, *, email: str) -> None:
        found = await context.session.scalar(select(User).where(User.email == email))
        ran.append((email, found is not None))

    async with database.write_session() as session:
        session.add(new_user(email="ada@example.com"))
        await enqueue(session, look, email="ada@example.com")
        async with session.begin_nested():
            await session.flush()
        await runner.join()
        assert ran == []
    await runner.join()

    assert ran == [("ada@example.com", True)]


async def test_task_does_not_run_after_a_rollback(database: Database, runner: Runner) -> None:
    ran: list[object] = []

    async def record(context: Context) -> None:
        ran.append(context.job_id)

    with suppress(RuntimeError):
        async with database.write_session() as session:
            await enqueue(session, task()(record))
            raise RuntimeError
    async with database.write_session() as session:
        await session.execute(select(User))
        await enqueue(session, task()(record))
        await session.rollback()
    await runner.join()

    assert ran == []


async def test_tasks_need_a_runner_and_keywords(database: Database) -> None:
    @task()
    async def greet(_: Context, name: str) -> None:
        raise AssertionError(name)

    async with database.write_session() as session:
        with pytest.raises(LookupError, match="no Runner"):
            await enqueue(session, greet, name="Ada")
        with pytest.raises(TypeError, match="by keyword"):
            await enqueue(session, greet, "Ada")


async def test_task_is_retried_in_a_new_transaction(database: Database, runner: Runner) -> None:
    job_ids: list[object] = []

    async def register(context: Context) -> None:
        context.session.add(new_user(email=f"{len(job_ids)}@example.com"))
        await context.session.flush()
        job_ids.append(context.job_id)
        if len(job_ids) < 3:
            raise OSError

    await add(database, register)
    await runner.join()

    assert len(job_ids) == 3
    assert len(set(job_ids)) == 1
    async with database.read_session() as session:
        assert (await session.scalars(select(User.email))).all() == ["2@example.com"]


async def test_failure_is_logged_without_its_text(
    database: Database, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(settings_for(NOWHERE))

    async def fail(_: Context, *, email: str) -> None:
        raise ValueError(email)

    await add(database, fail, email="ada@example.com")
    await runner.join()

    printed = capsys.readouterr().out
    assert printed.count("background task is retried") == 2
    assert printed.count("background task failed") == 1
    assert "ValueError" in printed
    assert "ada@example.com" not in printed


async def test_slow_task_is_canceled(
    database: Database,
    runner: Runner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure_logging(settings_for(NOWHERE))
    monkeypatch.setattr(background, "TIMEOUT_SECONDS", 0.01)

    async def wait(_: Context) -> None:
        await asyncio.Event().wait()

    await add(database, wait)
    async with asyncio.timeout(60):
        await runner.join()

    assert "TimeoutError" in capsys.readouterr().out


async def test_number_of_tasks_is_limited(
    database: Database,
    runner: Runner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure_logging(settings_for(NOWHERE))
    monkeypatch.setattr(background, "MAX_TASKS", 6)
    opened, running, most, ran = asyncio.Event(), 0, 0, 0

    async def count(_: Context) -> None:
        nonlocal running, most, ran
        running += 1
        most = max(most, running)
        await opened.wait()
        running -= 1
        ran += 1

    for _ in range(8):
        await add(database, count)
    async with asyncio.timeout(60):
        while running < background.CONCURRENCY:  # noqa: ASYNC110 - tasks have no event for it
            await asyncio.sleep(0.01)
    opened.set()
    await runner.join()

    assert (most, ran) == (background.CONCURRENCY, 6)
    assert capsys.readouterr().out.count("background task dropped") == 2


async def test_task_that_has_committed_delays_no_request(new_database: NewDatabase) -> None:
    async with new_database() as url:
        settings = settings_for(url, database_pool_size=1, database_max_overflow=0)
        async with Database(settings) as database:
            runner = Runner(database, Mailer(settings), settings)
            committed, answered = asyncio.Event(), asyncio.Event()

            async def call_slow_server(context: Context) -> None:
                await context.session.scalar(select(1))
                await context.session.commit()
                committed.set()
                await answered.wait()

            await add(database, call_slow_server)
            async with asyncio.timeout(60):
                await committed.wait()
                async with database.write_session() as session:
                    assert await session.scalar(select(1)) == 1
            answered.set()
            await runner.join()


async def test_shutdown_waits_for_tasks_up_to_a_limit(
    database: Database,
    runner: Runner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure_logging(settings_for(NOWHERE))
    started, ran = asyncio.Event(), 0

    async def finish(_: Context) -> None:
        nonlocal ran
        started.set()
        await asyncio.sleep(0)
        ran += 1

    async def wait(_: Context) -> None:
        await asyncio.Event().wait()

    async with runner:
        await add(database, finish)
        await until_set(started)
    assert ran == 1

    monkeypatch.setattr(background, "SHUTDOWN_SECONDS", 0.01)
    async with asyncio.timeout(60):
        async with runner:
            await add(database, wait)
        await runner.join()

    assert capsys.readouterr().out.count("background task dropped") == 1


async def test_expired_rows_are_deleted_in_the_background(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged = asyncio.Event()

    async def purge(self: Runner) -> None:  # noqa: ARG001
        purged.set()

    monkeypatch.setattr(background, "FIRST_PURGE", 0)
    monkeypatch.setattr(Runner, "purge", purge)
    async with runner:
        await until_set(purged)
