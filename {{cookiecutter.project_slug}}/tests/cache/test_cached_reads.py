"""Cached reads and revoked sessions, as clients see them."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import pytest
from fastapi import FastAPI, Security
from httpx2 import AsyncClient, Response
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.dependencies import (
    get_current_user_id,
)
from {{ cookiecutter.package_name }}.auth.models import Role
from {{ cookiecutter.package_name }}.auth.scopes import USERS_ADMIN
from {{ cookiecutter.package_name }}.cache.client import Client

from support import (
    PASSWORD,
    Account,
    NewApp,
    Register,
    Statements,
    log_in,
    log_in_with,
    new_account,
    new_client,
    refresh,
    set_role,
)

NOTES = "/api/v1/test-notes"


@pytest.fixture
async def url(member: Account) -> str:
    """A note of the member."""
    made = await member.client.post(NOTES, json={"title": "Tea"})
    return str(made.headers["Location"])


async def titles(client: AsyncClient) -> list[str]:
    """The titles of the caller's notes."""
    return [note["title"] for note in (await client.get(NOTES)).json()["items"]]


@pytest.mark.usefixtures("url")
async def test_second_read_does_not_query_the_database(
    member: Account, statements: Statements
) -> None:
    first = await member.client.get(NOTES)

    with statements() as seen:
        second = await member.client.get(NOTES)

    assert seen == []
    assert second.json() == first.json()


async def test_every_replica_reads_a_change_at_once(
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


async def test_users_do_not_read_the_cached_values_of_others(
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
    """Log out."""
    return await member.client.delete("/api/v1/auth/session")


async def revoke(member: Account) -> Response:
    """Revoke the refresh token."""
    form = {"token": member.refresh_token}
    return await member.client.post("/api/v1/auth/revoke", data=form)


async def change_password(member: Account) -> Response:
    """Change the password, which ends all sessions."""
    change = {"current_password": PASSWORD, "new_password": f"{PASSWORD}-new"}
    return await member.client.put("/api/v1/users/me/password", json=change)


async def delete_account(member: Account) -> Response:
    """Delete the account."""
    return await member.client.request("DELETE", "/api/v1/users/me", json={"password": PASSWORD})


async def reuse_refresh_token(member: Account) -> Response:
    """Use a refresh token twice, which revokes the session."""
    await refresh(member.client, member.refresh_token)
    return await refresh(member.client, member.refresh_token)


@pytest.mark.parametrize(
    "end", [log_out, revoke, change_password, delete_account, reuse_refresh_token]
)
@pytest.mark.parametrize("is_other_replica", [False, True])
async def test_revoked_token_reads_nothing_from_the_cache(
    new_app: NewApp,
    member: Account,
    end: Callable[[Account], Awaitable[Response]],
    is_other_replica: bool,
) -> None:
    authorization = {"Authorization": member.client.headers["Authorization"]}
    reader = new_client(new_app()) if is_other_replica else member.client
    assert (await reader.get(NOTES, headers=authorization)).status_code == 200

    assert (await end(member)).status_code in {200, 204, 400}

    for _ in range(2):
        assert (await reader.get(NOTES, headers=authorization)).status_code == 401


async def test_other_sessions_of_the_user_stay_valid(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    tokens = (await log_in(client, member.email)).json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    await revoke(member)
    await client.get(NOTES)

    with statements() as seen:
        assert (await client.get(NOTES)).status_code == 200

    assert seen == []


@pytest.mark.usefixtures("url")
async def test_cached_read_requires_the_scope_of_the_access_token(
    app: FastAPI, client: AsyncClient, member: Account
) -> None:
    narrowed = await refresh(client, member.refresh_token, scope="account:read")
    same_session = new_client(app, narrowed.json()["access_token"])
    other_session = await log_in_with(app, member, "account:read")

    for _ in range(2):
        assert await titles(member.client) == ["Tea"]
        for limited in (same_session, other_session):
            response = await limited.get(NOTES)
            assert response.json()["type"] == "/problems/insufficient-scope"
            assert response.headers["WWW-Authenticate"].endswith('scope="test-notes:read"')


async def test_cached_read_of_administrators_requires_the_current_role(
    new_app: NewApp, session: AsyncSession
) -> None:
    async def read_id(
        user_id: Annotated[UUID, Security(get_current_user_id, scopes=[USERS_ADMIN])],
    ) -> UUID:
        return user_id

    app = new_app()
    app.add_api_route("/restricted", read_id)
    account = await new_account(app)

    for role, status in ((Role.ADMIN, 200), (Role.USER, 403), (Role.ADMIN, 200)):
        await set_role(session, account, role)
        for _ in range(2):
            assert (await account.client.get("/restricted")).status_code == status


async def test_revoked_token_is_rejected_when_redis_has_lost_its_data(
    member: Account, redis: Client
) -> None:
    await member.client.get(NOTES)
    await revoke(member)

    await redis.flushdb()

    assert (await member.client.get(NOTES)).status_code == 401


@pytest.mark.usefixtures("url")
async def test_browser_reads_through_the_cache(client: AsyncClient, member: Account) -> None:
    login = {"email": member.email, "password": PASSWORD}
    await client.post("/api/v1/auth/session", json=login)

    assert [await titles(client) for _ in range(2)] == [["Tea"], ["Tea"]]
