"""Browser sessions: the cookies, and what other sites cannot do with them."""

from http.cookies import Morsel, SimpleCookie

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response

from support import (
    PASSWORD,
    Account,
    NewApp,
    Register,
    exchange,
    listen,
    new_client,
)

ME, SESSION, SESSIONS = "/api/v1/users/me", "/api/v1/auth/session", "/api/v1/auth/sessions"
OWN, PARTNER, EVIL = {"Origin": "https://test"}, "https://app.example", "https://evil.example"


async def open_session(
    client: AsyncClient, account: Account, password: str = PASSWORD, **headers: str
) -> Response:
    login = {"email": account.email, "password": password}
    return await client.post(SESSION, json=login, headers=headers)


def cookies_of(response: Response) -> dict[str, Morsel[str]]:
    """The cookies that a response sets."""
    lines = response.headers.get_list("Set-Cookie")
    return {name: morsel for line in lines for name, morsel in SimpleCookie(line).items()}


@pytest.fixture
async def browser(client: AsyncClient, member: Account) -> AsyncClient:
    """A browser in which the member is logged in."""
    await open_session(client, member)
    return client


async def test_session_is_bound_to_this_host(client: AsyncClient, member: Account) -> None:
    response = await open_session(client, member)

    assert response.status_code == 201
    assert response.json() == (await client.get(ME)).json() == (await member.client.get(ME)).json()
    assert response.headers["Cache-Control"] == "no-store"
    cookies = cookies_of(response)
    assert cookies.keys() == {"__Host-session", "__Host-csrf"}
    for cookie in cookies.values():
        assert (cookie["path"], cookie["domain"], cookie["secure"]) == ("/", "", True)
        assert (cookie["samesite"], cookie["max-age"]) == ("lax", "2592000")
    assert cookies["__Host-session"]["httponly"]
    assert not cookies["__Host-csrf"]["httponly"]


async def test_login_ends_the_session_that_it_replaces(
    app: FastAPI, browser: AsyncClient, member: Account, register: Register
) -> None:
    async with new_client(app) as stolen:
        stolen.cookies.set("__Host-session", browser.cookies["__Host-session"])
        assert (await open_session(browser, member, "a wrong password")).status_code == 401
        assert (await stolen.get(ME)).status_code == 200

        assert (await open_session(browser, await register())).status_code == 201

        assert (await stolen.get(ME)).status_code == 401
    assert (await browser.get(ME)).status_code == 200
    assert (await member.client.get(ME)).status_code == 200


@pytest.mark.parametrize("space", [b"\xa0", b"\x85"])
async def test_cookie_with_a_similar_name_is_not_the_session(
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


async def test_csrf_token_reaches_pages_of_other_origins_and_comes_again(
    client: AsyncClient, member: Account
) -> None:
    opened = await open_session(client, member)
    client.cookies.delete("__Host-csrf")

    again = await client.get(SESSION)

    assert again.json() == opened.json()
    token = opened.headers["X-CSRF-Token"]
    assert again.headers["X-CSRF-Token"] == client.cookies["__Host-csrf"] == token
    assert "X-CSRF-Token" not in (await member.client.get(SESSION)).headers


async def test_session_works_on_localhost(new_app: NewApp, member: Account) -> None:
    origin = {"Origin": "http://localhost:8000"}
    async with new_client(new_app(environment="local")) as client:
        client.base_url = origin["Origin"]
        cookies = cookies_of(await open_session(client, member, **origin))
        proof = origin | {"X-CSRF-Token": client.cookies["csrf"]}
        response = await client.patch(ME, json={"full_name": "Ada"}, headers=proof)

    assert response.status_code == 200
    assert cookies.keys() == {"session", "csrf"}
    assert [cookie["secure"] for cookie in cookies.values()] == ["", ""]
    assert [cookie["httponly"] for cookie in cookies.values()] == [True, ""]


async def test_only_own_and_named_origins_act_for_the_user(
    new_app: NewApp, member: Account
) -> None:
    own: list[dict[str, str]] = [
        OWN,
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": PARTNER, "Sec-Fetch-Site": "cross-site"},
    ]
    foreign: list[dict[str, str]] = [
        {},
        {"Origin": "null"},
        {"Origin": "https://["},
        {"Origin": EVIL},
        {"Origin": "https://test.evil.example"},
        {"Origin": "https://test:8443"},
        {"Sec-Fetch-Site": "same-site"},
        OWN | {"Sec-Fetch-Site": "cross-site"},
    ]
    async with new_client(new_app(cors_origins=[PARTNER])) as browser:
        await open_session(browser, member)
        proof = {"X-CSRF-Token": browser.cookies["__Host-csrf"]}
        for origin in own:
            changed = await browser.patch(ME, json={"full_name": "Ada"}, headers=origin | proof)
            assert changed.status_code == 200, origin
        for origin in foreign:
            refused = await browser.patch(ME, json={"full_name": "Eve"}, headers=origin | proof)
            assert refused.status_code == 403, origin

    assert (await member.client.get(ME)).json()["full_name"] == "Ada"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_unsafe_request_wants_a_csrf_token(
    app: FastAPI, browser: AsyncClient, member: Account, method: str
) -> None:
    urls = {"POST": "/api/v1/notes", "PUT": f"{ME}/password", "PATCH": ME, "DELETE": SESSIONS}
    async with new_client(app) as other:
        await open_session(other, member)

    for token in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": other.cookies["__Host-csrf"]}):
        assert (await browser.request(method, urls[method], headers=OWN | token)).status_code == 403
    assert (await browser.get(ME)).status_code == 200


async def test_access_token_needs_no_proof(browser: AsyncClient, member: Account) -> None:
    browser.headers["Authorization"] = member.client.headers["Authorization"]

    assert (await browser.patch(ME, json={"full_name": "Ada"})).status_code == 200


@pytest.mark.parametrize("url", [SESSION, SESSIONS])
async def test_log_out_ends_the_session_and_clears_the_cookies(
    app: FastAPI, browser: AsyncClient, url: str
) -> None:
    stolen = {"Cookie": f"__Host-session={browser.cookies['__Host-session']}"}

    proof = OWN | {"X-CSRF-Token": browser.cookies["__Host-csrf"]}
    response = await browser.delete(url, headers=proof)

    assert response.status_code == 204
    cookies = cookies_of(response)
    assert cookies.keys() == {"__Host-session", "__Host-csrf"}
    for cookie in cookies.values():
        assert (cookie["max-age"], cookie["path"], cookie["secure"]) == ("0", "/", True)
    async with new_client(app) as thief:
        assert (await thief.get(ME, headers=stolen)).status_code == 401


async def test_cookie_that_another_host_can_set_is_not_read(
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
        (401, {"password": "a wrong password"}),
    ],
)
async def test_login_that_nobody_meant_sets_no_cookie(
    client: AsyncClient, member: Account, status: int, login: dict[str, str]
) -> None:
    response = await open_session(client, member, **login)

    assert response.status_code == status
    assert not cookies_of(response)
