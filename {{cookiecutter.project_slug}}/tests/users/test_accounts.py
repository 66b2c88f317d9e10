"""Making an account, and what its owner does with it."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    RefreshToken,
    User,
)

from notes import Note
from support import PASSWORD, Account, Register, log_in, new_client, pointers, refresh, registration

USERS = "/api/v1/users"
ME = "/api/v1/users/me"
NEW_PASSWORD = "difference-engine-1822"


async def test_account_is_made_and_shown_without_its_password(
    client: AsyncClient, session: AsyncSession
) -> None:
    body = registration(email="Ada@Example.com", full_name=" Ada ")

    response = await client.post(USERS, json=body)

    assert response.status_code == 201
    user = response.json()
    times = {"created_at": user["created_at"], "updated_at": user["updated_at"]}
    assert user == times | {
        "id": user["id"],
        "email": "ada@example.com",
        "full_name": "Ada",
        "role": "user",  # though nobody was there before
        "is_active": True,
    }
    assert PASSWORD not in (await session.scalars(select(User.password_hash))).one()


@pytest.mark.parametrize(
    ("typed", "email"),
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
async def test_email_is_normalized_and_logs_in_as_it_was_typed(
    client: AsyncClient, typed: str, email: str
) -> None:
    registered = await client.post(USERS, json=registration(email=typed))
    again = await client.post(USERS, json=registration(email=email))

    assert (registered.json()["email"], again.status_code) == (email, 409)
    assert (await log_in(client, typed)).status_code == 200
    browser = {"email": typed, "password": PASSWORD}
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
async def test_look_alike_email_is_refused(client: AsyncClient, email: str) -> None:
    response = await client.post(USERS, json=registration(email=email))

    assert (response.status_code, pointers(response)) == (422, ["/body/email"])


async def test_email_has_one_account_in_any_case_and_at_any_time(live_app: FastAPI) -> None:
    async with new_client(live_app) as client:
        responses = await asyncio.gather(
            *(
                client.post(USERS, json=registration(email=email))
                for email in ("ada@example.com", "ADA@example.com", "Ada@Example.COM")
            )
        )

    assert sorted(response.status_code for response in responses) == [201, 409, 409]


async def test_only_a_taken_email_is_called_taken(
    client: AsyncClient, member: Account, session: AsyncSession
) -> None:
    await session.execute(text("CREATE UNIQUE INDEX uq_users_full_name ON users (full_name)"))
    await session.execute(update(User).values(full_name="Ada"))
    await session.commit()

    email = await client.post(USERS, json=registration(email=member.email))
    name = await client.post(USERS, json=registration(full_name="Ada"))

    assert (email.status_code, name.status_code) == (409, 409)
    assert email.json()["detail"] == "This email address already has an account."
    assert name.json()["detail"] == "The request conflicts with the stored data."


@pytest.mark.parametrize(
    "change",
    [
        {"email": "nobody", "full_name": " "},
        {"email": None, "full_name": "a" * 201},
        {"email": f"{'a' * 250}@example.com", "full_name": "\x1b[31m"},
        {"password": "too-short", "role": "admin", "is_active": True},
        {"password": "123qweasdzxc"},  # a common one
        {"password": "ada.lovelace@example.com"},
        {"password": "ä" * 37},
    ],
)
async def test_unusable_registration_names_the_wrong_members(
    client: AsyncClient, change: dict[str, Any]
) -> None:
    body = registration(email="ada.lovelace@example.com") | change

    response = await client.post(USERS, json=body)

    assert response.status_code == 422
    assert sorted(pointers(response)) == sorted(f"/body/{name}" for name in change)


async def test_profile_changes_what_is_sent_and_keeps_the_rest(member: Account) -> None:
    created = (await member.client.get(ME)).json()

    named = (await member.client.patch(ME, json={"full_name": "Ada"})).json()
    kept = (await member.client.patch(ME, json={})).json()
    cleared = (await member.client.patch(ME, json={"full_name": None})).json()

    assert named == kept == created | {"full_name": "Ada", "updated_at": named["updated_at"]}
    assert cleared["full_name"] is None
    assert (await member.client.get(ME)).json() == cleared


async def test_profile_change_reaches_nothing_else(member: Account) -> None:
    body = {"email": "a@example.com", "role": "admin", "is_active": True, "password": PASSWORD}

    response = await member.client.patch(ME, json=body)

    assert (response.status_code, pointers(response)) == (422, [f"/body/{name}" for name in body])


async def test_new_password_replaces_the_old_and_ends_every_session(
    client: AsyncClient, member: Account
) -> None:
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}

    response = await member.client.put(f"{ME}/password", json=body)

    assert response.status_code == 204
    assert (await refresh(client, member.refresh_token)).json()["error"] == "invalid_grant"
    assert (await log_in(client, member.email)).json()["error"] == "invalid_grant"
    assert (await log_in(client, member.email, NEW_PASSWORD)).status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "status", "pointer"),
    [
        ("not-my-password", NEW_PASSWORD, 403, "/body/current_password"),
        (PASSWORD, "too-short", 422, "/body/new_password"),
        (PASSWORD, "Qwerty123456", 422, "/body/new_password"),
    ],
)
async def test_refused_password_changes_nothing(
    client: AsyncClient, member: Account, current: str, new: str, status: int, pointer: str
) -> None:
    body = {"current_password": current, "new_password": new}

    response = await member.client.put(f"{ME}/password", json=body)

    assert (response.status_code, pointers(response)) == (status, [pointer])
    assert (await log_in(client, member.email)).status_code == 200
    assert (await refresh(client, member.refresh_token)).status_code == 200


@pytest.mark.parametrize("path", ["/me/password", "/me"])
async def test_proof_is_worthless_once_the_password_has_changed(
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
        response = await member.client.request("DELETE", ME, json={"password": PASSWORD})
    else:
        change = {"current_password": PASSWORD, "new_password": "difference-engine-1822"}
        response = await member.client.put(f"{ME}/password", json=change)

    assert response.status_code == 403
    assert await session.scalar(select(User.password_hash)) == "changed"


async def test_deleted_account_leaves_nothing_behind(
    member: Account, register: Register, session: AsyncSession
) -> None:
    other = await register()
    for account in (member, other):
        await account.client.post("/api/v1/notes", json={"title": "Tea"})

    refused = await member.client.request("DELETE", ME, json={"password": "not-my-password"})
    deleted = await member.client.request("DELETE", ME, json={"password": PASSWORD})

    assert (refused.status_code, deleted.status_code) == (403, 204)
    assert (await member.client.get(ME)).status_code == 401
    assert (await session.scalars(select(Note.owner_id))).all() == [other.id]
    assert (await session.scalars(select(LoginSession.user_id))).all() == [other.id]
    assert await session.scalar(select(func.count(RefreshToken.token_hash))) == 1
    assert (await register(email=member.email)).id != member.id
