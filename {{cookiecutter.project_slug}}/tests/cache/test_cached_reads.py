"""Access tokens that the cache may take at their word: the denylist, as clients see it."""

from collections.abc import Awaitable, Callable

import pytest
from httpx2 import AsyncClient, Response

from {{ cookiecutter.package_name }}.cache import denylist
from {{ cookiecutter.package_name }}.cache.client import Client

from support import PASSWORD, Account, NewApp, Register, Statements, log_in, new_client

NOTES = "/api/v1/notes"


@pytest.fixture
async def _denylist_is_believed(redis: Client) -> None:
    """It has been complete for longer than tokens live."""
    await redis.zadd(denylist.DENIED, {denylist.COMPLETE_SINCE: -1})


@pytest.fixture
async def url(member: Account) -> str:
    """A note of the member."""
    made = await member.client.post(NOTES, json={"title": "Tea"})
    return str(made.headers["Location"])


async def titles(client: AsyncClient) -> list[str]:
    """The titles of the caller's notes."""
    return [note["title"] for note in (await client.get(NOTES)).json()["items"]]


@pytest.mark.usefixtures("_denylist_is_believed", "url")
async def test_second_read_asks_the_database_nothing(
    member: Account, statements: Statements
) -> None:
    first = await member.client.get(NOTES)

    with statements() as seen:
        second = await member.client.get(NOTES)

    assert seen == []
    assert second.json() == first.json()


@pytest.mark.usefixtures("_denylist_is_believed")
async def test_written_is_read_at_once_from_every_replica(
    new_app: NewApp, member: Account, url: str
) -> None:
    clients = [member.client]
    clients.append(new_client(new_app()))
    clients[1].headers["Authorization"] = member.client.headers["Authorization"]

    for number, (writer, reader) in enumerate([clients, clients[::-1], clients]):
        assert len(await titles(reader)) == number + 1
        await reader.get(url)
        await writer.patch(url, json={"title": f"Tea {number}"})
        assert (await reader.get(url)).json()["title"] == f"Tea {number}"
        assert f"Tea {number}" in await titles(reader)
        made = await writer.post(NOTES, json={"title": "Milk"})
        assert len(await titles(reader)) == number + 2
        assert (await reader.get(made.headers["Location"])).json()["title"] == "Milk"


@pytest.mark.usefixtures("_denylist_is_believed")
async def test_nobody_gets_what_is_kept_for_another(
    member: Account, url: str, register: Register, client: AsyncClient
) -> None:
    other = await register()
    for _ in range(2):
        assert (await member.client.get(url)).status_code == 200
        assert await titles(member.client) == ["Tea"]
        assert (await other.client.get(url)).status_code == 404
        assert await titles(other.client) == []
        assert (await client.get(url)).status_code == 401


async def log_out(member: Account) -> Response:
    """The login ends by the client's wish."""
    return await member.client.delete("/api/v1/auth/session")


async def revoke(member: Account) -> Response:
    """The login ends at the revocation endpoint."""
    form = {"token": member.refresh_token}
    return await member.client.post("/api/v1/auth/revoke", data=form)


async def change_password(member: Account) -> Response:
    """All logins end with the password."""
    change = {"current_password": PASSWORD, "new_password": f"{PASSWORD}-new"}
    return await member.client.put("/api/v1/users/me/password", json=change)


async def delete_account(member: Account) -> Response:
    """The account is no more."""
    return await member.client.request("DELETE", "/api/v1/users/me", json={"password": PASSWORD})


@pytest.mark.usefixtures("_denylist_is_believed")
@pytest.mark.parametrize("end", [log_out, revoke, change_password, delete_account])
async def test_revoked_token_reads_nothing_of_what_is_kept(
    member: Account, end: Callable[[Account], Awaitable[Response]]
) -> None:
    assert (await member.client.get(NOTES)).status_code == 200

    assert (await end(member)).is_success

    assert (await member.client.get(NOTES)).status_code == 401
    assert (await member.client.get(NOTES)).status_code == 401


@pytest.mark.usefixtures("_denylist_is_believed")
async def test_other_logins_of_the_user_go_on(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    tokens = (await log_in(client, member.email)).json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    await revoke(member)
    await client.get(NOTES)

    with statements() as seen:
        assert (await client.get(NOTES)).status_code == 200

    assert seen == []


@pytest.mark.parametrize("lost", [False, True])
async def test_denylist_is_not_believed_before_it_can_be_complete(
    member: Account, redis: Client, statements: Statements, lost: bool
) -> None:
    if lost:
        await redis.zadd(denylist.DENIED, {denylist.COMPLETE_SINCE: -1})
        await member.client.get(NOTES)
        await revoke(member)
        await redis.flushdb()
    await member.client.get(NOTES)

    with statements() as seen:
        answer = await member.client.get(NOTES)

    assert answer.status_code == (401 if lost else 200)
    assert "login_sessions" in seen[0]


@pytest.mark.usefixtures("_denylist_is_believed", "url")
async def test_browser_reads_through_the_cache(client: AsyncClient, member: Account) -> None:
    login = {"email": member.email, "password": PASSWORD}
    await client.post("/api/v1/auth/session", json=login)

    assert [await titles(client) for _ in range(2)] == [["Tea"], ["Tea"]]
