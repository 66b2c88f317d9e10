"""Audit events of login sessions."""

from typing import Any

from fastapi import FastAPI
from httpx2 import AsyncClient

from support import Account, create_session, log_in, new_client, refresh

REVOCATION = "/api/v1/auth/revoke"
SESSIONS = "/api/v1/auth/sessions"


async def events_of(app: FastAPI, account: Account) -> list[dict[str, Any]]:
    """Log in again, and return the events of sessions, newest first."""
    tokens = (await log_in(new_client(app), account.email)).json()
    client = new_client(app, tokens["access_token"])
    events = (await client.get("/api/v1/users/me/audit-events")).json()["items"]
    return [event for event in events if event["action"].startswith("session")]


async def test_logout_is_recorded(app: FastAPI, browser: AsyncClient, member: Account) -> None:
    [session_id] = [
        login["id"] for login in (await browser.get(SESSIONS)).json() if login["current"]
    ]
    headers = {"X-CSRF-Token": browser.cookies["__Host-csrf"], "Origin": "https://test"}

    await browser.delete("/api/v1/auth/session", headers=headers)

    [event] = await events_of(app, member)
    assert (event["action"], event["by"], event["credential"], event["target"]) == (
        "session.revoked",
        "you",
        "cookie",
        f"session:{session_id}",
    )
    assert event["address"] == "127.0.0.1"
    assert event["request_id"] is not None


async def test_revocation_of_a_token_is_recorded_once(app: FastAPI, member: Account) -> None:
    for _ in range(2):
        await member.client.post(REVOCATION, data={"token": member.refresh_token})
    await member.client.post(REVOCATION, data={"token": "unknown"})

    [event] = await events_of(app, member)
    assert event["action"] == "session.revoked"
    assert (event["by"], event["credential"]) == ("you", "token")
    assert event["address"] == "127.0.0.1"


async def test_revocation_of_all_sessions_is_recorded_once(app: FastAPI, member: Account) -> None:
    await create_session(new_client(app), member)

    await member.client.delete(SESSIONS)

    [event] = await events_of(app, member)
    assert (event["action"], event["by"], event["target"]) == ("sessions.revoked", "you", None)


async def test_reuse_of_a_refresh_token_is_recorded(app: FastAPI, member: Account) -> None:
    attacker = new_client(app, address="203.0.113.7")
    await refresh(member.client, member.refresh_token)

    await refresh(attacker, member.refresh_token)

    [event] = await events_of(app, member)
    assert (event["action"], event["by"]) == ("session.reuse_detected", "unknown")
    assert event["address"] == "203.0.113.7"
