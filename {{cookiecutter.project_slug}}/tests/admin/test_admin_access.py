"""Access to the admin pages: login, logout, CSRF, headers and routes."""

import asyncio
import re
from http.cookies import SimpleCookie
from time import time

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import select
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    Role,
    User,
)
from {{ cookiecutter.package_name }}.auth.sessions import revoke_all_sessions
from {{ cookiecutter.package_name }}.state import get_state
from {{ cookiecutter.package_name }}.users import service

from admin_support import log_in_to_pages, new_browser
from mfa_support import enroll, totp
from support import PASSWORD, Account, NewApp, exchange, listen, new_client

LOGIN, LOGOUT, USERS = "/admin/login", "/admin/logout", "/admin/user/list"
FORM_TYPE = "Content-Type: application/x-www-form-urlencoded"
WRONG = "Incorrect email or password."


def redirects_to_login(response: Response) -> bool:
    """Return whether a response redirects to the login form."""
    return response.status_code == 302 and response.headers["Location"].endswith(LOGIN)


async def test_login_creates_a_session_with_a_cookie_for_the_pages(
    app: FastAPI, admin: Account
) -> None:
    browser = new_browser(app)

    response = await log_in_to_pages(browser, admin.email.upper())

    assert response.status_code == 303
    cookie = SimpleCookie(response.headers["Set-Cookie"])["__Secure-admin"]
    assert (cookie["path"], cookie["samesite"], cookie["max-age"]) == ("/admin", "strict", "43200")
    assert cookie["httponly"]
    assert cookie["secure"]
    start = await browser.get("/admin", follow_redirects=True)
    assert (start.status_code, start.url.path) == (200, USERS)
    sessions = (await admin.client.get("/api/v1/auth/sessions")).json()
    assert [login["kind"] for login in sessions] == ["cookie", "token"]
    assert (await browser.get("/api/v1/users/me")).status_code == 401


async def test_login_revokes_the_session_that_it_replaces(
    app: FastAPI, admin: Account, browser: AsyncClient
) -> None:
    stolen = new_browser(app)
    stolen.cookies.set("__Secure-admin", browser.cookies["__Secure-admin"], path="/admin")
    assert (await stolen.get(USERS)).status_code == 200

    await log_in_to_pages(browser, admin.email)

    assert redirects_to_login(await stolen.get(USERS))
    assert (await browser.get(USERS)).status_code == 200


async def test_cookies_of_pages_and_api_are_not_interchangeable(
    app: FastAPI, admin: Account, browser: AsyncClient
) -> None:
    async with new_client(app) as api:
        await api.post("/api/v1/auth/session", json={"email": admin.email, "password": PASSWORD})
        swapped = new_browser(app)
        swapped.cookies.set("__Secure-admin", api.cookies["__Host-session"], path="/admin")
        swapped.cookies.set("__Host-session", browser.cookies["__Secure-admin"])

    assert redirects_to_login(await swapped.get(USERS))
    assert (await swapped.get("/api/v1/auth/session")).status_code == 401


@pytest.mark.parametrize("password", ["wrong-password-1843", "", "\0", "x" * 2000])
async def test_wrong_password_is_rejected(app: FastAPI, admin: Account, password: str) -> None:
    response = await log_in_to_pages(new_browser(app), admin.email, password)

    assert (response.status_code, "Set-Cookie" in response.headers) == (400, False)
    assert WRONG in response.text


async def test_ordinary_user_gets_the_same_response_as_a_wrong_password(
    new_app: NewApp, member: Account, session: AsyncSession, capsys: pytest.CaptureFixture[str]
) -> None:
    app = new_app(log_level="INFO", log_format="json")
    user = await log_in_to_pages(new_browser(app), member.email)
    wrong = await log_in_to_pages(new_browser(app), member.email, "wrong-password-1843")

    assert (user.status_code, user.text) == (wrong.status_code, wrong.text)
    assert capsys.readouterr().out.count('"login failed"') == 2
    assert "Set-Cookie" not in user.headers
    logins = await session.scalars(
        select(LoginSession).where(LoginSession.cookie_hash.is_not(None))
    )
    assert logins.all() == []


async def test_login_attempts_are_limited(new_app: NewApp, admin: Account) -> None:
    browser = new_browser(new_app(login_attempts=1))
    await log_in_to_pages(browser, admin.email, "wrong-password-1843")

    response = await log_in_to_pages(browser, admin.email)

    assert (response.status_code, "Retry-After" in response.headers) == (429, True)
    assert "Too many attempts; try again later." in response.text


async def test_login_requires_the_code_of_a_second_factor(app: FastAPI, admin: Account) -> None:
    browser, now = new_browser(app), time()
    factor = await enroll(admin, now)

    missing = await log_in_to_pages(browser, admin.email)
    used = await log_in_to_pages(browser, admin.email, otp=totp(factor.secret, now))
    long = await log_in_to_pages(browser, admin.email, otp="0" * 65)

    assert "Enter a code of your authenticator app, or a recovery code." in missing.text
    assert "Incorrect code." in used.text
    assert {missing.status_code, used.status_code, long.status_code} == {400}
    assert redirects_to_login(await browser.get(USERS))
    for otp in (totp(factor.secret, now + 30), factor.recovery_codes[0]):
        response = await log_in_to_pages(browser, admin.email, otp=otp)
        assert response.status_code == 303
        assert (await browser.get(USERS)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user/create"),
        ("GET", "/user/edit/{id}"),
        ("GET", "/login-session/action/revoke?pks={id}"),
        ("POST", "/login-session/action/revoke?pks={id}"),
    ],
)
async def test_changes_need_a_recent_login(
    stale_browser: AsyncClient, admin: Account, member: Account, method: str, path: str
) -> None:
    url = "/admin" + path.format(id=member.id)
    for shown in (USERS, f"/admin/user/details/{member.id}", "/admin/user/export/csv", LOGOUT):
        assert (await stale_browser.get(shown)).status_code == 200

    response = await stale_browser.request(method, url)

    assert (response.status_code, response.headers["Location"]) == (302, f"{LOGIN}?again=1")
    form = await stale_browser.get(response.headers["Location"])
    assert "Log in again to make changes." in form.text
    await log_in_to_pages(stale_browser, admin.email)
    assert (await stale_browser.request(method, url)).status_code in {200, 303}


@pytest.mark.parametrize("cookie", [None, "guessed"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user/list"),
        ("GET", "/user/create"),
        ("POST", "/user/create"),
        ("GET", "/user/details/{id}"),
        ("GET", "/user/edit/{id}"),
        ("POST", "/user/edit/{id}"),
        ("GET", "/user/export/csv"),
        ("DELETE", "/user/delete?pks={id}"),
        ("GET", "/login-session/action/revoke?pks={id}"),
        ("POST", "/login-session/action/revoke?pks={id}"),
        ("GET", "/logout"),
        ("POST", "/logout"),
    ],
)
async def test_pages_require_an_administrator(
    app: FastAPI, member: Account, method: str, path: str, cookie: str | None
) -> None:
    browser = new_browser(app)
    if cookie is not None:
        browser.cookies.set("__Secure-admin", cookie, path="/admin")

    assert redirects_to_login(await browser.request(method, "/admin" + path.format(id=member.id)))
    assert (await member.client.get("/api/v1/users/me")).status_code == 200


async def test_cookie_with_a_similar_name_is_ignored(app: FastAPI, browser: AsyncClient) -> None:
    cookie = f"__Secure-admin={browser.cookies['__Secure-admin']}".encode()
    statuses = []
    async with listen(app) as port:
        for space in (b"", b"\xa0", b"\x85"):
            head = f"GET {USERS} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nCookie: ".encode()
            response = await exchange(port, head + space + cookie + b"\r\n\r\n")
            statuses.append(response[9:12])

    assert statuses == [b"200", b"302", b"302"]


@pytest.mark.parametrize("change", ["revoked", "deactivated", "demoted"])
async def test_access_ends_immediately(
    browser: AsyncClient, admin: Account, session: AsyncSession, change: str
) -> None:
    user = await session.get_one(User, admin.id)
    if change == "revoked":
        await revoke_all_sessions(session, user.id)
    user.is_active = change != "deactivated"
    user.role = Role.USER if change == "demoted" else Role.ADMIN
    await session.commit()

    assert redirects_to_login(await browser.get(USERS))


async def test_logout_requires_confirmation_and_revokes_the_session(browser: AsyncClient) -> None:
    asked = await browser.get(LOGOUT)
    assert '<form method="post">' in asked.text
    assert (await browser.get(USERS)).status_code == 200
    token = browser.cookies["__Secure-admin"]

    response = await browser.post(LOGOUT)

    assert redirects_to_login(Response(302, headers=response.headers))
    assert "__Secure-admin" not in browser.cookies
    browser.cookies.set("__Secure-admin", token, path="/admin")
    assert redirects_to_login(await browser.get(USERS))


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "null", ""])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", LOGIN), ("POST", LOGOUT), ("DELETE", "/admin/user/delete?pks={id}")],
)
async def test_requests_of_other_sites_are_rejected(
    browser: AsyncClient, member: Account, method: str, path: str, origin: str
) -> None:
    headers = {"Origin": origin}

    response = await browser.request(method, path.format(id=member.id), headers=headers)

    assert response.status_code == 403
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Set-Cookie" not in response.headers
    assert (await browser.get(USERS)).text.count("@example.com") == 2


async def test_cors_origins_are_other_sites(new_app: NewApp, admin: Account) -> None:
    browser = new_browser(new_app(cors_origins=["https://app.example"]))
    browser.headers["Origin"] = "https://app.example"

    assert (await log_in_to_pages(browser, admin.email)).status_code == 403
    # Scripts of these origins could read a response.
    assert (await browser.get("/admin/user/export/csv")).status_code == 403


async def test_links_do_not_change_anything(browser: AsyncClient, member: Account) -> None:
    response = await browser.get(f"/admin/user/delete?pks={member.id}")

    assert response.status_code == 405
    assert (await member.client.get("/api/v1/users/me")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user/{id}/email/download/"),
        ("GET", "/user/{id}/email/preview/"),
        ("GET", "/user/ajax/lookup?name=email&term=a"),
        ("POST", "/user/import"),
    ],
)
async def test_routes_that_are_not_allowed_are_not_found(
    browser: AsyncClient, member: Account, method: str, path: str
) -> None:
    response = await browser.request(method, "/admin" + path.format(id=member.id))

    assert (response.status_code, response.headers["Content-Type"]) == (
        404,
        "text/html; charset=utf-8",
    )


async def test_pages_load_only_own_files_and_run_no_inline_script(
    browser: AsyncClient, admin: Account
) -> None:
    paths = [
        "user/create",
        f"user/edit/{admin.id}",
        f"user/details/{admin.id}",
        "logout",
        "nowhere",
    ]
    menu = (await browser.get("/admin/user/list")).text
    lists = set(re.findall(r'href="https://test/admin/([\w-]+/list)"', menu))
    assert lists >= {"user/list", "login-session/list", "audit-event/list"}
    assets = set[str]()
    for path in ["login", *paths, *lists]:
        page = await browser.get(f"/admin/{path}")
        assert page.headers["Content-Type"].startswith("text/html")
        assert page.headers["Cache-Control"] == "no-store"
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", page.text)
        used = re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']([^"']+)""", page.text)
        assets.update(url for url in used if url != "data:,")

    for url in assets:
        assert url.startswith("https://test/admin/statics/")
        assert (await browser.get(url)).status_code == 200


async def test_login_works_on_localhost(new_app: NewApp, admin: Account) -> None:
    async with new_client(new_app(environment="local")) as browser:
        browser.base_url = browser.headers["Origin"] = "http://localhost:8000"
        response = await log_in_to_pages(browser, admin.email)
        page = await browser.get(USERS)

    cookie = SimpleCookie(response.headers["Set-Cookie"])["admin"]
    assert (cookie["secure"], page.status_code) == ("", 200)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/user/details/1", 404),
        ("/user/edit/01890a5d-ac96-774b-bcce-b302099a8057", 404),
        ("/nothing/list", 404),
        ("/user/list?page=x", 400),
        (f"/user/list?search={'x' * 60_000}", 400),
        ("/user/list?sortBy=password_hash", 400),
        ("/user/list?search=%01&role=nobody&is_active=maybe", 200),
        ("/login-session/action/revoke?pks=1", 400),
    ],
)
async def test_invalid_urls_are_answered_with_a_page(
    browser: AsyncClient, path: str, status: int
) -> None:
    response = await browser.get(f"/admin{path}")

    assert (response.status_code, response.headers["Content-Type"]) == (
        status,
        "text/html; charset=utf-8",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin"),
        ("GET", "/admin/"),
        ("GET", "/admin/user/list?page=5"),
        ("POST", LOGIN),
        ("POST", LOGOUT),
    ],
)
@pytest.mark.parametrize("is_logged_in", [True, False])
async def test_redirects_contain_no_host(
    app: FastAPI,
    browser: AsyncClient,
    admin: Account,
    method: str,
    path: str,
    is_logged_in: bool,
) -> None:
    client = browser if is_logged_in or path == LOGIN else new_browser(app)
    host = {"Host": "evil.example", "Origin": "https://evil.example"}
    form = {"username": admin.email, "password": PASSWORD} if method == "POST" else None

    response = await client.request(method, path, data=form, headers=host)

    assert response.is_redirect
    assert response.headers["Location"].startswith("/admin/")


async def test_malformed_referrer_is_rejected(browser: AsyncClient, member: Account) -> None:
    url = f"/admin/user/delete?pks={member.id}"

    assert (await browser.delete(url, headers={"Referer": "http://["})).status_code == 400


async def test_deletion_without_selected_rows_is_rejected(browser: AsyncClient) -> None:
    assert (await browser.delete("/admin/user/delete")).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "unavailable"),
    [
        ("GET", "list", "read_connection"),
        ("POST", "create", "write_session"),
        ("POST", "edit/{id}", "write_session"),
        ("DELETE", "delete?pks={id}", "write_session"),
    ],
)
async def test_database_outage_is_a_problem(
    app: FastAPI,
    browser: AsyncClient,
    member: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    unavailable: str,
) -> None:
    def fail() -> None:
        raise PoolTimeoutError

    monkeypatch.setattr(get_state(app).database, unavailable, fail)
    url = f"/admin/user/{path.format(id=member.id)}"
    form = {"email": "new@example.com", "role": "user", "password": PASSWORD}

    response = await browser.request(method, url, data=form)

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "ERROR" not in [record.levelname for record in caplog.records]


@pytest.mark.parametrize(
    ("method", "path", "function"),
    [("DELETE", "delete?pks={id}", "delete_user"), ("POST", "edit/{id}", "get_user")],
)
async def test_unexpected_error_is_answered_without_internals(
    browser: AsyncClient,
    member: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    function: str,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("internals")

    monkeypatch.setattr(service, function, fail)
    url = f"/admin/user/{path.format(id=member.id)}"

    response = await browser.request(method, url, data={"email": member.email, "role": "user"})

    assert (response.status_code, response.json()["title"]) == (500, "Internal Server Error")
    assert "internals" not in response.text
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


async def test_client_that_disconnects_during_login_causes_no_error(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    lines = f"POST {LOGIN} HTTP/1.1", "Host: test", "Origin: https://test", "Content-Length: 99"
    async with listen(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write("\r\n".join([*lines, FORM_TYPE, "", "username="]).encode())
        writer.write_eof()
        async with asyncio.timeout(60):
            await reader.read()
        writer.close()

    assert "ERROR" not in [record.levelname for record in caplog.records]
