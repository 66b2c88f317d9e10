"""Scopes: what a login grants, what a route requires, and what a change of the role changes."""

import re
from collections.abc import Awaitable, Callable, Iterator
from uuid import UUID, uuid4

import jwt
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    Role,
)
from {{ cookiecutter.package_name }}.auth.scopes import (
    define_scope,
    effective_scopes,
)

from support import (
    Account,
    create_personal_token,
    log_in,
    log_in_with,
    new_client,
    refresh,
    request_client_token,
    set_role,
)

ME = "/api/v1/users/me"
USERS = "/api/v1/users"
SESSIONS = "/api/v1/auth/sessions"


def secured_operations(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """Yield the method, a URL and the scope of each operation that needs a credential."""
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            if "security" in operation:
                [scope] = operation["security"][0]["OAuth2"]
                yield method, re.sub(r"{\w+}", str(UUID(int=0)), path), scope


def claims_of(response: Response) -> dict[str, object]:
    """Return the claims of the access token."""
    token = response.json()["access_token"]
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims


def assert_insufficient_scope(response: Response, scope: str) -> None:
    """Check the problem and the challenge (RFC 6750 section 3.1)."""
    assert response.status_code == 403, response.request.url
    assert response.json()["type"] == "/problems/insufficient-scope"
    challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
    assert response.headers["WWW-Authenticate"] == challenge


async def test_every_operation_requires_its_scope(app: FastAPI, admin: Account) -> None:
    operations = [*secured_operations(app)]
    assert len(operations) > 20

    for method, url, scope in operations:
        others = effective_scopes(Role.ADMIN) - {scope}
        async with await log_in_with(app, admin, *others) as client:
            assert_insufficient_scope(await client.request(method, url), scope)
        async with await log_in_with(app, admin, scope) as client:
            response = await client.request(method, url)
            assert response.status_code < 500, (method, url, response.text)
            assert response.status_code != 403, (method, url, response.text)


async def personal_token(admin: Account, *scopes: str) -> str:
    """Return a personal access token of an administrator."""
    token: str = (await create_personal_token(admin, *scopes))["token"]
    return token


async def service_account_token(admin: Account, *scopes: str) -> str:
    """Return an access token of a new service account."""
    body = {"name": uuid4().hex, "scopes": scopes}
    account = (await admin.client.post("/api/v1/service-accounts", json=body)).json()
    credentials = account["id"], account["client_secret"]
    token: str = (await request_client_token(admin.client, *credentials)).json()["access_token"]
    return token


@pytest.mark.parametrize("new_token", [personal_token, service_account_token])
async def test_every_operation_requires_its_scope_of_a_program(
    app: FastAPI, admin: Account, new_token: Callable[..., Awaitable[str]]
) -> None:
    scopes = effective_scopes(Role.SERVICE)
    for scope in scopes:
        limited = new_client(app, await new_token(admin, *scopes - {scope}))
        exact = new_client(app, await new_token(admin, scope))
        for method, url, required in secured_operations(app):
            if required == scope:
                assert_insufficient_scope(await limited.request(method, url), scope)
                response = await exact.request(method, url)
                assert response.status_code < 500, (method, url, response.text)
                assert "WWW-Authenticate" not in response.headers, (method, url)


async def test_login_without_a_scope_has_all_scopes_of_the_role(
    client: AsyncClient, member: Account
) -> None:
    for form in ({}, {"scope": ""}):
        response = await log_in(client, member.email, **form)

        assert set(response.json()["scope"].split()) == effective_scopes(Role.USER)
        assert "scope" not in claims_of(response)


async def test_login_has_only_the_requested_scopes(client: AsyncClient, member: Account) -> None:
    response = await log_in(client, member.email, scope="account:write account:read account:write")

    assert response.json()["scope"] == claims_of(response)["scope"] == "account:read account:write"


@pytest.mark.parametrize(
    "scope",
    [
        "unknown",
        "account:read unknown",
        "users:admin",
        "ACCOUNT:READ",
        " ",
        "account:read ",
        "account:read\taccount:write",
        "account:read,account:write",
        '"',
        "\u00a0",
    ],
)
async def test_scope_that_cannot_be_granted_is_rejected(
    client: AsyncClient, member: Account, scope: str
) -> None:
    for response in (
        await log_in(client, member.email, scope=scope),
        await refresh(client, member.refresh_token, scope=scope),
    ):
        assert response.status_code == 400
        assert response.json()["error"] == "invalid_scope"
        assert response.headers["Cache-Control"] == "no-store"

    # Neither request has used up the refresh token.
    assert (await refresh(client, member.refresh_token)).status_code == 200


async def test_wrong_password_is_reported_before_the_scope(
    client: AsyncClient, member: Account
) -> None:
    response = await log_in(client, member.email, "wrong", scope="unknown")

    assert response.json()["error"] == "invalid_grant"


async def test_refresh_narrows_only_the_access_token(app: FastAPI, member: Account) -> None:
    async with new_client(app) as client:
        granted = "account:read account:write"
        login = (await log_in(client, member.email, scope=granted)).json()
        narrowed = await refresh(client, login["refresh_token"], scope="account:read")
        token = narrowed.json()["refresh_token"]
        restored = await refresh(client, token)

    assert narrowed.json()["scope"] == claims_of(narrowed)["scope"] == "account:read"
    assert restored.json()["scope"] == claims_of(restored)["scope"] == granted
    async with new_client(app, narrowed.json()["access_token"]) as client:
        assert (await client.get(ME)).status_code == 200
        assert_insufficient_scope(await client.delete(SESSIONS), "account:write")


async def test_refresh_cannot_add_a_scope(client: AsyncClient, member: Account) -> None:
    login = (await log_in(client, member.email, scope="account:read")).json()

    exceeding = await refresh(client, login["refresh_token"], scope="account:read account:write")

    assert exceeding.json()["error"] == "invalid_scope"
    assert (await refresh(client, login["refresh_token"])).json()["scope"] == "account:read"


async def test_reuse_of_a_refresh_token_is_detected_whatever_scope_it_requests(
    client: AsyncClient, member: Account
) -> None:
    await refresh(client, member.refresh_token)

    reused = await refresh(client, member.refresh_token, scope="unknown")

    assert reused.json()["error"] == "invalid_grant"
    assert (await member.client.get(ME)).status_code == 401


async def test_refresh_of_a_full_login_can_be_narrowed(app: FastAPI, member: Account) -> None:
    async with new_client(app) as client:
        narrowed = (await refresh(client, member.refresh_token, scope="account:read")).json()
        full = await refresh(client, narrowed["refresh_token"])

    async with new_client(app, narrowed["access_token"]) as client:
        assert_insufficient_scope(await client.delete(SESSIONS), "account:write")
    assert set(full.json()["scope"].split()) == effective_scopes(Role.USER)
    assert "scope" not in claims_of(full)


async def test_role_determines_the_scopes_at_each_request(
    browser: AsyncClient, member: Account, session: AsyncSession
) -> None:
    """Check tokens and cookies that were issued before a promotion and a demotion."""
    for role, status in ((Role.USER, 403), (Role.ADMIN, 200), (Role.USER, 403)):
        await set_role(session, member, role)
        for client in (browser, member.client):
            response = await client.get(USERS)
            assert response.status_code == status
            if status == 403:
                assert_insufficient_scope(response, "users:admin")


async def test_demotion_removes_granted_scopes(
    app: FastAPI, admin: Account, session: AsyncSession
) -> None:
    async with new_client(app) as client:
        login = (await log_in(client, admin.email, scope="account:read users:admin")).json()
        only_admin = (await log_in(client, admin.email, scope="users:admin")).json()
        await set_role(session, admin, Role.USER)
        refreshed = (await refresh(client, login["refresh_token"])).json()
        without_any = await refresh(client, only_admin["refresh_token"])
        listed = (await admin.client.get(SESSIONS)).json()

    async with new_client(app, login["access_token"]) as client:
        assert_insufficient_scope(await client.get(USERS), "users:admin")
    assert refreshed["scope"] == "account:read"
    assert without_any.json()["error"] == "invalid_scope"
    assert [one["scopes"] for one in listed[:2]] == [[], ["account:read"]]


async def test_promotion_adds_nothing_to_a_login_that_requested_scopes(
    app: FastAPI, member: Account, session: AsyncSession
) -> None:
    async with await log_in_with(app, member, "account:read") as client:
        await set_role(session, member, Role.ADMIN)

        assert_insufficient_scope(await client.get(USERS), "users:admin")


async def test_scopes_of_the_session_limit_each_access_token(
    member: Account, session: AsyncSession
) -> None:
    await session.execute(update(LoginSession).values(scope="account:read"))
    await session.commit()

    assert_insufficient_scope(await member.client.delete(SESSIONS), "account:write")


async def test_sessions_show_their_scopes(app: FastAPI, member: Account) -> None:
    async with await log_in_with(app, member, "account:read") as client:
        limited, full = (await client.get(SESSIONS)).json()

    assert limited["scopes"] == ["account:read"]
    assert full["scopes"] == sorted(effective_scopes(Role.USER))


async def test_openapi_describes_the_scopes(app: FastAPI) -> None:
    flows = app.openapi()["components"]["securitySchemes"]["OAuth2"]["flows"]

    assert flows["password"]["scopes"].keys() == effective_scopes(Role.ADMIN)
    assert flows["clientCredentials"]["scopes"].keys() == effective_scopes(Role.SERVICE)
    assert flows["clientCredentials"]["tokenUrl"] == flows["password"]["tokenUrl"]
    assert all(flows["password"]["scopes"].values())


def test_scope_cannot_be_defined_twice() -> None:
    with pytest.raises(ValueError, match="account:read is already defined"):
        define_scope("account:read", "Read the account.")
