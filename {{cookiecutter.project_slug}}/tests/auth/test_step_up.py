"""Sensitive routes need recent authentication (RFC 9470)."""

import re
import time
from datetime import timedelta
from typing import Any, get_type_hints
from uuid import UUID, uuid4

import jwt
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx2 import AsyncClient, Response
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }} import api
from {{ cookiecutter.package_name }}.auth.dependencies import (
    STEP_UP,
    RecentAdmin,
    RecentPrincipal,
)
from {{ cookiecutter.package_name }}.auth.models import LoginSession
from {{ cookiecutter.package_name }}.database import utcnow

from mfa_support import enroll
from support import (
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    assert_throttled,
    change_password,
    log_in,
    new_client,
    pointers,
    refresh,
)

REAUTHENTICATION = "/api/v1/auth/reauthentication"
CHALLENGE = (
    'Bearer error="insufficient_user_authentication", '
    'error_description="Authenticate again, then repeat the request.", max_age="900"'
)


def sensitive_routes(app: FastAPI) -> list[tuple[str, str]]:
    """Return methods and paths of the routes that need recent authentication, as described."""
    return [
        (method, path)
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if operation["responses"].get("401", {}).get("description") == STEP_UP[401]["description"]
    ]


async def age_sessions(session: AsyncSession, user_id: UUID, **values: object) -> None:
    """Let the authentication in all sessions of the user be older than STEP_UP_MAX_AGE."""
    values = values or {"authenticated_at": utcnow() - timedelta(seconds=901)}
    await session.execute(
        update(LoginSession).where(LoginSession.user_id == user_id).values(**values)
    )
    await session.commit()


async def reauthenticate(client: AsyncClient, password: str = PASSWORD, **otp: str) -> Response:
    """Authenticate again in the session of the client."""
    return await client.post(REAUTHENTICATION, json={"password": password} | otp)


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of an access token."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_sensitive_routes_need_recent_authentication(
    app: FastAPI, admin: Account, session: AsyncSession
) -> None:
    routes = sensitive_routes(app)
    assert {
        ("post", "/api/v1/auth/factors/totp"),
        ("post", "/api/v1/auth/factors/{factor_id}/confirmation"),
        ("delete", "/api/v1/auth/factors/{factor_id}"),
        ("post", "/api/v1/auth/recovery-codes"),
        ("post", "/api/v1/users/me/email"),
        ("put", "/api/v1/users/me/password"),
        ("delete", "/api/v1/users/me"),
        ("post", "/api/v1/users/invitations"),
        ("patch", "/api/v1/users/{user_id}"),
        ("delete", "/api/v1/users/{user_id}/factors"),
    } <= {*routes}
    await age_sessions(session, admin.id)

    for method, path in routes:
        url = re.sub(r"{\w+}", str(uuid4()), path)
        response = await admin.client.request(method, url)
        assert response.status_code == 401, path
        assert response.headers["WWW-Authenticate"] == CHALLENGE
        assert response.json()["type"] == "/problems/reauthentication-required"

    response = await reauthenticate(admin.client)
    assert (response.status_code, response.content) == (204, b"")
    for method, path in routes:
        url = re.sub(r"{\w+}", str(uuid4()), path)
        response = await admin.client.request(method, url)
        assert response.status_code != 401, path


def test_routes_that_need_recent_authentication_are_described(app: FastAPI) -> None:
    routes = [route for router in api.ROUTERS for route in router.routes]
    assert sorted(sensitive_routes(app)) == sorted(
        (method.lower(), route.path)
        for route in routes
        if isinstance(route, APIRoute)
        for hint in get_type_hints(route.endpoint, include_extras=True).values()
        if hint in (RecentAdmin, RecentPrincipal)
        for method in route.methods or ()
    )


async def test_other_users_are_not_asked_to_authenticate_for_administration(
    member: Account, session: AsyncSession
) -> None:
    await age_sessions(session, member.id)

    response = await member.client.patch(f"/api/v1/users/{member.id}", json={"role": "admin"})

    assert response.status_code == 403


async def test_session_without_a_time_of_authentication_counts_from_the_login(
    member: Account, session: AsyncSession
) -> None:
    values = {"authenticated_at": None, "amr": None}
    await age_sessions(session, member.id, **values)
    assert (await change_password(member.client, WRONG_PASSWORD)).status_code == 403
    claims = claims_of((await refresh(member.client, member.refresh_token)).json()["access_token"])
    assert (claims["auth_time"], claims["amr"]) == (pytest.approx(time.time(), abs=60), ["pwd"])

    await age_sessions(session, member.id, created_at=utcnow() - timedelta(days=1))

    assert (await change_password(member.client)).status_code == 401


async def test_browser_authenticates_again_in_its_session(
    browser: AsyncClient, member: Account, session: AsyncSession
) -> None:
    browser.headers |= {"X-CSRF-Token": browser.cookies["__Host-csrf"], "Origin": "https://test"}
    await age_sessions(session, member.id)
    assert (await change_password(browser)).headers["WWW-Authenticate"] == CHALLENGE
    before = (await browser.get("/api/v1/auth/sessions")).json()

    response = await reauthenticate(browser)

    assert response.status_code == 204
    after = (await browser.get("/api/v1/auth/sessions")).json()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    [(old, new)] = changed
    assert new["current"]
    assert new == old | {"authenticated_at": new["authenticated_at"]}
    events = (await browser.get("/api/v1/users/me/audit-events")).json()["items"]
    assert (events[0]["action"], events[0]["credential"]) == ("reauthenticated", "cookie")
    assert (await change_password(browser)).status_code == 204


async def test_wrong_password_does_not_renew_the_authentication(
    member: Account, session: AsyncSession
) -> None:
    await age_sessions(session, member.id)

    for _ in range(10):
        response = await reauthenticate(member.client, WRONG_PASSWORD)
        assert (response.status_code, pointers(response)) == (403, ["/body/password"])

    assert (await change_password(member.client)).status_code == 401
    assert_throttled(await reauthenticate(member.client))


async def test_account_with_a_factor_needs_a_code_to_authenticate_again(
    member: Account, session: AsyncSession
) -> None:
    factor = await enroll(member)
    await age_sessions(session, member.id)
    stale = await change_password(member.client)
    assert stale.headers["WWW-Authenticate"] == f'{CHALLENGE}, acr_values="aal2"'

    wrong = await reauthenticate(member.client, otp="000000")
    assert (wrong.status_code, pointers(wrong)) == (403, ["/body/otp"])
    assert (await reauthenticate(member.client)).json()["type"] == "/problems/mfa-required"
    assert (await change_password(member.client)).status_code == 401
    events = (await member.client.get("/api/v1/users/me/audit-events")).json()["items"]
    assert events[0]["action"] == "login.code_failed"

    accepted = await reauthenticate(member.client, otp=factor.recovery_codes[0])
    assert accepted.status_code == 204
    claims = claims_of((await refresh(member.client, member.refresh_token)).json()["access_token"])
    assert claims["auth_time"] == pytest.approx(time.time(), abs=60)
    assert (claims["amr"], claims["acr"]) == (["pwd", "otp", "mfa"], "aal2")
    assert (await change_password(member.client)).status_code == 204


async def test_refreshed_token_keeps_the_time_of_authentication(
    app: FastAPI, member: Account, session: AsyncSession
) -> None:
    await age_sessions(session, member.id)
    tokens = (await refresh(member.client, member.refresh_token)).json()
    assert claims_of(tokens["access_token"])["auth_time"] < time.time() - 900

    client = new_client(app, tokens["access_token"])
    await reauthenticate(client)

    refreshed = (await refresh(client, tokens["refresh_token"])).json()
    logged_in = (await log_in(client, member.email)).json()
    for token in (refreshed, logged_in):
        claims = claims_of(token["access_token"])
        assert claims["auth_time"] == pytest.approx(time.time(), abs=60)
        assert (claims["amr"], claims["acr"]) == (["pwd"], "aal1")
