"""Browser sessions: names of cookies, localhost, and rejected logins."""

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from support import (
    WRONG_PASSWORD,
    Account,
    NewApp,
    cookies_of,
    create_session,
    new_client,
)

from render.connections import exchange, listen

ME, SESSION = "/api/v1/users/me", "/api/v1/auth/session"
EVIL = "https://evil.example"


@pytest.mark.parametrize("space", [b"\xa0", b"\x85"])
async def test_cookie_with_a_similar_name_is_ignored(
    app: FastAPI, browser: AsyncClient, space: bytes
) -> None:
    token = browser.cookies["__Host-session"].encode()
    cookies = {
        b"__Host-session=" + token: b"200",
        b"other=; __Host-session=" + token: b"200",
        space + b"__Host-session=" + token: b"401",
        b"__Host-session" + space + b"=" + token: b"401",
        b"__host-session=" + token: b"401",
        b"__Host-session=" + token + b"; __Host-session=other": b"401",
    }
    async with listen(app) as port:
        for cookie, status in cookies.items():
            head = b"GET /api/v1/users/me HTTP/1.1\r\nHost: test\r\nConnection: close\r\nCookie: "
            response = await exchange(port, head + cookie + b"\r\n\r\n")
            assert response.startswith(b"HTTP/1.1 " + status), cookie


async def test_session_works_on_localhost(new_app: NewApp, member: Account) -> None:
    origin = {"Origin": "http://localhost:8000"}
    async with new_client(new_app(environment="local")) as client:
        client.base_url = origin["Origin"]
        cookies = cookies_of(await create_session(client, member, **origin))
        proof = origin | {"X-CSRF-Token": client.cookies["csrf"]}
        response = await client.patch(ME, json={"full_name": "Ada"}, headers=proof)

    assert response.status_code == 200
    assert cookies.keys() == {"session", "csrf"}
    assert [cookie["secure"] for cookie in cookies.values()] == ["", ""]
    assert [cookie["httponly"] for cookie in cookies.values()] == [True, ""]


async def test_cookie_that_another_host_can_set_is_ignored(
    app: FastAPI, browser: AsyncClient
) -> None:
    token = browser.cookies["__Host-session"]
    async with new_client(app) as client:
        for cookie in (f"session={token}", "__Host-session=unknown"):
            response = await client.get(ME, headers={"Cookie": cookie})
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("status", "login"),
    [
        (403, {"Origin": EVIL}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
        (422, {"Content-Type": "text/plain"}),
        (401, {"password": WRONG_PASSWORD}),
    ],
)
async def test_rejected_login_sets_no_cookie(
    client: AsyncClient, member: Account, status: int, login: dict[str, str]
) -> None:
    response = await create_session(client, member, **login)

    assert response.status_code == status
    assert not cookies_of(response)
