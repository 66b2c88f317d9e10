"""What becomes of a job, from the request that asks for it to its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from taskiq import AckableMessage
from taskiq_redis import RedisStreamBroker

from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentPrincipal,
)
from {{ cookiecutter.package_name }}.auth.models import Role, User
from {{ cookiecutter.package_name }}.cache.client import Client
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.dependencies import DbSession
from {{ cookiecutter.package_name }}.exceptions import ConflictError
from {{ cookiecutter.package_name }}.logging import configure_logging
from {{ cookiecutter.package_name }}.worker import runner
from {{ cookiecutter.package_name }}.worker.models import Job, State
from {{ cookiecutter.package_name }}.worker.outbox import (
    STREAM,
    Context,
    enqueue,
)
from {{ cookiecutter.package_name }}.worker.service import retry_job
from {{ cookiecutter.package_name }}.worker.tasks import send_welcome

from support import Account, new_account, new_client, new_user, read_pages, registration
from worker_support import Body, MailServer, NewService, NewTask, Service, until

ADA = registration(full_name="Ada Lovelace")


async def make_admin(service: Service) -> Account:
    """An administrator of the service."""
    account = await new_account(service.app)
    async with service.app.state.services.database.write_session() as session:
        user = await session.get_one(User, account.id)
        user.role = Role.ADMIN
    return account


async def add_user(context: Context) -> None:
    """Do something that can be seen in the database."""
    context.session.add(new_user())
    await context.session.flush()


async def count_users(service: Service) -> int:
    """How often that has been done."""
    async with service.app.state.services.database.read_session() as session:
        return len((await session.scalars(select(User))).all())


async def is_read(redis: Client) -> bool:
    """Whether workers have done with every message."""
    return int(await redis.xlen(STREAM)) == 0


async def test_registration_sends_a_welcome(service: Service, mail_server: MailServer) -> None:
    async with service.working():
        response = await new_client(service.app).post("/api/v1/users", json=ADA)
        [job] = await service.jobs()
        done = await service.becomes(job.id, State.DONE)

    assert response.status_code == 201
    assert done.arguments == {}
    [mail] = mail_server.taken
    assert mail["To"] == "ada@example.com"
    assert mail["Message-ID"].startswith(f"<{job.id}@")
    assert "Your account is ready." in str(mail)
    assert "Lovelace" not in str(mail)


async def test_request_that_fails_asks_for_nothing(service: Service, redis: Client) -> None:
    client = new_client(service.app)
    await client.post("/api/v1/users", json=ADA)

    response = await client.post("/api/v1/users", json=ADA)

    assert response.status_code == 409
    assert len(await service.jobs()) == await redis.xlen(STREAM) == 1


async def test_crash_between_commit_and_sending_is_made_up_for(
    service: Service, mail_server: MailServer, redis: Client
) -> None:
    await new_client(service.app).post("/api/v1/users", json=ADA)
    await redis.flushdb()  # as if the process had died before it sent anything

    async with service.working():
        [job] = await service.jobs()
        await service.send_again()
        await service.becomes(job.id, State.DONE)

    assert len(mail_server.taken) == 1


async def test_request_succeeds_without_redis(new_service: NewService) -> None:
    url = f"unix:///nowhere/{uuid4()}.sock"
    async with new_service(redis_url=url, redis_timeout=0.1) as service:
        response = await new_client(service.app).post("/api/v1/users", json=ADA)

        assert response.status_code == 201
        assert [job.state for job in await service.jobs()] == [State.QUEUED]


async def test_job_that_goes_wrong_is_tried_again_later(
    service: Service, new_task: NewTask
) -> None:
    wrong = [ValueError("not today")]

    async def work(context: Context) -> None:
        await add_user(context)
        if wrong:
            raise wrong.pop()

    async with service.working():
        job_id = await service.add(new_task(work))
        queued = await service.becomes(job_id, State.QUEUED)
        assert await count_users(service) == 0
        await service.send_again()
        await service.becomes(job_id, State.DONE, attempts=2)

    assert queued.error_type == "ValueError"
    assert queued.started_at is not None
    assert 5 <= (queued.due_at - queued.started_at).total_seconds() <= 75
    assert await count_users(service) == 1


async def test_failed_job_waits_for_an_administrator(service: Service, new_task: NewTask) -> None:
    broken = True

    async def work(_: Context) -> None:
        if broken:
            raise ValueError

    admin = await make_admin(service)
    async with service.working():
        job_id = await service.add(new_task(work, attempts=2))
        await service.becomes(job_id, State.QUEUED)
        await service.send_again()
        await service.becomes(job_id, State.FAILED, attempts=2)
        path = f"/api/v1/jobs/{job_id}"
        failed = (await admin.client.get(path)).json()
        broken = False

        retried = await admin.client.post(f"{path}/retry")
        await service.becomes(job_id, State.DONE)

    assert (failed["state"], failed["error_type"]) == ("failed", "ValueError")
    assert failed["attempts"] == 2
    assert failed["finished_at"] is not None
    assert (retried.status_code, retried.json()["state"]) == (202, "queued")
    assert (await admin.client.post(f"{path}/retry")).status_code == 409


async def test_job_is_retried_only_if_it_has_still_failed(session: AsyncSession) -> None:
    job = Job(task="purge", state=State.FAILED, due_at=utcnow())
    session.add(job)
    await session.flush()
    meanwhile = update(Job).values(state=State.QUEUED)
    await session.execute(meanwhile.execution_options(synchronize_session=False))

    with pytest.raises(ConflictError, match="Only a failed job"):
        await retry_job(session, job.id)


async def test_account_that_is_gone_gets_no_mail(service: Service, mail_server: MailServer) -> None:
    async with service.working():
        job_id = await service.add(send_welcome, user_id=uuid4())
        await service.becomes(job_id, State.DONE)

    assert mail_server.offered == 0


async def test_messages_that_come_twice_do_not_hasten_the_next_attempt(
    service: Service, new_task: NewTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "FIRST_DELAY", 600)
    tried = []

    async def fail(context: Context) -> None:
        tried.append(context.job_id)
        raise LookupError

    job_id = await service.add(new_task(fail))
    await service.app.state.outbox.send([(job_id, "chore")] * 5)
    other = await service.add(new_task(fail))

    async with service.working():
        await service.becomes(other, State.QUEUED)

    assert tried.count(job_id) == 1


async def test_job_that_takes_too_long_is_ended(service: Service, new_task: NewTask) -> None:
    async with service.working():
        job_id = await service.add(new_task(lambda _: asyncio.Event().wait(), timeout=0.05))

        job = await service.becomes(job_id, State.QUEUED)

    assert job.error_type == "TimeoutError"


async def test_job_delivered_several_times_is_done_once(
    service: Service, new_task: NewTask, redis: Client
) -> None:
    job_id = await service.add(new_task(add_user))
    await service.app.state.outbox.send([(job_id, "chore")] * 2)
    assert await redis.xlen(STREAM) == 3

    async with service.working():
        await until(lambda: is_read(redis))

    assert await count_users(service) == 1


async def fail(_: Context) -> None:
    """Go wrong."""
    raise ValueError


@pytest.mark.parametrize("late", [add_user, fail])
async def test_worker_that_was_given_up_stores_nothing(
    service: Service, new_task: NewTask, redis: Client, late: Body
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(context: Context) -> None:
        if not begun.is_set():
            begun.set()
            await go_on.wait()
            await late(context)
        else:
            await add_user(context)

    async with service.working():
        job_id = await service.add(new_task(work))
        await begun.wait()
        await service.send_again()
        await service.becomes(job_id, State.DONE, attempts=2)
        go_on.set()
        await until(lambda: is_read(redis))

    assert await count_users(service) == 1


async def test_job_that_no_worker_survives_fails(service: Service, new_task: NewTask) -> None:
    job_id = await service.add(new_task(add_user, attempts=2))
    async with service.app.state.services.database.write_session() as session:
        job = await session.get_one(Job, job_id)
        job.attempts = 2

    async with service.working():
        failed = await service.becomes(job_id, State.FAILED, attempts=3)

    assert failed.error_type == "WorkerLostError"


async def test_stop_gives_back_what_takes_too_long(
    new_service: NewService, new_task: NewTask
) -> None:
    async with new_service(graceful_timeout=1) as service:
        task = new_task(lambda _: asyncio.Event().wait())
        async with service.working():
            job_id = await service.add(task)
            await service.becomes(job_id, State.RUNNING)

        job = await service.job(job_id)

    assert (job.state, job.attempts) == (State.QUEUED, 0)


async def test_worker_stops_when_a_cancellation_gets_lost(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, lost = asyncio.Event(), asyncio.Event()

    async def listen(_: RedisStreamBroker) -> AsyncIterator[AckableMessage]:
        try:
            reading.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()
        yield AckableMessage(data=b"", ack=lambda: None)

    monkeypatch.setattr(RedisStreamBroker, "listen", listen)
    async with service.working():
        await reading.wait()

    assert lost.is_set()


async def test_worker_outlives_a_redis_that_loses_everything(
    service: Service, new_task: NewTask, redis: Client
) -> None:
    task = new_task(add_user)
    async with service.working():
        await service.becomes(await service.add(task), State.DONE)
        await redis.flushdb()

        await service.becomes(await service.add(task), State.DONE)


async def test_worker_outlives_a_database_that_goes_away(
    service: Service, new_task: NewTask, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(service.app.state.services.settings)
    engine = service.app.state.services.database.write_engine
    said = ""

    async def put_off() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "job put off" in said

    job_id = await service.add(new_task(add_user))
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE jobs RENAME TO away"))
    async with service.working():
        await until(put_off)
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE away RENAME TO jobs"))
        await service.send_again()
        await service.becomes(job_id, State.DONE)


async def test_log_line_of_a_job_names_request_and_user(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    member = await new_account(service.app)
    settings = service.app.state.services.settings
    configure_logging(settings.model_copy(update={"log_level": "INFO", "log_format": "json"}))

    @service.app.post("/welcome-again")
    async def ask(principal: CurrentPrincipal, session: DbSession) -> None:
        enqueue(session, send_welcome, user_id=principal.id)

    async with service.working():
        await member.client.post("/welcome-again", headers={"X-Request-ID": "the-request"})
        [job] = await service.jobs()
        await service.becomes(job.id, State.DONE)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [line] = [line for line in lines if line["message"] == "job"]
    assert (line["http.request.id"], line["user.id"]) == ("the-request", str(member.id))
    assert line["event.duration"] > 0
    labels = {"task": "send_welcome", "job_id": str(job.id), "outcome": "done", "attempt": 1}
    assert line["labels"] == labels


async def test_administrators_see_jobs_and_others_do_not(service: Service) -> None:
    admin = await make_admin(service)
    jobs = [await service.add(send_welcome, user_id=admin.id) for _ in range(3)]
    member = await new_account(service.app)

    pages = await read_pages(admin.client, "/api/v1/jobs", limit=2, state="queued")

    ids = [job["id"] for page in pages for job in page]
    assert ids == [str(job) for job in reversed(jobs)]
    none = await admin.client.get("/api/v1/jobs", params={"task": "purge"})
    assert none.json()["items"] == []
    assert (await admin.client.get(f"/api/v1/jobs/{uuid4()}")).status_code == 404
    for path in ("/api/v1/jobs", f"/api/v1/jobs/{jobs[0]}"):
        assert (await member.client.get(path)).status_code == 403
    assert (await member.client.post(f"/api/v1/jobs/{jobs[0]}/retry")).status_code == 403
