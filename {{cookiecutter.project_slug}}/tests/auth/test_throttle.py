"""The limits on login attempts."""

from fastapi import FastAPI
from httpx2 import AsyncClient

from {{ cookiecutter.package_name }}.throttle import Limit, Throttle

from support import (
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    Register,
    assert_throttled,
    change_password,
    delete_account,
    fail_to_log_in,
    log_in,
    new_client,
)


async def test_login_attempts_are_limited(
    client: AsyncClient, member: Account, register: Register
) -> None:
    other, login = await register(), {"email": member.email, "password": PASSWORD}
    await fail_to_log_in(client, f" {member.email.upper()}")
    await fail_to_log_in(client, "unknown@example.com")

    assert_throttled(await log_in(client, member.email))
    assert_throttled(await log_in(client, "unknown@example.com"))
    assert_throttled(await client.post("/api/v1/auth/session", json=login))
    assert (await log_in(client, other.email)).status_code == 200


async def test_login_resets_the_limit(client: AsyncClient, member: Account) -> None:
    for _ in range(2):
        await fail_to_log_in(client, member.email, 9)
        assert (await log_in(client, member.email)).status_code == 200


async def test_attempts_of_another_address_do_not_lock_out_the_owner(
    app: FastAPI, member: Account
) -> None:
    attacker, owner = (new_client(app, address=f"192.0.2.{host}") for host in (1, 2))
    await fail_to_log_in(attacker, member.email)

    assert_throttled(await log_in(attacker, member.email))
    assert (await log_in(owner, member.email)).status_code == 200
    assert (await change_password(member.client)).status_code == 204


async def test_attempts_to_confirm_the_password_are_limited(
    client: AsyncClient, member: Account
) -> None:
    responses = [await change_password(member.client, WRONG_PASSWORD) for _ in range(11)]
    deletion = await delete_account(member.client, WRONG_PASSWORD)

    assert [response.status_code for response in responses[:-1]] == [403] * 10
    assert_throttled(responses[-1])
    assert_throttled(deletion)
    assert (await log_in(client, member.email)).status_code == 200


async def test_attempts_are_limited_in_a_sliding_window() -> None:
    times = (1000, 1004, 1005, 1009.5, 1010, 1010, 1014)
    throttle = Throttle(clock=iter(times).__next__)
    waits = [await throttle.attempt("key", Limit(2, 10)) for _ in times]

    assert waits == [0, 0, 5, 0.5, 0, 4, 0]
