"""The number of SQL statements of the most used routes."""

import time

import pytest
from httpx2 import AsyncClient

from mfa_support import enroll, totp
from support import (
    WRONG_PASSWORD,
    Account,
    Statements,
    create_session,
    log_in,
    refresh,
)


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("users/me", 1),  # principal
        ("users", 2),  # principal, users
        ("audit-events", 2),
        ("users/me/audit-events", 2),
        ("auth/sessions", 2),
    ],
)
async def test_statements_of_a_read(
    admin: Account, statements: Statements, path: str, count: int
) -> None:
    with statements() as executed:
        response = await admin.client.get(f"/api/v1/{path}")

    assert response.status_code == 200
    assert len(executed) == count, executed


async def test_statements_of_a_refresh(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    with statements() as executed:
        response = await refresh(client, member.refresh_token)

    assert response.status_code == 200
    # session, use of the token, used tokens, session, new token
    assert len(executed) == 5, executed


async def test_statements_of_a_login(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    with statements() as executed:
        response = await log_in(client, member.email)

    assert response.status_code == 200
    # account, its addresses, account for update, old sessions, session, token, audit
    assert len(executed) == 7, executed


async def test_statements_of_a_login_with_a_second_factor(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    factor = await enroll(member)
    otp = totp(factor.secret, time.time() + 30)

    with statements() as executed:
        response = await log_in(client, member.email, otp=otp)

    assert response.status_code == 200
    assert len(executed) == 9, executed  # also factor, use of its code


async def test_statements_of_a_browser_login_and_logout(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    with statements() as executed:
        response = await create_session(client, member)

    assert response.status_code == 201
    # account, its addresses, account for update, old sessions, session, audit
    assert len(executed) == 6, executed

    headers = {"X-CSRF-Token": client.cookies["__Host-csrf"], "Origin": "https://test"}
    with statements() as executed:
        response = await client.delete("/api/v1/auth/session", headers=headers)

    assert response.status_code == 204
    assert len(executed) == 3, executed  # principal, session, audit


async def test_failed_login_has_the_same_statements_for_every_address(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    kinds = []
    for email in (member.email, "unknown@example.com"):
        with statements() as executed:
            assert (await log_in(client, email, WRONG_PASSWORD)).status_code == 400
        kinds.append(executed)

    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 3  # account, its addresses, audit
