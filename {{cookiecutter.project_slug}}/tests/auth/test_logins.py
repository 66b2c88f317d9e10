"""Logins of OAuth clients: tokens bought, traded in and revoked, and the list of one's own."""

import asyncio
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import Update, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    RefreshToken,
    User,
)
from {{ cookiecutter.package_name }}.database import utcnow

from support import PASSWORD, Account, Register, log_in, new_account, new_client, refresh

TOKEN, REVOKE, ME = "/api/v1/auth/token", "/api/v1/auth/revoke", "/api/v1/users/me"
SESSION, SESSIONS = "/api/v1/auth/session", "/api/v1/auth/sessions"
LOGIN = {"grant_type": "password", "username": "nobody@example.com", "password": PASSWORD}


def assert_refused(response: Response, error: str) -> None:
    """Check an error of RFC 6749 section 5.2."""
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert response.json().keys() == {"error", "error_description"}
    assert response.json()["error"] == error
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", response.json()["error_description"])


async def lives(client: AsyncClient, refresh_token: str) -> bool:
    """Whether a refresh token still works; the question spends it."""
    response = await refresh(client, refresh_token)
    if response.status_code != 200:
        assert_refused(response, "invalid_grant")
    return response.status_code == 200


async def buy(client: AsyncClient, account: Account) -> str:
    """Log in once more; returns the refresh token."""
    return str((await log_in(client, account.email)).json()["refresh_token"])


async def browse(client: AsyncClient, account: Account) -> Response:
    """Log in with cookies."""
    return await client.post(SESSION, json={"email": account.email, "password": PASSWORD})


async def logins(account: Account) -> list[dict[str, Any]]:
    """The logins that the account is shown."""
    listed: list[dict[str, Any]] = (await account.client.get(SESSIONS)).json()
    return listed


async def test_password_and_refresh_token_buy_a_pair(app: FastAPI, member: Account) -> None:
    async with new_client(app) as client:
        form = LOGIN | {"username": member.email, "scope": "", "client_id": "ignored"}
        bought = await client.post(TOKEN, data=form)
        traded = await refresh(client, bought.json()["refresh_token"])

    for response in (bought, traded):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Pragma"] == "no-cache"
        tokens = response.json()
        assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
        assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 900)
        async with new_client(app, tokens["access_token"]) as holder:
            assert (await holder.get(ME)).json()["id"] == str(member.id)


@pytest.mark.parametrize(
    ("error", "form"),
    [
        ("invalid_request", {}),
        ("invalid_request", {"grant_type": "refresh_token"}),
        ("invalid_request", LOGIN | {"username": ""}),
        ("invalid_request", LOGIN | {"username": "nobody\0@example.com"}),
        ("invalid_request", LOGIN | {"password": ""}),
        ("unsupported_grant_type", {"grant_type": "client_credentials"}),
        ("invalid_scope", LOGIN | {"scope": "admin"}),
        ("invalid_grant", LOGIN),
        ("invalid_grant", {"grant_type": "refresh_token", "refresh_token": "unknown"}),
        ("invalid_request", {"grant_type": "refresh_token", "refresh_token": "unknown\0"}),
        ("invalid_request", LOGIN | {"password": "unknown\0"}),
    ],
)
async def test_refusal_has_its_code(client: AsyncClient, error: str, form: dict[str, str]) -> None:
    assert_refused(await client.post(TOKEN, data=form), error)


FILE = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\na\r\n'


@pytest.mark.parametrize("url", [TOKEN, REVOKE])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"token=a&token=a&grant_type=password"),
        ("application/x-www-form-urlencoded", b"token=&grant_type="),
        ("application/json", b'{"token": "a", "grant_type": "password"}'),
        ("multipart/form-data", b"token=a"),
        ("multipart/form-data; boundary=x", FILE % b"token" + FILE % b"grant_type" + b"--x--"),
    ],
)
async def test_bad_form_is_named(client: AsyncClient, url: str, kind: str, body: bytes) -> None:
    response = await client.post(url, content=body, headers={"Content-Type": kind})

    assert_refused(response, "invalid_request")


async def test_spent_token_revokes_its_family_only(client: AsyncClient, member: Account) -> None:
    other = await buy(client, member)
    newest = (await refresh(client, member.refresh_token)).json()["refresh_token"]

    assert not await lives(client, member.refresh_token)

    assert not await lives(client, newest)
    assert await lives(client, other)


async def test_of_refreshes_at_the_same_time_one_wins(live_app: FastAPI) -> None:
    account = await new_account(live_app)
    async with new_client(live_app) as client:
        won = await asyncio.gather(*(lives(client, account.refresh_token) for _ in range(6)))

    assert sorted(won) == [False] * 5 + [True]
    response = await account.client.get(ME)
    assert response.status_code == 401  # reuse: one of the six may be a thief


async def test_refresh_prolongs_the_login(client: AsyncClient, member: Account) -> None:
    [before] = await logins(member)

    assert await lives(client, member.refresh_token)

    [after] = await logins(member)
    assert after["id"] == before["id"]
    assert after["expires_at"] > before["expires_at"] > (utcnow() + timedelta(days=29)).isoformat()
    assert after["refreshed_at"] > before["refreshed_at"]


EXPIRED = update(LoginSession).values(expires_at=utcnow() - timedelta(seconds=1))
INACTIVE = update(User).values(is_active=False)


@pytest.mark.parametrize("change", [EXPIRED, INACTIVE])
async def test_login_ends_by_time_and_with_the_account(
    client: AsyncClient, member: Account, session: AsyncSession, change: Update
) -> None:
    await browse(client, member)
    await session.execute(change)
    await session.commit()

    assert not await lives(client, member.refresh_token)
    assert (await client.get(ME)).status_code == 401
    assert (await member.client.get(ME)).status_code == 401


@pytest.mark.parametrize("hint", ["access_token", "refresh_token"])
async def test_revocation_ends_the_access_token_at_once(
    client: AsyncClient, member: Account, hint: str
) -> None:
    access_token = member.client.headers["Authorization"].removeprefix("Bearer ")
    token = access_token if hint == "access_token" else member.refresh_token

    response = await client.post(REVOKE, data={"token": token, "token_type_hint": hint})

    assert (response.status_code, response.content) == (200, b"")
    assert "Content-Type" not in response.headers
    assert (await member.client.get(ME)).status_code == 401
    assert not await lives(client, member.refresh_token)


async def test_database_holds_no_token_and_no_dead_login(
    client: AsyncClient, member: Account, session: AsyncSession
) -> None:
    await member.client.delete(SESSIONS)
    refresh_token = await buy(client, member)
    await browse(client, member)

    tables = (RefreshToken.__table__, LoginSession.__table__)
    rows = [row for table in tables for row in await session.execute(select(table))]
    assert len(rows) == 3
    assert refresh_token not in repr(rows)
    assert client.cookies["__Host-session"] not in repr(rows)


@pytest.mark.parametrize("end", ["deactivation", "new password", "log-out everywhere"])
async def test_every_login_of_the_user_ends(
    client: AsyncClient, admin: Account, member: Account, end: str
) -> None:
    second = await buy(client, member)
    await browse(client, member)

    if end == "deactivation":
        for is_active in (False, True):
            await admin.client.patch(f"/api/v1/users/{member.id}", json={"is_active": is_active})
    elif end == "new password":
        change = {"current_password": PASSWORD, "new_password": "difference-engine-1822"}
        await member.client.put(f"{ME}/password", json=change)
    else:
        await member.client.delete(SESSIONS)

    assert (await client.get(ME)).status_code == 401
    tokens = (member.refresh_token, second, admin.refresh_token)
    assert [await lives(client, token) for token in tokens] == [False, False, True]


@pytest.mark.parametrize("kind", ["access_token", "refresh_token", "spent"])
async def test_revoked_token_ends_its_login(
    client: AsyncClient, member: Account, kind: str
) -> None:
    spent = await buy(client, member)
    tokens = (await refresh(client, spent)).json() | {"spent": spent}

    for token in (tokens[kind], tokens[kind], "unknown"):
        form = {"token": token, "token_type_hint": "unknown"}
        assert (await client.post(REVOKE, data=form)).status_code == 200

    assert not await lives(client, tokens["refresh_token"])
    assert await lives(client, member.refresh_token)


async def test_log_out_ends_the_login_of_the_token(client: AsyncClient, member: Account) -> None:
    other = await buy(client, member)

    assert (await member.client.delete(SESSION)).status_code == 204

    assert not await lives(client, member.refresh_token)
    assert await lives(client, other)


async def test_own_logins_are_listed_newest_first(client: AsyncClient, member: Account) -> None:
    client.headers["User-Agent"] = "Browser " * 100
    await browse(client, member)

    newest, oldest = await logins(member)

    assert (newest["kind"], newest["current"]) == ("cookie", False)
    assert (oldest["kind"], oldest["current"]) == ("token", True)
    assert (newest["address"], newest["user_agent"]) == ("127.0.0.1", ("Browser " * 100)[:300])
    assert [login["current"] for login in (await client.get(SESSIONS)).json()] == [True, False]


async def test_own_login_can_be_ended_from_another(
    client: AsyncClient, member: Account, register: Register
) -> None:
    lost, other = await buy(client, member), await register()
    own, theirs = (await logins(member))[0]["id"], (await logins(other))[0]["id"]

    answers = [
        await member.client.delete(f"{SESSIONS}/{id_}") for id_ in (own, own, theirs, uuid4())
    ]

    assert [answer.status_code for answer in answers] == [204, 404, 404, 404]
    tokens = (lost, member.refresh_token, other.refresh_token)
    assert [await lives(client, token) for token in tokens] == [False, True, True]
