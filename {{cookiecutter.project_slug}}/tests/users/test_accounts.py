"""Registration, the own profile, password and deletion."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    RefreshToken,
    User,
)

from support import (
    NEW_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    Register,
    change_password,
    delete_account,
    log_in,
    new_client,
    pointers,
    registration,
)

USERS = "/api/v1/users"
ME = "/api/v1/users/me"


async def test_registration_creates_a_user_and_stores_no_password(
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
        "role": "user",  # although it is the first account
        "is_active": True,
    }
    assert PASSWORD not in (await session.scalars(select(User.password_hash))).one()


async def test_email_is_unique_in_any_case(live_app: FastAPI) -> None:
    async with new_client(live_app) as client:
        responses = await asyncio.gather(
            *(
                client.post(USERS, json=registration(email=email))
                for email in ("ada@example.com", "ADA@example.com", "Ada@Example.COM")
            )
        )

    assert sorted(response.status_code for response in responses) == [201, 409, 409]


@pytest.mark.parametrize(
    "change",
    [
        {"email": "invalid", "full_name": " "},
        {"email": None, "full_name": "a" * 201},
        {"email": f"{'a' * 250}@example.com", "full_name": "\x1b[31m"},
        {"password": "too-short", "role": "admin", "is_active": True},
    ],
)
async def test_invalid_registration_has_pointers(
    client: AsyncClient, change: dict[str, Any]
) -> None:
    body = registration(email="ada.lovelace@example.com") | change

    response = await client.post(USERS, json=body)

    assert response.status_code == 422
    assert sorted(pointers(response)) == sorted(f"/body/{name}" for name in change)


async def test_profile_update_changes_only_the_sent_fields(member: Account) -> None:
    created = (await member.client.get(ME)).json()

    named = (await member.client.patch(ME, json={"full_name": "Ada"})).json()
    kept = (await member.client.patch(ME, json={})).json()
    cleared = (await member.client.patch(ME, json={"full_name": None})).json()

    assert named == kept == created | {"full_name": "Ada", "updated_at": named["updated_at"]}
    assert cleared["full_name"] is None
    assert (await member.client.get(ME)).json() == cleared


async def test_profile_update_rejects_other_fields(member: Account) -> None:
    body = {"email": "a@example.com", "role": "admin", "is_active": True, "password": PASSWORD}

    response = await member.client.patch(ME, json=body)

    assert (response.status_code, pointers(response)) == (422, [f"/body/{name}" for name in body])


async def test_new_password_replaces_the_old_one(client: AsyncClient, member: Account) -> None:
    response = await change_password(member.client)

    assert response.status_code == 204
    assert (await log_in(client, member.email)).json()["error"] == "invalid_grant"
    assert (await log_in(client, member.email, NEW_PASSWORD)).status_code == 200


async def test_new_password_requires_the_current_one(client: AsyncClient, member: Account) -> None:
    response = await change_password(member.client, current=WRONG_PASSWORD)

    assert (response.status_code, pointers(response)) == (403, ["/body/current_password"])
    assert (await log_in(client, member.email)).status_code == 200


async def test_deletion_requires_the_password_and_deletes_the_logins(
    member: Account, register: Register, session: AsyncSession
) -> None:
    other = await register()

    rejected = await delete_account(member.client, WRONG_PASSWORD)
    deleted = await delete_account(member.client)

    assert (rejected.status_code, deleted.status_code) == (403, 204)
    assert (await member.client.get(ME)).status_code == 401
    assert (await session.scalars(select(LoginSession.user_id))).all() == [other.id]
    assert await session.scalar(select(func.count(RefreshToken.token_hash))) == 1
    assert (await register(email=member.email)).id != member.id
