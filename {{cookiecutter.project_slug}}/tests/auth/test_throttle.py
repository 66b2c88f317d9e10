"""The brake on guessing passwords."""

import asyncio

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response

from {{ cookiecutter.package_name }}.throttle import Limit, MemoryThrottle

from support import PASSWORD, Account, NewApp, Register, log_in, new_client, registration

ME = "/api/v1/users/me"
WRONG = "a wrong password"
NEW_PASSWORD = "difference-engine-1822"


def assert_braked(response: Response) -> None:
    assert response.status_code == 429
    assert response.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(response.headers["Retry-After"]) <= 301


async def guess(client: AsyncClient, email: str, times: int = 10) -> None:
    """Try a wrong password, without being braked yet."""
    for _ in range(times):
        assert (await log_in(client, email, WRONG)).status_code == 400


async def test_guessing_is_braked(client: AsyncClient, member: Account, register: Register) -> None:
    other, login = await register(), {"email": member.email, "password": PASSWORD}
    await guess(client, f" {member.email.upper()}")
    await guess(client, "nobody@example.com")

    assert_braked(await log_in(client, member.email))
    assert_braked(await log_in(client, "nobody@example.com"))
    assert_braked(await client.post("/api/v1/auth/session", json=login))
    assert (await log_in(client, other.email)).status_code == 200


async def test_right_password_forgives_the_wrong_ones(client: AsyncClient, member: Account) -> None:
    for _ in range(2):
        await guess(client, member.email, 9)
        assert (await log_in(client, member.email)).status_code == 200


async def test_stranger_cannot_lock_the_owner_out(app: FastAPI, member: Account) -> None:
    stranger, owner = (new_client(app, address=f"192.0.2.{host}") for host in (1, 2))
    await guess(stranger, member.email)

    assert_braked(await log_in(stranger, member.email))
    assert (await log_in(owner, member.email)).status_code == 200
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await member.client.put(f"{ME}/password", json=change)).status_code == 204


async def test_guesses_from_many_addresses_spare_the_address_of_the_owner(
    new_app: NewApp, member: Account
) -> None:
    app = new_app(login_attempts=1, login_attempts_per_account=2)
    home, elsewhere, *strangers = (new_client(app, address=f"192.0.2.{host}") for host in range(5))
    assert (await log_in(home, member.email)).status_code == 200
    for stranger in strangers[:2]:
        await guess(stranger, member.email, times=1)

    assert_braked(await log_in(strangers[2], member.email, WRONG))
    assert_braked(await log_in(elsewhere, member.email))
    assert (await log_in(home, member.email)).status_code == 200


async def test_stolen_token_does_not_help_to_guess(client: AsyncClient, member: Account) -> None:
    proof = {"current_password": WRONG, "new_password": NEW_PASSWORD}
    answers = [await member.client.put(f"{ME}/password", json=proof) for _ in range(11)]
    deletion = await member.client.request("DELETE", ME, json={"password": WRONG})

    assert [answer.status_code for answer in answers[:-1]] == [403] * 10
    assert_braked(answers[-1])
    assert_braked(deletion)
    assert (await log_in(client, member.email)).status_code == 200


async def test_changed_password_resets_the_attempts(new_app: NewApp, member: Account) -> None:
    app = new_app(login_attempts=2)
    password, statuses = PASSWORD, []
    for new in (NEW_PASSWORD, PASSWORD):
        login = await log_in(new_client(app), member.email, password)
        client = new_client(app, login.json()["access_token"])
        for current in (WRONG, password):
            change = {"current_password": current, "new_password": new}
            statuses.append((await client.put(f"{ME}/password", json=change)).status_code)
        password = new

    assert statuses == [403, 204, 403, 204]


async def test_guesses_at_the_same_time_are_counted(live_app: FastAPI) -> None:
    async with new_client(live_app) as client:
        guesses = (log_in(client, "nobody@example.com", WRONG) for _ in range(15))
        responses = await asyncio.gather(*guesses)

    assert sorted(response.status_code for response in responses) == [400] * 10 + [429] * 5


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:f::2", "2001:db8:0:2::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("fe80::1%eth0", "fe80::2%eth1", "unix:" + "x" * 100),
    ],
)
async def test_address_cannot_try_many_accounts(
    new_app: NewApp, first: str, same: str, other: str
) -> None:
    app = new_app(login_attempts_per_address=1)

    async def sign_up(address: str, email: str) -> list[int]:
        client = new_client(app, address=address)
        registered = await client.post("/api/v1/users", json=registration(email=email))
        return [registered.status_code, (await log_in(client, email)).status_code]

    assert await sign_up(first, "first@example.com") == [201, 200]
    assert await sign_up(same, "same@example.com") == [429, 429]
    assert await sign_up(other, "other@example.com") == [201, 200]


async def test_window_slides() -> None:
    moments = (1000, 1004, 1005, 1009.5, 1010, 1010, 1014)
    throttle = MemoryThrottle(clock=iter(moments).__next__)
    waits = [await throttle.attempt("key", Limit(2, 10)) for _ in moments]

    assert waits == [0, 0, 5, 0.5, 0, 4, 0]


async def test_flood_of_names_pushes_out_the_oldest() -> None:
    throttle = MemoryThrottle(max_keys=2)
    waits = [await throttle.attempt(key, Limit(1, 60)) for key in "abacaba"]

    assert [wait > 0 for wait in waits] == [False, False, True, False, True, False, True]
