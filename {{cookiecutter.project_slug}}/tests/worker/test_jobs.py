"""Jobs, from the request that enqueues them to their end."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentPrincipal,
)
from {{ cookiecutter.package_name }}.auth.models import Role, User
from {{ cookiecutter.package_name }}.auth.tasks import send_verification
from {{ cookiecutter.package_name }}.dependencies import DbSession
from {{ cookiecutter.package_name }}.exceptions import ConflictError
from {{ cookiecutter.package_name }}.logging import configure_logging
from {{ cookiecutter.package_name }}.worker.models import (
    Status,
    queue_log,
)
from {{ cookiecutter.package_name }}.worker.queue import Context, enqueue
from {{ cookiecutter.package_name }}.worker.service import retry_job

from mail_support import MailServer
from support import (
    Account,
    NewDatabase,
    new_account,
    new_client,
    new_user,
    read_pages,
    registration,
    until_set,
)
from worker_support import Body, NewService, NewTask, Service, until

PICKED = """
    INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint)
    VALUES (:id, 'picked', 0, 'chore')
"""
TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
ADA = registration(full_name="Ada Lovelace")
JSON_LOG = {"log_level": "INFO", "log_format": "json"}


def job_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the log lines of attempts."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["message"] == "job"]


async def make_admin(service: Service) -> Account:
    """Register an administrator."""
    account = await new_account(service.app)
    async with service.database.write_session() as session:
        user = await session.get_one(User, account.id)
        user.role = Role.ADMIN
    return account


async def add_user(context: Context) -> None:
    """Store something in the job's transaction."""
    context.session.add(new_user())
    await context.session.flush()


async def count_users(service: Service) -> int:
    """Count what jobs have stored."""
    async with service.database.read_session() as session:
        return len((await session.scalars(select(User))).all())


async def test_registration_sends_a_link(service: Service, mail_server: MailServer) -> None:
    response = await new_client(service.app).post("/api/v1/users", json=ADA)
    [job] = await service.jobs()
    async with service.working():
        await service.finish(job.id)

    assert response.status_code == 202
    assert await service.jobs() == []
    [mail] = mail_server.taken
    assert mail["To"] == "ada@example.com"
    assert mail["Message-ID"].startswith(f"<verification-{job.id}@")
    assert mail["Subject"] == "Confirm your email address"
    assert "Lovelace" not in str(mail)


async def test_request_that_fails_enqueues_nothing(service: Service) -> None:
    member = await new_account(service.app)

    @service.app.post("/verify-in-vain")
    async def verify_in_vain(principal: CurrentPrincipal, session: DbSession) -> None:
        await enqueue(session, send_verification, user_id=principal.id)
        raise ConflictError

    response = await member.client.post("/verify-in-vain")

    assert response.status_code == 409
    assert await service.jobs() == []


async def test_job_is_rolled_back_although_nothing_was_done_before(service: Service) -> None:
    async def enqueue_in_vain() -> None:
        async with service.database.write_session() as session:
            await enqueue(session, send_verification, user_id=uuid4())
            raise LookupError

    with pytest.raises(LookupError):
        await enqueue_in_vain()

    assert await service.jobs() == []


async def test_job_that_raises_is_retried_later(service: Service, new_task: NewTask) -> None:
    errors = [ValueError("not today")]

    async def work(context: Context) -> None:
        await add_user(context)
        if errors:
            raise errors.pop()

    async with service.working():
        job_id = await service.add(new_task(work))
        queued = await service.becomes(job_id, Status.QUEUED)
        assert await count_users(service) == 0
        await service.make_due()
        await service.finish(job_id)

    assert queued.error_type == "ValueError"
    assert 5 <= (queued.run_after - queued.updated_at).total_seconds() <= 15
    assert await count_users(service) == 1


async def test_delay_grows_with_each_attempt(service: Service, new_task: NewTask) -> None:
    job_id = await service.add(new_task(lambda _: 1 / 0))
    await service.execute("UPDATE pgqueuer SET attempts = 2")

    async with service.working():
        queued = await service.becomes(job_id, Status.QUEUED, attempts=3)

    assert 80 <= (queued.run_after - queued.updated_at).total_seconds() <= 240


async def test_failed_job_waits_for_an_administrator(service: Service, new_task: NewTask) -> None:
    is_broken = True

    async def work(_: Context) -> None:
        if is_broken:
            raise ValueError

    admin = await make_admin(service)
    async with service.working():
        job_id = await service.add(new_task(work, max_attempts=2))
        await service.becomes(job_id, Status.QUEUED)
        await service.make_due()
        await service.becomes(job_id, Status.FAILED, attempts=2)
        path = f"/api/v1/jobs/{job_id}"
        failed = (await admin.client.get(path)).json()
    is_broken = False

    retried = await admin.client.post(f"{path}/retry")
    again = await admin.client.post(f"{path}/retry")
    async with service.working():
        await service.finish(job_id)

    assert (failed["status"], failed["error_type"]) == ("failed", "ValueError")
    assert failed["attempts"] == 2
    assert (retried.status_code, retried.json()["status"]) == (202, "queued")
    assert again.status_code == 409
    assert (await admin.client.post(f"{path}/retry")).status_code == 404


async def test_retry_is_logged_after_its_commit(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail_to_commit(_: AsyncSession) -> None:
        raise ConnectionError

    admin = await make_admin(service)
    job_id = await service.add(send_verification, user_id=admin.id)
    await service.execute("UPDATE pgqueuer SET status = 'failed'")
    configure_logging(service.settings.model_copy(update=JSON_LOG))
    url = f"/api/v1/jobs/{job_id}/retry"

    with monkeypatch.context() as patch:
        patch.setattr(AsyncSession, "commit", fail_to_commit)
        assert (await admin.client.post(url)).status_code == 500
    assert "job retried" not in capsys.readouterr().out

    assert (await admin.client.post(url)).status_code == 202
    assert capsys.readouterr().out.count("job retried") == 1


async def test_only_a_failed_job_can_be_retried(session: AsyncSession) -> None:
    job_id = await enqueue(session, send_verification, user_id=uuid4())

    with pytest.raises(ConflictError, match="Only a failed job"):
        await retry_job(session, job_id)


async def test_text_of_exceptions_is_stored_nowhere(
    service: Service, new_task: NewTask, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = uuid4().hex

    async def work(_: Context) -> None:
        raise ValueError(secret)

    configure_logging(service.settings)
    async with service.working():
        job_id = await service.add(new_task(work, max_attempts=2))
        await service.becomes(job_id, Status.QUEUED)
        await service.make_due()
        await service.becomes(job_id, Status.FAILED, attempts=2)

    async with service.database.read_session() as session:
        records = (await session.scalars(select(queue_log.c.traceback))).all()
    printed = capsys.readouterr().out
    assert len([record for record in records if record]) == 2
    assert printed.count("ValueError") > 0
    assert secret not in str(records) + printed


async def test_no_mail_is_sent_to_a_deleted_account(
    service: Service, mail_server: MailServer
) -> None:
    async with service.working():
        await service.finish(await service.add(send_verification, user_id=uuid4()))

    assert mail_server.offered == 0


async def test_job_that_takes_too_long_is_cancelled(service: Service, new_task: NewTask) -> None:
    async with service.working():
        job_id = await service.add(new_task(lambda _: asyncio.Event().wait(), timeout=0.05))

        job = await service.becomes(job_id, Status.QUEUED)

    assert job.error_type == "TimeoutError"


async def test_each_job_is_run_by_one_of_several_workers(
    service: Service, new_task: NewTask
) -> None:
    task = new_task(add_user)
    jobs = [await service.add(task) for _ in range(20)]

    async with service.working(), service.working():
        for job_id in jobs:
            await service.finish(job_id)

    assert await count_users(service) == len(jobs)


async def fail(_: Context) -> None:
    """Raise an exception."""
    raise ValueError


async def take_over(service: Service, job_id: int, taken_over: asyncio.Event) -> None:
    """Let another worker take over the running job, although its worker sends heartbeats."""
    first_worker = await service.worker_of(job_id)

    async def is_taken_over() -> bool:
        await service.lose_heartbeats(first_worker)
        return taken_over.is_set()

    await until(is_taken_over)


@pytest.mark.parametrize("late", [add_user, fail])
@pytest.mark.parametrize("attempts", [0, 99])
async def test_worker_that_lost_the_job_stores_nothing(
    service: Service,
    new_task: NewTask,
    capsys: pytest.CaptureFixture[str],
    late: Body,
    attempts: int,
) -> None:
    configure_logging(service.settings.model_copy(update=JSON_LOG))
    begun, go_on, taken_over = (asyncio.Event() for _ in range(3))

    async def work(context: Context) -> None:
        if not begun.is_set():
            begun.set()
            await go_on.wait()
            await late(context)
        else:
            taken_over.set()
            await add_user(context)

    job_id = await service.add(new_task(work, max_attempts=100))
    await service.execute("UPDATE pgqueuer SET attempts = :attempts", attempts=attempts)
    async with service.working():
        await until_set(begun)
        async with service.working():
            await take_over(service, job_id, taken_over)
            await service.finish(job_id)
        go_on.set()

    assert [line["labels"]["outcome"] for line in job_lines(capsys)] == ["done", "lease_lost"]
    assert await count_users(service) == 1
    assert await service.jobs() == []


@pytest.mark.parametrize("late", [add_user, fail])
async def test_worker_that_lost_a_running_job_does_not_interrupt_it(
    service: Service, new_task: NewTask, late: Body
) -> None:
    begun, go_on, taken_over, finish = (asyncio.Event() for _ in range(4))

    async def work(context: Context) -> None:
        if not begun.is_set():
            begun.set()
            await go_on.wait()
            await late(context)
        else:
            taken_over.set()
            await finish.wait()
            await add_user(context)

    async with AsyncExitStack() as first_worker:
        await first_worker.enter_async_context(service.working())
        job_id = await service.add(new_task(work))
        await until_set(begun)
        async with service.working():
            await take_over(service, job_id, taken_over)
            go_on.set()
            await first_worker.aclose()
            assert [(job.status, job.attempts) for job in await service.jobs()] == [("picked", 1)]
            finish.set()
            await service.finish(job_id)

    assert await count_users(service) == 1


async def test_job_that_fails_without_the_database_is_retried(
    service: Service, new_task: NewTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ConnectionRefusedError

    async def work(_: Context) -> None:
        monkeypatch.setattr(service.database, "write_session", refuse)
        raise ValueError

    job_id = await service.add(new_task(work))
    async with service.working():
        queued = await service.becomes(job_id, Status.QUEUED)

    assert queued.error_type == "ValueError"


async def test_job_that_no_worker_survives_fails(service: Service, new_task: NewTask) -> None:
    job_id = await service.add(new_task(add_user, max_attempts=2))
    for _ in range(2):
        await service.execute(PICKED, id=job_id)

    async with service.working():
        failed = await service.becomes(job_id, Status.FAILED)

    assert failed.error_type == "WorkerLostError"
    assert await count_users(service) == 0


async def test_stop_releases_jobs_that_take_too_long(
    new_service: NewService, new_task: NewTask
) -> None:
    async with new_service(graceful_timeout=1) as service:
        task = new_task(lambda _: asyncio.Event().wait())
        async with service.working():
            job_id = await service.add(task)
            await service.becomes(job_id, Status.PICKED)

        job = await service.job(job_id)

    assert (job.status, job.error_type) == (Status.QUEUED, "CancelledError")


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (TERMINATE, "SELECT 1"),
        ("ALTER TABLE pgqueuer RENAME TO away", "ALTER TABLE away RENAME TO pgqueuer"),
    ],
)
async def test_worker_survives_an_outage_of_the_database(
    service: Service, new_task: NewTask, capsys: pytest.CaptureFixture[str], begin: str, end: str
) -> None:
    configure_logging(service.settings)
    database = service.database
    task = new_task(add_user)
    printed = ""

    async def is_waiting() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "worker waits for the database" in printed

    async with service.working():
        await service.finish(await service.add(task))
        await service.execute(begin)
        await database.read_engine.dispose()
        await database.write_engine.dispose()
        await until(is_waiting)
        await service.execute(end)
        await service.finish(await service.add(task))

    assert printed.count("worker waits for the database") == 1
    assert await count_users(service) == 2


async def test_log_line_of_a_job_names_request_and_user(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    member = await new_account(service.app)
    configure_logging(service.settings.model_copy(update=JSON_LOG))

    @service.app.post("/verify-again")
    async def verify_again(principal: CurrentPrincipal, session: DbSession) -> int:
        return await enqueue(session, send_verification, user_id=principal.id)

    response = await member.client.post("/verify-again", headers={"X-Request-ID": "the-request"})
    async with service.working():
        await service.finish(response.json())

    [line] = job_lines(capsys)
    assert (line["http.request.id"], line["user.id"]) == ("the-request", str(member.id))
    assert line["event.duration"] > 0
    labels = {"task": "send_verification", "job_id": str(response.json()), "outcome": "done"}
    assert line["labels"] == {**labels, "attempt": 1}


async def test_administrators_see_jobs_and_others_do_not(service: Service) -> None:
    admin = await make_admin(service)
    jobs = [await service.add(send_verification, user_id=admin.id) for _ in range(3)]

    pages = await read_pages(admin.client, "/api/v1/jobs", limit=2, status="queued")
    member = await new_account(service.app)

    assert [job["id"] for page in pages for job in page] == jobs[::-1]
    none = await admin.client.get("/api/v1/jobs", params={"task": "purge"})
    assert none.json()["items"] == []
    assert (await admin.client.get("/api/v1/jobs/9999")).status_code == 404
    assert (await admin.client.get(f"/api/v1/jobs/{2**63}")).status_code == 422
    for path in ("/api/v1/jobs", f"/api/v1/jobs/{jobs[0]}"):
        assert (await member.client.get(path)).status_code == 403
    assert (await member.client.post(f"/api/v1/jobs/{jobs[0]}/retry")).status_code == 403


async def test_schema_of_the_queue_is_the_one_of_the_installed_version(
    new_database: NewDatabase,
) -> None:
    async with new_database() as url:
        connection = await asyncpg.connect(url)
        plan = await Queries(AsyncpgDriver(connection)).plan_upgrade()
        await connection.close()

    # If not, `pgq upgrade --plan` prints what a new migration has to execute.
    assert plan.statements == ()
