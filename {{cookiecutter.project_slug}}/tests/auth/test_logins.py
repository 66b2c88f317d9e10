"""Logins: the token and revocation endpoints, refresh tokens, and the list of logins."""

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

from support import (
    PASSWORD,
    Account,
    Register,
    change_password,
    create_session,
    log_in,
    new_account,
    new_client,
    refresh,
)

TOKEN, REVOKE, ME = "/api/v1/auth/token", "/api/v1/auth/revoke", "/api/v1/users/me"
SESSION, SESSIONS = "/api/v1/auth/session", "/api/v1/auth/sessions"
LOGIN = {"grant_type": "password", "username": "unknown@example.com", "password": PASSWORD}


def assert_oauth_error(response: Response, error: str) -> None:
    """Check an error of RFC 6749 section 5.2."""
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert response.json().keys() == {"error", "error_description"}
    assert response.json()["error"] == error
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", response.json()["error_description"])


async def is_valid(client: AsyncClient, refresh_token: str) -> bool:
    """Return whether a refresh token is valid, and use it."""
    response = await refresh(client, refresh_token)
    if response.status_code != 200:
        assert_oauth_error(response, "invalid_grant")
    return response.status_code == 200


async def new_refresh_token(client: AsyncClient, account: Account) -> str:
    """Log in and return the refresh token."""
    return str((await log_in(client, account.email)).json()["refresh_token"])


async def list_logins(account: Account) -> list[dict[str, Any]]:
    """Return the account's list of logins."""
    logins: list[dict[str, Any]] = (await account.client.get(SESSIONS)).json()
    return logins


async def test_password_and_refresh_token_are_exchanged_for_tokens(
    app: FastAPI, member: Account
) -> None:
    async with new_client(app) as client:
        form = LOGIN | {"username": member.email, "scope": "", "client_id": "ignored"}
        issued = await client.post(TOKEN, data=form)
        refreshed = await refresh(client, issued.json()["refresh_token"])

    for response in (issued, refreshed):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Pragma"] == "no-cache"
        tokens = response.json()
        members = {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
        assert tokens.keys() == members
        assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 900)
        async with new_client(app, tokens["access_token"]) as holder:
            assert (await holder.get(ME)).json()["id"] == str(member.id)


@pytest.mark.parametrize(
    ("error", "form"),
    [
        ("invalid_request", {}),
        ("invalid_request", {"grant_type": "refresh_token"}),
        ("invalid_request", LOGIN | {"username": ""}),
        ("invalid_request", LOGIN | {"username": "unknown\0@example.com"}),
        ("invalid_request", LOGIN | {"password": ""}),
        ("unsupported_grant_type", {"grant_type": "authorization_code"}),
        ("invalid_grant", LOGIN),
        ("invalid_grant", {"grant_type": "refresh_token", "refresh_token": "unknown"}),
        ("invalid_request", {"grant_type": "refresh_token", "refresh_token": "unknown\0"}),
        ("invalid_request", LOGIN | {"password": "unknown\0"}),
    ],
)
async def test_token_error_has_its_code(
    client: AsyncClient, error: str, form: dict[str, str]
) -> None:
    assert_oauth_error(await client.post(TOKEN, data=form), error)


# A file where a text field is expected.
FILE = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\na\r\n'


@pytest.mark.parametrize("url", [TOKEN, REVOKE])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"token=a&token=a&grant_type=password"),
        ("application/x-www-form-urlencoded", b"token=&grant_type="),
        ("application/json", b'{"token": "a", "grant_type": "password"}'),
        ("multipart/form-data", b"token=a"),
        ("multipart/form-data; boundary=x", FILE % b"token" + FILE % b"grant_type" + b"--x--"),
    ],
)
async def test_invalid_form_is_an_invalid_request(
    client: AsyncClient, url: str, content_type: str, body: bytes
) -> None:
    headers = {"Content-Type": content_type}

    response = await client.post(url, content=body, headers=headers)

    assert_oauth_error(response, "invalid_request")


async def test_reused_refresh_token_revokes_its_family(
    client: AsyncClient, member: Account
) -> None:
    other = await new_refresh_token(client, member)
    newest = (await refresh(client, member.refresh_token)).json()["refresh_token"]

    assert not await is_valid(client, member.refresh_token)

    assert not await is_valid(client, newest)
    assert await is_valid(client, other)


async def test_one_of_concurrent_refreshes_succeeds(live_app: FastAPI) -> None:
    account = await new_account(live_app)
    async with new_client(live_app) as client:
        results = await asyncio.gather(*(is_valid(client, account.refresh_token) for _ in range(6)))

    assert sorted(results) == [False] * 5 + [True]
    response = await account.client.get(ME)
    assert response.status_code == 401  # the reuse revoked the family


async def test_refresh_extends_the_login(client: AsyncClient, member: Account) -> None:
    [before] = await list_logins(member)

    assert await is_valid(client, member.refresh_token)

    [after] = await list_logins(member)
    assert after["id"] == before["id"]
    assert after["expires_at"] > before["expires_at"] > (utcnow() + timedelta(days=29)).isoformat()
    assert after["refreshed_at"] > before["refreshed_at"]


EXPIRED = update(LoginSession).values(expires_at=utcnow() - timedelta(seconds=1))
INACTIVE = update(User).values(is_active=False)


@pytest.mark.parametrize("change", [EXPIRED, INACTIVE])
async def test_login_expires_and_ends_with_the_account(
    client: AsyncClient, member: Account, session: AsyncSession, change: Update
) -> None:
    await create_session(client, member)
    await session.execute(change)
    await session.commit()

    assert not await is_valid(client, member.refresh_token)
    assert (await client.get(ME)).status_code == 401
    assert (await member.client.get(ME)).status_code == 401


async def test_database_stores_no_tokens_and_no_ended_logins(
    client: AsyncClient, member: Account, session: AsyncSession
) -> None:
    await member.client.delete(SESSIONS)
    refresh_token = await new_refresh_token(client, member)
    await create_session(client, member)

    tables = (RefreshToken.__table__, LoginSession.__table__)
    rows = [row for table in tables for row in await session.execute(select(table))]
    assert len(rows) == 3
    assert refresh_token not in repr(rows)
    assert client.cookies["__Host-session"] not in repr(rows)


@pytest.mark.parametrize("end", ["deactivation", "new password", "logout"])
async def test_all_logins_of_the_user_end(
    client: AsyncClient, admin: Account, member: Account, end: str
) -> None:
    second = await new_refresh_token(client, member)
    await create_session(client, member)

    if end == "deactivation":
        for is_active in (False, True):
            await admin.client.patch(f"/api/v1/users/{member.id}", json={"is_active": is_active})
    elif end == "new password":
        await change_password(member.client)
    else:
        await member.client.delete(SESSIONS)

    assert (await client.get(ME)).status_code == 401
    tokens = (member.refresh_token, second, admin.refresh_token)
    assert [await is_valid(client, token) for token in tokens] == [False, False, True]


@pytest.mark.parametrize("kind", ["access_token", "refresh_token", "used"])
async def test_revoking_a_token_ends_its_login(
    client: AsyncClient, member: Account, kind: str
) -> None:
    used = await new_refresh_token(client, member)
    tokens = (await refresh(client, used)).json() | {"used": used}

    for token in (tokens[kind], tokens[kind], "unknown"):
        form = {"token": token, "token_type_hint": kind}
        response = await client.post(REVOKE, data=form)
        assert (response.status_code, response.content) == (200, b"")

    holder = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.get(ME, headers=holder)).status_code == 401
    assert not await is_valid(client, tokens["refresh_token"])
    assert await is_valid(client, member.refresh_token)


async def test_logout_ends_the_login_of_the_token(client: AsyncClient, member: Account) -> None:
    other = await new_refresh_token(client, member)

    assert (await member.client.delete(SESSION)).status_code == 204

    assert not await is_valid(client, member.refresh_token)
    assert await is_valid(client, other)


async def test_logins_are_listed_newest_first(client: AsyncClient, member: Account) -> None:
    client.headers["User-Agent"] = "Browser " * 100
    await create_session(client, member)

    newest, oldest = await list_logins(member)

    assert (newest["kind"], newest["current"]) == ("cookie", False)
    assert (oldest["kind"], oldest["current"]) == ("token", True)
    assert (newest["address"], newest["user_agent"]) == ("127.0.0.1", ("Browser " * 100)[:300])
    assert [login["current"] for login in (await client.get(SESSIONS)).json()] == [True, False]


async def test_login_is_ended_from_another_login(
    client: AsyncClient, member: Account, register: Register
) -> None:
    lost, other = await new_refresh_token(client, member), await register()
    own, theirs = (await list_logins(member))[0]["id"], (await list_logins(other))[0]["id"]

    responses = [
        await member.client.delete(f"{SESSIONS}/{id_}") for id_ in (own, own, theirs, uuid4())
    ]

    assert [response.status_code for response in responses] == [204, 404, 404, 404]
    tokens = (lost, member.refresh_token, other.refresh_token)
    assert [await is_valid(client, token) for token in tokens] == [False, True, True]
