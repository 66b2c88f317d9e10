"""Browser sessions: cookies and protection from cross-site requests."""

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from support import (
    NEW_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    NewApp,
    Register,
    cookies_of,
    create_session,
    new_client,
)

ME, SESSION, SESSIONS = "/api/v1/users/me", "/api/v1/auth/session", "/api/v1/auth/sessions"
OWN, PARTNER, EVIL = {"Origin": "https://test"}, "https://app.example", "https://evil.example"


async def test_session_cookies_are_bound_to_the_host(client: AsyncClient, member: Account) -> None:
    response = await create_session(client, member)

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


async def test_login_replaces_the_session_of_the_browser(
    app: FastAPI, browser: AsyncClient, member: Account, register: Register
) -> None:
    async with new_client(app) as stolen:
        stolen.cookies.set("__Host-session", browser.cookies["__Host-session"])
        assert (await create_session(browser, member, WRONG_PASSWORD)).status_code == 401
        assert (await stolen.get(ME)).status_code == 200

        assert (await create_session(browser, await register())).status_code == 201

        assert (await stolen.get(ME)).status_code == 401
    assert (await browser.get(ME)).status_code == 200
    assert (await member.client.get(ME)).status_code == 200


async def test_csrf_token_is_in_a_header_and_renewed(client: AsyncClient, member: Account) -> None:
    created = await create_session(client, member)
    client.cookies.delete("__Host-csrf")

    response = await client.get(SESSION)

    assert response.json() == created.json()
    token = created.headers["X-CSRF-Token"]
    assert response.headers["X-CSRF-Token"] == client.cookies["__Host-csrf"] == token
    assert "X-CSRF-Token" not in (await member.client.get(SESSION)).headers


async def test_unsafe_requests_of_other_origins_are_rejected(
    new_app: NewApp, member: Account
) -> None:
    allowed: list[dict[str, str]] = [
        OWN,
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": PARTNER, "Sec-Fetch-Site": "cross-site"},
    ]
    rejected: list[dict[str, str]] = [
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
        await create_session(browser, member)
        csrf_token = {"X-CSRF-Token": browser.cookies["__Host-csrf"]}
        for origin in allowed:
            response = await browser.patch(
                ME, json={"full_name": "Ada"}, headers=origin | csrf_token
            )
            assert response.status_code == 200, origin
        for origin in rejected:
            response = await browser.patch(
                ME, json={"full_name": "Eve"}, headers=origin | csrf_token
            )
            assert response.status_code == 403, origin

    assert (await member.client.get(ME)).json()["full_name"] == "Ada"


async def test_access_token_takes_precedence_over_the_cookies(
    browser: AsyncClient, register: Register
) -> None:
    other = await register()
    browser.headers["Authorization"] = other.client.headers["Authorization"]

    responses = [
        await browser.get(SESSION),
        await browser.patch(ME, json={"full_name": "Ada"}),  # without a CSRF token
        await browser.delete(SESSION),
    ]

    assert [response.status_code for response in responses] == [200, 200, 204]
    assert responses[0].json()["id"] == str(other.id)
    assert not any("X-CSRF-Token" in response.headers for response in responses)
    assert not any(cookies_of(response) for response in responses)


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("DELETE", SESSION, None),
        ("DELETE", SESSIONS, None),
        ("DELETE", SESSIONS + "/{current}", None),
        ("DELETE", ME, {"password": PASSWORD}),
        ("PUT", f"{ME}/password", {"current_password": PASSWORD, "new_password": NEW_PASSWORD}),
    ],
)
async def test_end_of_the_session_clears_the_cookies(
    app: FastAPI, browser: AsyncClient, method: str, url: str, body: dict[str, str] | None
) -> None:
    stolen = {"Cookie": f"__Host-session={browser.cookies['__Host-session']}"}
    [current] = [login for login in (await browser.get(SESSIONS)).json() if login["current"]]
    csrf_token = OWN | {"X-CSRF-Token": browser.cookies["__Host-csrf"]}

    url = url.format(current=current["id"])
    response = await browser.request(method, url, json=body, headers=csrf_token)

    assert response.status_code == 204
    cookies = cookies_of(response)
    assert cookies.keys() == {"__Host-session", "__Host-csrf"}
    for cookie in cookies.values():
        assert (cookie["max-age"], cookie["path"], cookie["secure"]) == ("0", "/", True)
    async with new_client(app) as attacker:
        assert (await attacker.get(ME, headers=stolen)).status_code == 401
