"""What administrators do with all accounts."""

import asyncio
from itertools import chain
from operator import itemgetter
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import Role, User
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.users.schemas import UserUpdate
from {{ cookiecutter.package_name }}.users.service import update_user

from support import (
    PASSWORD,
    Account,
    NewApp,
    log_in,
    new_account,
    new_client,
    new_user,
    pointers,
    read_pages,
    refresh,
)

USERS = "/api/v1/users"


@pytest.fixture
async def crowd(session: AsyncSession) -> list[User]:
    """Accounts whose e-mails and names look alike."""
    users = [
        new_user(email="ann_a@example.com", full_name="Ann 100%"),
        new_user(email="annxa@example.com", full_name="Ann Other"),
        new_user(email="bob@example.com", full_name=None, is_active=False),
        new_user(email="carl@example.com", full_name="Carl\\Ann"),
    ]
    session.add_all(users)
    await session.commit()
    return users


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/{id}"), ("PATCH", "/{id}")])
async def test_only_administrators_see_accounts(member: Account, method: str, path: str) -> None:
    response = await member.client.request(method, USERS + path.format(id=member.id), json={})

    assert response.status_code == 403


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("sort", ["created_at", "email"])
@pytest.mark.parametrize("descending", [False, True])
async def test_list_is_complete_and_in_order(admin: Account, sort: str, descending: bool) -> None:
    order = f"-{sort}" if descending else sort

    pages = await read_pages(admin.client, USERS, limit=2, sort=order)

    assert [len(page) for page in pages] == [2, 2, 1]
    users = list(chain(*pages))
    assert users == sorted(users, key=itemgetter(sort), reverse=descending)
    assert len({user["id"] for user in users}) == 5


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "BOB@example"}, ["bob"]),
        ({"q": "oTHER"}, ["annxa"]),
        ({"q": "ann_a"}, ["ann_a"]),
        ({"q": "0%"}, ["ann_a"]),
        ({"q": "l\\a"}, ["carl"]),
        ({"q": "nobody"}, []),
        ({"is_active": "false"}, ["bob"]),
        ({"q": "ann", "is_active": "true", "role": "user"}, ["ann_a", "annxa", "carl"]),
        ({"q": "ann", "role": "admin"}, []),
    ],
)
async def test_list_can_be_searched(
    admin: Account, query: dict[str, str], found: list[str]
) -> None:
    response = await admin.client.get(USERS, params=query | {"sort": "email"})

    assert [user["email"].partition("@")[0] for user in response.json()["items"]] == found


async def test_account_is_read_and_changed(admin: Account, crowd: list[User]) -> None:
    url = f"{USERS}/{crowd[0].id}"
    changes = {"email": "ann@example.com", "full_name": None, "role": "admin", "is_active": True}
    before = (await admin.client.get(url)).json()

    response = await admin.client.patch(url, json=changes | {"email": "ANN@example.com"})

    assert response.json() == before | changes | {"updated_at": response.json()["updated_at"]}
    assert (await admin.client.get(url)).json() == response.json()


async def test_unknown_account_is_not_found_and_a_taken_email_refused(
    admin: Account, crowd: list[User]
) -> None:
    unknown = await admin.client.patch(f"{USERS}/{uuid4()}", json={})
    taken = await admin.client.patch(
        f"{USERS}/{crowd[0].id}", json={"email": crowd[1].email.upper()}
    )

    assert (unknown.status_code, taken.status_code) == (404, 409)


@pytest.mark.parametrize(
    "change",
    [
        {"email": None, "role": None, "is_active": None},
        {"email": "nobody", "full_name": " ", "role": "king", "is_active": "no", "password": "-"},
    ],
)
async def test_unusable_change_names_the_wrong_members(
    admin: Account, crowd: list[User], change: dict[str, object]
) -> None:
    response = await admin.client.patch(f"{USERS}/{crowd[0].id}", json=change)

    assert (response.status_code, pointers(response)) == (422, [f"/body/{name}" for name in change])


async def test_promoted_user_is_an_administrator_at_once(admin: Account, member: Account) -> None:
    await admin.client.patch(f"{USERS}/{member.id}", json={"role": "admin"})

    assert (await member.client.get(USERS)).status_code == 200


async def test_deactivated_user_is_out_at_once_and_for_good(
    client: AsyncClient, admin: Account, member: Account
) -> None:
    url = f"{USERS}/{member.id}"

    await admin.client.patch(url, json={"is_active": False})

    assert (await member.client.get(f"{USERS}/me")).status_code == 401
    assert (await log_in(client, member.email)).json()["error"] == "invalid_grant"
    await admin.client.patch(url, json={"is_active": True})
    assert (await refresh(client, member.refresh_token)).json()["error"] == "invalid_grant"
    assert (await log_in(client, member.email)).status_code == 200


@pytest.mark.parametrize("change", [{"role": "user"}, {"is_active": False}])
async def test_administrators_cannot_lock_themselves_out(
    admin: Account, change: dict[str, object]
) -> None:
    url = f"{USERS}/{admin.id}"

    assert (await admin.client.patch(url, json=change)).status_code == 409
    assert (await admin.client.patch(url, json={"full_name": "Root"})).status_code == 200


async def test_last_administrator_cannot_delete_the_account(
    admin: Account, member: Account, session: AsyncSession
) -> None:
    await session.execute(update(User).where(User.id == member.id).values(role=Role.ADMIN))

    async def delete(*, other_is_active: bool) -> int:
        other = update(User).where(User.id == member.id).values(is_active=other_is_active)
        await session.execute(other)
        await session.commit()
        proof = {"password": PASSWORD}
        response = await admin.client.request("DELETE", f"{USERS}/me", json=proof)
        return response.status_code

    assert await delete(other_is_active=False) == 409
    assert await delete(other_is_active=True) == 204


async def test_refused_deletion_does_not_reset_the_attempts(
    new_app: NewApp, admin: Account
) -> None:
    token = admin.client.headers["Authorization"].removeprefix("Bearer ")
    client = new_client(new_app(login_attempts=2), token)

    statuses = [
        (await client.request("DELETE", f"{USERS}/me", json={"password": PASSWORD})).status_code
        for _ in range(3)
    ]

    assert statuses == [409, 409, 429]


async def test_administrators_cannot_delete_themselves_at_once(live_app: FastAPI) -> None:
    accounts = [await new_account(live_app) for _ in range(3)]
    async with live_app.state.services.database.write_session() as session:
        await session.execute(update(User).values(role=Role.ADMIN))

    responses = await asyncio.gather(
        *(
            account.client.request("DELETE", f"{USERS}/me", json={"password": PASSWORD})
            for account in accounts
        )
    )

    assert sorted(response.status_code for response in responses) == [204, 204, 409]


async def test_administrators_cannot_demote_each_other_at_once(live_app: FastAPI) -> None:
    database: Database = live_app.state.services.database
    ada, bob = [(await new_account(live_app)).id for _ in range(2)]
    async with database.write_session() as session:
        await session.execute(update(User).values(role=Role.ADMIN))

    async def demote(admin: UUID, other: UUID) -> None:
        async with database.write_session() as session:
            await update_user(session, admin, other, UserUpdate(role=Role.USER))

    outcomes = await asyncio.gather(demote(ada, bob), demote(bob, ada), return_exceptions=True)

    assert sorted(map(str, outcomes)) == ["None", "Only administrators may do this."]
