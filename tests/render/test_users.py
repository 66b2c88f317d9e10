"""Email addresses of accounts, and concurrent changes of administrators."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from orders.auth.models import Role, User
from orders.users.schemas import UserUpdate
from orders.users.service import update_user
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from support import (
    PASSWORD,
    Account,
    NewApp,
    change_password,
    delete_account,
    log_in,
    new_account,
    new_client,
    pointers,
    registration,
)

USERS = "/api/v1/users"


@dataclass(frozen=True)
class Administrator:
    """An administrator who was authenticated before the test changed the account."""

    id: UUID
    credential: str = "token"
    address: str | None = None


@pytest.mark.parametrize(
    ("given", "email"),
    [
        (" ADA@Example.com", "ada@example.com"),
        ("ａｄａ＠example.com", "ada@example.com"),
        ("ﬁ@example.com", "fi@example.com"),
        ("ada@xn--bcher-kva.example.com", "ada@bücher.example.com"),
        ("ДЯДЯ.1@example.com", "дядя.1@example.com"),
        ("佐々木たろう.taro@example.com", "佐々木たろう.taro@example.com"),
    ],
    ids=ascii,
)
async def test_email_is_normalized_at_registration_and_login(
    client: AsyncClient, session: AsyncSession, given: str, email: str
) -> None:
    registered = await client.post(USERS, json=registration(email=given))
    again = await client.post(USERS, json=registration(email=email))

    assert registered.json() == again.json() == {"email": email}
    assert await session.scalar(select(func.count(User.id))) == 1
    assert (await log_in(client, given)).status_code == 200
    browser = {"email": given, "password": PASSWORD}
    assert (await client.post("/api/v1/auth/session", json=browser)).status_code == 201


@pytest.mark.parametrize(
    "email",
    [
        "\N{CYRILLIC SMALL LETTER A}da@example.com",
        "ad\N{GREEK SMALL LETTER ALPHA}@example.com",
        "a\N{COMBINING GRAPHEME JOINER}da@example.com",
        "a\N{VARIATION SELECTOR-16}da@example.com",
        "a\N{HANGUL FILLER}da@example.com",
        "ada\N{SMALL COMMERCIAL AT}example.com@example.com",
        f"{'x' * 255} <ａda@example.com>",
    ],
    ids=ascii,
)
async def test_confusable_email_is_rejected(client: AsyncClient, email: str) -> None:
    response = await client.post(USERS, json=registration(email=email))

    assert (response.status_code, pointers(response)) == (422, ["/body/email"])


async def test_conflict_names_the_email_only_if_it_exists(
    client: AsyncClient, admin: Account, member: Account, session: AsyncSession
) -> None:
    await session.execute(text("CREATE UNIQUE INDEX uq_users_full_name ON users (full_name)"))
    await session.execute(update(User).where(User.id == member.id).values(full_name="Ada"))
    await session.commit()

    email = await admin.client.patch(f"{USERS}/{admin.id}", json={"email": member.email})
    name = await client.post(USERS, json=registration(full_name="Ada"))

    assert (email.status_code, name.status_code) == (409, 409)
    assert email.json()["detail"] == "This email address already has an account."
    assert name.json()["detail"] == "The request conflicts with the stored data."


@pytest.mark.parametrize("path", ["/me/password", "/me"])
async def test_confirmation_fails_when_the_password_changes_meanwhile(
    app: FastAPI, member: Account, session: AsyncSession, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = app.state.services.auth.hasher.verify

    async def verify_while_it_changes(password: str, hashed: str | None, caller: str) -> bool:
        change = update(User).where(User.id == member.id).values(password_hash="changed")
        await session.execute(change)
        await session.commit()
        return bool(await verify(password, hashed, caller))

    monkeypatch.setattr(app.state.services.auth.hasher, "verify", verify_while_it_changes)
    if path == "/me":
        response = await delete_account(member.client)
    else:
        response = await change_password(member.client)

    assert response.status_code == 403
    assert await session.scalar(select(User.password_hash)) == "changed"


async def test_rejected_deletion_does_not_reset_the_limit(new_app: NewApp, admin: Account) -> None:
    token = admin.client.headers["Authorization"].removeprefix("Bearer ")
    client = new_client(new_app(login_attempts=2), token)

    statuses = [(await delete_account(client)).status_code for _ in range(3)]

    assert statuses == [409, 409, 429]


async def test_concurrent_deletions_keep_one_administrator(live_app: FastAPI) -> None:
    accounts = [await new_account(live_app) for _ in range(3)]
    async with live_app.state.services.database.write_session() as session:
        await session.execute(update(User).values(role=Role.ADMIN))

    responses = await asyncio.gather(*(delete_account(account.client) for account in accounts))

    assert sorted(response.status_code for response in responses) == [204, 204, 409]


async def test_concurrent_demotions_keep_one_administrator(live_app: FastAPI) -> None:
    database = live_app.state.services.database
    ada, bob = [Administrator((await new_account(live_app)).id) for _ in range(2)]
    async with database.write_session() as session:
        await session.execute(update(User).values(role=Role.ADMIN))

    async def demote(admin: Administrator, other: Administrator) -> None:
        async with database.write_session() as session:
            await update_user(session, admin, other.id, UserUpdate(role=Role.USER))

    outcomes = await asyncio.gather(demote(ada, bob), demote(bob, ada), return_exceptions=True)

    assert sorted(map(str, outcomes)) == ["None", "Only administrators may do this."]
