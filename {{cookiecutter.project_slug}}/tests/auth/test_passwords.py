"""Passwords: which are taken, what a wrong one tells, and what hashing costs the others."""

import asyncio
import json
import os
import threading
from typing import Any
from uuid import uuid4

import bcrypt
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth import passwords
from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.exceptions import OverloadedError
from {{ cookiecutter.package_name }}.main import create_app

from support import (
    PASSWORD,
    Account,
    NewApp,
    NewDatabase,
    Register,
    log_in,
    new_client,
    registration,
    settings_for,
)

Gate = tuple[threading.Semaphore, threading.Event]

EMAIL = "ada.lovelace@example.com"
WEAK = ["elevenchars", "é" * 37, "x" * 73, "analytical\0engine", "analytical\ud800engine"]
GUESSABLE = [EMAIL, EMAIL.upper(), "Ada.Lovelace", "1qaz2wsx3edc", "1QAZ2WSX3EDC"]


@pytest.mark.parametrize("password", WEAK + GUESSABLE, ids=ascii)
async def test_weak_password_is_refused(
    client: AsyncClient, register: Register, password: str
) -> None:
    def body(**members: str) -> dict[str, Any]:
        return {"content": json.dumps(members), "headers": {"Content-Type": "application/json"}}

    sent = body(**registration(email=EMAIL, password=password))
    new = await client.post("/api/v1/users", **sent)
    member = await register(email=EMAIL)
    sent = body(current_password=PASSWORD, new_password=password)
    changed = await member.client.put("/api/v1/users/me/password", **sent)

    for response, pointer in ((new, "/body/password"), (changed, "/body/new_password")):
        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
        assert password not in response.text


async def test_email_of_any_length_is_a_weak_password(client: AsyncClient) -> None:
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
async def test_password_counts_to_its_last_byte(client: AsyncClient, password: str) -> None:
    await client.post("/api/v1/users", json=registration(email=EMAIL, password=password))

    guesses = (password, password[:-1], f"{password}x", f"{password}\0", password.title())
    answers = [(await log_in(client, EMAIL, guess)).status_code for guess in guesses]
    assert answers == [200, 400, 400, 400, 400]


async def test_refused_new_password_costs_no_hash(
    member: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(bcrypt, "checkpw")
    monkeypatch.delattr(bcrypt, "hashpw")
    change = {"current_password": PASSWORD, "new_password": "1qaz2wsx3edc"}

    responses = [
        await member.client.put("/api/v1/users/me/password", json=change) for _ in range(11)
    ]

    assert {response.status_code for response in responses} == {422}


async def test_login_renews_a_hash_of_another_cost(
    new_app: NewApp, member: Account, session: AsyncSession
) -> None:
    hashes = []
    async with new_client(new_app(bcrypt_rounds=5)) as client:
        for _ in range(3):
            hashes.append(await session.scalar(select(User.password_hash)))
            assert (await log_in(client, member.email)).status_code == 200

    assert [hashed[:7] for hashed in hashes if hashed] == ["$2b$04$", "$2b$05$", "$2b$05$"]
    assert hashes[1] == hashes[2]


async def test_no_answer_tells_whether_an_account_exists(
    client: AsyncClient, register: Register, session: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, retired = await register(), await register()
    await session.execute(update(User).where(User.id == retired.id).values(is_active=False))
    await session.commit()
    work = []
    check = bcrypt.checkpw

    def spy(password: bytes, hashed: bytes) -> bool:
        work.append(hashed[:7])
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", spy)
    monkeypatch.delattr(bcrypt, "hashpw")
    told = []
    for email in ("nobody@example.com", member.email, retired.email):
        for password in ("a wrong password", PASSWORD + "x" * 72, PASSWORD):
            if (email, password) != (member.email, PASSWORD):
                response = await log_in(client, email, password)
                told.append((response.status_code, response.text, *work))
                work.clear()

    assert set(told) == {(400, told[0][1], b"$2b$04$")}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """What counts the checks of passwords that wait, on one processor, and what lets them go."""
    arrivals, opened, check = threading.Semaphore(0), threading.Event(), bcrypt.checkpw

    def wait_and_check(password: bytes, hashed: bytes) -> bool:
        arrivals.release()
        assert opened.wait(60)
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", wait_and_check)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    return arrivals, opened


async def test_logins_that_wait_hold_nobody_up(gate: Gate, new_database: NewDatabase) -> None:
    arrivals, opened = gate
    async with new_database() as url:
        app = create_app(settings_for(url, database_pool_size=1))
        async with (
            app.router.lifespan_context(app),
            new_client(app) as client,
            asyncio.TaskGroup() as group,
        ):
            logins = [group.create_task(log_in(client, EMAIL)) for _ in range(2)]
            assert await asyncio.to_thread(arrivals.acquire, timeout=60)
            response = await client.get("/health/ready")
            another_arrived = arrivals.acquire(blocking=False)
            opened.set()

    assert response.status_code == 200
    assert not another_arrived  # as many hashes at a time as processors
    assert [login.result().status_code for login in logins] == [400, 400]


async def test_callers_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    hasher, served = passwords.PasswordHasher(rounds=4), []

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
async def test_queue_is_bounded(callers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    hasher = passwords.PasswordHasher(rounds=4)

    checks = (hasher.verify(PASSWORD, None, caller) for caller in callers)
    *served, refused = await asyncio.gather(*checks, return_exceptions=True)

    assert served == [False] * (len(callers) - 1)
    assert isinstance(refused, OverloadedError)
    assert refused.retry_after == 5
    assert not await hasher.verify(PASSWORD, None, callers[-1])  # there is room again


@pytest.mark.parametrize("change", [{"password_hash": "$2b$04$"}, {"is_active": False}], ids=str)
async def test_login_proves_the_account_as_it_is_in_the_end(
    gate: Gate, live_app: FastAPI, change: dict[str, object]
) -> None:
    arrivals, opened = gate
    async with new_client(live_app) as client, asyncio.TaskGroup() as group:
        await client.post("/api/v1/users", json=registration(email=EMAIL))
        login = group.create_task(log_in(client, EMAIL))
        assert await asyncio.to_thread(arrivals.acquire, timeout=60)
        async with live_app.state.services.database.write_session() as session:
            await session.execute(update(User).values(**change))
        opened.set()

    assert login.result().json()["error"] == "invalid_grant"
