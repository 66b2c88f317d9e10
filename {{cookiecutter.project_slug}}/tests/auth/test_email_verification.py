"""Verification of email addresses, also of accounts that another person registered."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Delete, Update, delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth import recovery
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    Purpose,
    User,
)
from {{ cookiecutter.package_name }}.auth.service import (
    verify_current_password,
)

from mail_support import MailServer, deliver, token_of
from recovery_support import INVALIDATIONS, VERIFICATION, new_token, reset_password, verify_email
from support import (
    NEW_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    NewApp,
    Register,
    assert_throttled,
    create_session,
    log_in,
    log_in_with,
    new_client,
    pointers,
    refresh,
)

ME = "/api/v1/users/me"


@pytest.fixture
def app(new_app: NewApp, mail_server: MailServer) -> FastAPI:
    """Provide an application with the mail server."""
    return new_app(smtp_url=mail_server.url)


@pytest.fixture
async def member(register: Register) -> Account:
    """Create a user whose address is not verified."""
    return await register(email_verified_at=None)


async def is_verified(account: Account) -> bool:
    """Return whether the account's address is verified."""
    return (await account.client.get(ME)).json()["email_verified_at"] is not None


async def test_link_and_password_verify_the_address(
    app: FastAPI, client: AsyncClient, member: Account, mail_server: MailServer
) -> None:
    requested = await client.post(VERIFICATION, json={"email": member.email})
    await deliver(app)
    [mail] = mail_server.taken
    response = await verify_email(client, token_of(mail), password=PASSWORD)

    assert (requested.status_code, requested.content) == (202, b"")
    assert mail["To"] == member.email
    assert response.status_code == 200
    assert response.json() == {"email": member.email, "password_discarded": False}
    assert await is_verified(member)


async def test_verified_account_can_log_in_if_verification_is_required(
    new_app: NewApp, member: Account
) -> None:
    app = new_app(require_verified_email=True)
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)

    async with new_client(app) as client:
        rejected = await log_in(client, member.email)
        await verify_email(client, token, password=PASSWORD)
        accepted = await log_in(client, member.email)

    assert rejected.json()["error"] == "email_not_verified"
    assert accepted.status_code == 200


async def test_verification_is_recorded_in_the_audit_log(
    app: FastAPI, client: AsyncClient, member: Account, mail_server: MailServer
) -> None:
    await client.post(VERIFICATION, json={"email": member.email})
    await deliver(app)
    await verify_email(client, token_of(mail_server.taken[0]), password=PASSWORD)

    events = (await member.client.get("/api/v1/users/me/audit-events")).json()["items"]
    assert [(event["action"], event["credential"]) for event in events] == [
        ("email.verified", "email_link"),
        ("email.verification_requested", "none"),
    ]


async def test_session_proves_that_the_account_is_the_callers(
    app: FastAPI, member: Account
) -> None:
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)

    response = await verify_email(member.client, token, discard_password=True)

    assert response.json() == {"email": member.email, "password_discarded": False}
    assert await is_verified(member)


async def test_access_token_that_may_not_change_the_account_proves_nothing(
    app: FastAPI, member: Account
) -> None:
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)

    async with await log_in_with(app, member, "account:read") as client:
        response = await verify_email(client, token)

    assert (response.status_code, response.json()["type"]) == (401, "/problems/proof-required")
    assert not await is_verified(member)


async def test_browser_needs_a_csrf_token(
    app: FastAPI, browser: AsyncClient, member: Account
) -> None:
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)
    browser.headers["Origin"] = "https://test"

    rejected = await verify_email(browser, token)
    browser.headers["X-CSRF-Token"] = browser.cookies["__Host-csrf"]
    accepted = await verify_email(browser, token)

    assert (rejected.status_code, accepted.status_code) == (403, 200)


async def test_link_alone_does_not_verify_the_address(
    app: FastAPI, client: AsyncClient, member: Account, register: Register
) -> None:
    token, other = await new_token(app, member, Purpose.EMAIL_VERIFICATION), await register()

    async with new_client(app, "not-a-token") as expired:
        for caller in (client, other.client, expired):
            response = await verify_email(caller, token)
            assert response.status_code == 401
            assert response.json()["type"] == "/problems/proof-required"

    assert not await is_verified(member)
    assert (await verify_email(member.client, token)).status_code == 200


async def test_wrong_password_does_not_use_the_token(
    app: FastAPI, client: AsyncClient, member: Account
) -> None:
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)

    response = await verify_email(client, token, password=WRONG_PASSWORD, discard_password=True)

    assert (response.status_code, pointers(response)) == (403, ["/body/password"])
    assert not await is_verified(member)
    assert (await verify_email(client, token, password=PASSWORD)).status_code == 200


async def test_password_that_is_replaced_meanwhile_is_incorrect(
    app: FastAPI,
    client: AsyncClient,
    member: Account,
    session: AsyncSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)

    async def verify_and_replace(*arguments: Any) -> str:
        password_hash = await verify_current_password(*arguments)
        await session.execute(update(User).values(password_hash=""))
        await session.commit()
        return password_hash

    monkeypatch.setattr(recovery, "verify_current_password", verify_and_replace)
    response = await verify_email(client, token, password=PASSWORD)

    assert (response.status_code, pointers(response)) == (403, ["/body/password"])
    assert not await is_verified(member)


async def test_guesses_of_the_password_are_limited(
    app: FastAPI, client: AsyncClient, member: Account
) -> None:
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)

    for _ in range(10):
        response = await verify_email(client, token, password=WRONG_PASSWORD)
        assert response.status_code == 403

    assert_throttled(await verify_email(client, token, password=PASSWORD))


async def test_owner_of_the_address_ends_the_access_of_a_stranger_who_registered_it(
    app: FastAPI, client: AsyncClient, member: Account, mail_server: MailServer
) -> None:
    async with new_client(app) as stranger:
        await create_session(stranger, member)
        token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)

        response = await verify_email(client, token, discard_password=True)

        assert response.json() == {"email": member.email, "password_discarded": True}
        assert (await stranger.get(ME)).status_code == 401
        assert (await member.client.get(ME)).status_code == 401
        assert (await refresh(stranger, member.refresh_token)).status_code == 400
        assert (await log_in(stranger, member.email)).status_code == 400

    await deliver(app)
    [mail] = mail_server.taken
    assert (await reset_password(client, token_of(mail))).status_code == 204
    tokens = (await log_in(client, member.email, NEW_PASSWORD)).json()
    async with new_client(app, tokens["access_token"]) as owner:
        assert (await owner.get(ME)).json()["email_verified_at"] is not None
        events = (await owner.get("/api/v1/users/me/audit-events")).json()["items"]
    assert "password.discarded" in [event["action"] for event in events]


async def test_verified_unknown_and_inactive_addresses_get_no_email(
    app: FastAPI, client: AsyncClient, register: Register, mail_server: MailServer
) -> None:
    verified = await register()
    inactive = await register(email_verified_at=None, is_active=False)

    for email in (verified.email, inactive.email, "unknown@example.com"):
        response = await client.post(VERIFICATION, json={"email": email})
        assert (response.status_code, response.content) == (202, b"")
    await deliver(app)

    assert mail_server.taken == []


USED = delete(AccountToken)


@pytest.mark.parametrize("change", [*INVALIDATIONS, USED], ids=str)
async def test_token_is_rejected_when_it_or_its_address_or_account_is_no_longer_valid(
    app: FastAPI,
    client: AsyncClient,
    member: Account,
    session: AsyncSession,
    change: Update | Delete,
) -> None:
    token = await new_token(app, member, Purpose.EMAIL_VERIFICATION)
    await session.execute(change)
    await session.commit()

    response = await verify_email(client, token, password=PASSWORD)

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.EMAIL_VERIFICATION])
async def test_token_of_another_purpose_is_rejected(
    app: FastAPI, member: Account, purpose: Purpose
) -> None:
    token = await new_token(app, member, purpose)

    response = await verify_email(member.client, token, password=PASSWORD)

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])
    assert not await is_verified(member)
