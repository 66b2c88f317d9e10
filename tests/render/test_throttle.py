"""The limits on login attempts from many addresses and for many accounts."""

import asyncio

import pytest
from fastapi import FastAPI
from orders.throttle import Limit, Throttle
from support import (
    NEW_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    NewApp,
    assert_throttled,
    change_password,
    fail_to_log_in,
    log_in,
    new_client,
    registration,
)


async def test_distributed_attempts_do_not_lock_out_a_known_address(
    new_app: NewApp, member: Account
) -> None:
    app = new_app(login_attempts=1, login_attempts_per_account=2)
    home, elsewhere, *attackers = (new_client(app, address=f"192.0.2.{host}") for host in range(5))
    assert (await log_in(home, member.email)).status_code == 200
    for attacker in attackers[:2]:
        await fail_to_log_in(attacker, member.email, times=1)

    assert_throttled(await log_in(attackers[2], member.email, WRONG_PASSWORD))
    assert_throttled(await log_in(elsewhere, member.email))
    assert (await log_in(home, member.email)).status_code == 200


async def test_password_change_resets_the_limit(new_app: NewApp, member: Account) -> None:
    app = new_app(login_attempts=2)
    password, statuses = PASSWORD, []
    for new in (NEW_PASSWORD, PASSWORD):
        login = await log_in(new_client(app), member.email, password)
        client = new_client(app, login.json()["access_token"])
        for current in (WRONG_PASSWORD, password):
            response = await change_password(client, current, new)
            statuses.append(response.status_code)
        password = new

    assert statuses == [403, 204, 403, 204]


async def test_concurrent_attempts_are_counted(live_app: FastAPI) -> None:
    async with new_client(live_app) as client:
        attempts = (log_in(client, "unknown@example.com", WRONG_PASSWORD) for _ in range(15))
        responses = await asyncio.gather(*attempts)

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
async def test_attempts_of_an_address_are_limited(
    new_app: NewApp, first: str, same: str, other: str
) -> None:
    app = new_app(login_attempts_per_address=1)

    async def register_and_log_in(address: str, email: str) -> list[int]:
        client = new_client(app, address=address)
        registered = await client.post("/api/v1/users", json=registration(email=email))
        return [registered.status_code, (await log_in(client, email)).status_code]

    assert await register_and_log_in(first, "first@example.com") == [202, 200]
    assert await register_and_log_in(same, "same@example.com") == [429, 429]
    assert await register_and_log_in(other, "other@example.com") == [202, 200]


async def test_oldest_keys_are_evicted() -> None:
    throttle = Throttle(max_keys=2)
    waits = [await throttle.attempt(key, Limit(1, 60)) for key in "abacaba"]

    assert [wait > 0 for wait in waits] == [False, False, True, False, True, False, True]
