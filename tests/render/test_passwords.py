"""Passwords: bytes, hashing and its queue."""

import asyncio
import threading
from dataclasses import dataclass
from uuid import uuid4

import bcrypt
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from orders.auth.models import User
from orders.auth.passwords import PasswordHasher
from orders.exceptions import OverloadedError
from orders.main import create_app
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from support import (
    NOWHERE,
    PASSWORD,
    Account,
    NewApp,
    NewDatabase,
    log_in,
    new_client,
    registration,
    settings_for,
)


@dataclass(frozen=True)
class PausedHashing:
    """Comparisons of passwords that wait until they are resumed."""

    started: threading.Semaphore
    resume: threading.Event

    async def wait_for_start(self) -> None:
        """Wait until a comparison has started."""
        assert await asyncio.to_thread(self.started.acquire, timeout=60)


EMAIL = "ada.lovelace@example.com"


async def test_email_address_is_a_weak_password(client: AsyncClient) -> None:
    name = uuid4().hex
    email = f"{name}@example.com"

    for password in (name, email):
        body = registration(email=email, password=password)
        assert (await client.post("/api/v1/users", json=body)).status_code == 422


@pytest.mark.parametrize(
    "password",
    [
        "twelve chars",
        "Bücher für Ännchen und Özgür aus Köln: nützlich und dafür süß",
        f"{PASSWORD} " * 3 + "end",
    ],
    ids=["shortest", "longest in bytes", "longest"],
)
async def test_every_byte_of_a_password_counts(client: AsyncClient, password: str) -> None:
    await client.post("/api/v1/users", json=registration(email=EMAIL, password=password))

    guesses = (password, password[:-1], f"{password}x", f"{password}\0", password.title())
    statuses = [(await log_in(client, EMAIL, guess)).status_code for guess in guesses]
    assert statuses == [200, 400, 400, 400, 400]


async def test_login_rehashes_a_password_with_another_cost(
    new_app: NewApp, member: Account, session: AsyncSession
) -> None:
    hashes = []
    async with new_client(new_app(bcrypt_rounds=5)) as client:
        for _ in range(3):
            hashes.append(await session.scalar(select(User.password_hash)))
            assert (await log_in(client, member.email)).status_code == 200

    assert [hashed[:7] for hashed in hashes if hashed] == ["$2b$04$", "$2b$05$", "$2b$05$"]
    assert hashes[1] == hashes[2]


@pytest.fixture
def paused_hashing(monkeypatch: pytest.MonkeyPatch) -> PausedHashing:
    """Pause the comparison of passwords."""
    paused = PausedHashing(threading.Semaphore(0), threading.Event())
    check_password = bcrypt.checkpw

    def wait_and_check(password: bytes, password_hash: bytes) -> bool:
        paused.started.release()
        assert paused.resume.wait(60)
        return check_password(password, password_hash)

    monkeypatch.setattr(bcrypt, "checkpw", wait_and_check)
    return paused


async def test_hashing_does_not_block_other_requests(
    paused_hashing: PausedHashing, new_database: NewDatabase
) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url, database_pool_size=1))
        async with (
            app.router.lifespan_context(app),
            new_client(app) as client,
            asyncio.TaskGroup() as group,
        ):
            logins = [group.create_task(log_in(client, EMAIL)) for _ in range(2)]
            await paused_hashing.wait_for_start()
            response = await client.get("/health/ready")
            is_second_running = paused_hashing.started.acquire(blocking=False)
            paused_hashing.resume.set()

    assert response.status_code == 200
    assert not is_second_running  # one comparison at a time
    assert [login.result().status_code for login in logins] == [400, 400]


async def test_callers_are_served_in_turn() -> None:
    hasher, served = PasswordHasher(settings_for(NOWHERE)), []

    async def verify(caller: str) -> None:
        await hasher.verify(PASSWORD, None, caller)
        served.append(caller)

    await asyncio.gather(*map(verify, "aaaaaabb"))

    assert "".join(served) == "ababaaaa"


@pytest.mark.parametrize(
    "callers",
    [["a"] * 25 + ["b", "a"], [str(number) for number in range(101)]],
    ids=["of one caller", "of all"],
)
async def test_queue_of_hashing_is_bounded(callers: list[str]) -> None:
    hasher = PasswordHasher(settings_for(NOWHERE))

    checks = (hasher.verify(PASSWORD, None, caller) for caller in callers)
    *results, error = await asyncio.gather(*checks, return_exceptions=True)

    assert results == [False] * (len(callers) - 1)
    assert isinstance(error, OverloadedError)
    assert error.retry_after == 5
    assert not await hasher.verify(PASSWORD, None, callers[-1])  # the queue is empty again


@pytest.mark.parametrize("change", [{"password_hash": "$2b$04$"}, {"is_active": False}], ids=str)
async def test_login_fails_when_the_account_changes_meanwhile(
    paused_hashing: PausedHashing, live_app: FastAPI, change: dict[str, object]
) -> None:
    async with new_client(live_app) as client, asyncio.TaskGroup() as group:
        await client.post("/api/v1/users", json=registration(email=EMAIL))
        login = group.create_task(log_in(client, EMAIL))
        await paused_hashing.wait_for_start()
        async with live_app.state.services.database.write_session() as session:
            await session.execute(update(User).values(**change))
        paused_hashing.resume.set()

    assert login.result().json()["error"] == "invalid_grant"
