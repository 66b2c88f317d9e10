"""Password reset: by a link that is sent by email and works once."""

import asyncio

import bcrypt
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Delete, Update, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth import recovery
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    Purpose,
    User,
)
from {{ cookiecutter.package_name }}.state import get_state
from {{ cookiecutter.package_name }}.throttle import Throttle

from mail_support import MailServer, deliver, token_of
from mfa_support import enroll
from recovery_support import (
    INVALIDATIONS,
    RESET,
    VERIFICATION,
    new_token,
    reset_password,
    verify_email,
)
from support import (
    NEW_PASSWORD,
    PRODUCTION,
    Account,
    NewApp,
    Register,
    Statements,
    assert_throttled,
    cookies_of,
    delete_account,
    log_in,
    new_account,
    new_client,
    pointers,
    refresh,
)

ME = "/api/v1/users/me"
UNKNOWN = "unknown@example.com"


@pytest.fixture
def app(new_app: NewApp, mail_server: MailServer) -> FastAPI:
    """Provide an application with the mail server."""
    return new_app(smtp_url=mail_server.url)


async def test_link_sets_a_new_password(
    app: FastAPI, client: AsyncClient, member: Account, mail_server: MailServer
) -> None:
    requested = await client.post(RESET, json={"email": member.email.upper()})
    await deliver(app)
    [mail] = mail_server.taken
    response = await reset_password(client, token_of(mail))
    await deliver(app)

    assert (requested.status_code, requested.content) == (202, b"")
    assert (response.status_code, response.content) == (204, b"")
    assert (await log_in(client, member.email)).json()["error"] == "invalid_grant"
    assert (await log_in(client, member.email, NEW_PASSWORD)).status_code == 200
    assert [mail["To"] for mail in mail_server.taken] == [member.email] * 2
    assert mail_server.taken[1]["Subject"] == "Your password has been reset"


async def test_reset_revokes_every_session(
    app: FastAPI, browser: AsyncClient, member: Account
) -> None:
    stolen = {"Cookie": f"__Host-session={browser.cookies['__Host-session']}"}
    token = await new_token(app, member, Purpose.PASSWORD_RESET)

    response = await reset_password(browser, token)

    cookies = cookies_of(response)
    assert cookies.keys() == {"__Host-session", "__Host-csrf"}
    assert {cookie["max-age"] for cookie in cookies.values()} == {"0"}
    async with new_client(app) as attacker:
        assert (await attacker.get(ME, headers=stolen)).status_code == 401
        assert (await refresh(attacker, member.refresh_token)).json()["error"] == "invalid_grant"
    assert (await member.client.get(ME)).status_code == 401


async def test_reset_deletes_the_other_tokens_but_not_those_that_undo_a_change_of_address(
    app: FastAPI, client: AsyncClient, member: Account, session: AsyncSession
) -> None:
    tokens = {purpose: await new_token(app, member, purpose) for purpose in Purpose}
    second = await new_token(app, member, Purpose.PASSWORD_RESET)

    assert (await reset_password(client, second)).status_code == 204

    assert (await reset_password(client, tokens[Purpose.PASSWORD_RESET])).status_code == 422
    kept = await session.scalars(select(AccountToken.purpose))
    assert kept.all() == [Purpose.EMAIL_UNDO]


async def test_reset_verifies_the_address(
    app: FastAPI, client: AsyncClient, register: Register, session: AsyncSession
) -> None:
    member = await register(email_verified_at=None)
    token = await new_token(app, member, Purpose.PASSWORD_RESET)

    await reset_password(client, token)

    assert await session.scalar(select(User.email_verified_at)) is not None


async def test_second_factor_is_still_required_after_a_reset(
    app: FastAPI, client: AsyncClient, member: Account
) -> None:
    factor = await enroll(member)
    token = await new_token(app, member, Purpose.PASSWORD_RESET)

    assert (await reset_password(client, token)).status_code == 204

    missing = await log_in(client, member.email, NEW_PASSWORD)
    assert missing.json()["error"] == "mfa_required"
    otp = factor.recovery_codes[0]
    assert (await log_in(client, member.email, NEW_PASSWORD, otp=otp)).status_code == 200


async def test_reset_is_recorded_in_the_audit_log(
    app: FastAPI, client: AsyncClient, member: Account, mail_server: MailServer
) -> None:
    await client.post(RESET, json={"email": member.email})
    await deliver(app)
    await reset_password(client, token_of(mail_server.taken[0]))

    tokens = (await log_in(client, member.email, NEW_PASSWORD)).json()
    async with new_client(app, tokens["access_token"]) as owner:
        events = (await owner.get("/api/v1/users/me/audit-events")).json()["items"]
    recorded = [(event["action"], event["credential"], event["address"]) for event in events]
    assert recorded == [
        ("login.succeeded", "password", "127.0.0.1"),
        ("password.reset", "email_link", "127.0.0.1"),
        ("password.reset_requested", "none", "127.0.0.1"),
    ]


async def test_account_without_a_password_gets_one(
    app: FastAPI, client: AsyncClient, register: Register, mail_server: MailServer
) -> None:
    member = await register(password_hash="")

    await client.post(RESET, json={"email": member.email})
    await deliver(app)
    await reset_password(client, token_of(mail_server.taken[0]))

    assert (await log_in(client, member.email, NEW_PASSWORD)).status_code == 200


async def test_token_works_once(app: FastAPI, client: AsyncClient, member: Account) -> None:
    token = await new_token(app, member, Purpose.PASSWORD_RESET)

    responses = [await reset_password(client, token) for _ in range(2)]

    assert [response.status_code for response in responses] == [204, 422]
    assert pointers(responses[1]) == ["/body/token"]


async def test_one_of_concurrent_resets_succeeds(live_app: FastAPI) -> None:
    account = await new_account(live_app)
    token = await new_token(live_app, account, Purpose.PASSWORD_RESET)
    # Each from an address of its own, because those of one address wait in one queue.
    clients = [new_client(live_app, address=f"192.0.2.{number}") for number in range(50)]
    passwords = [f"{NEW_PASSWORD}-{number}" for number in range(50)]

    responses = await asyncio.gather(
        *(
            reset_password(client, token, password)
            for client, password in zip(clients, passwords, strict=True)
        )
    )

    statuses = [response.status_code for response in responses]
    assert sorted(statuses) == [204] + [422] * 49
    password = passwords[statuses.index(204)]
    assert (await log_in(clients[0], account.email, password)).status_code == 200


async def test_resets_and_the_deletion_of_the_account_do_not_deadlock(live_app: FastAPI) -> None:
    account = await new_account(live_app)
    tokens = [await new_token(live_app, account, Purpose.PASSWORD_RESET) for _ in range(20)]
    clients = [new_client(live_app, address=f"192.0.2.{number}") for number in range(20)]

    deleted, *resets = await asyncio.gather(
        delete_account(account.client),
        *(reset_password(client, token) for client, token in zip(clients, tokens, strict=True)),
    )

    statuses = [response.status_code for response in resets]
    # A reset revokes the session and replaces the password of the deletion.
    assert (deleted.status_code, statuses.count(204)) in {(204, 0), (401, 1), (403, 1)}
    assert set(statuses) <= {204, 422}


@pytest.mark.parametrize("change", INVALIDATIONS, ids=str)
async def test_token_is_rejected_when_it_or_its_address_or_account_is_no_longer_valid(
    app: FastAPI,
    client: AsyncClient,
    member: Account,
    session: AsyncSession,
    change: Update | Delete,
) -> None:
    token = await new_token(app, member, Purpose.PASSWORD_RESET)
    await session.execute(change)
    await session.commit()

    response = await reset_password(client, token)

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.PASSWORD_RESET])
async def test_token_of_another_purpose_is_rejected(
    app: FastAPI, client: AsyncClient, member: Account, purpose: Purpose
) -> None:
    token = await new_token(app, member, purpose)

    response = await reset_password(client, token)

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])
    assert (await log_in(client, member.email)).status_code == 200


async def test_unknown_token_is_rejected_without_hashing(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(bcrypt, "hashpw")

    response = await reset_password(client, "unknown")

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])


async def test_rejected_password_does_not_use_the_token(
    app: FastAPI, client: AsyncClient, member: Account
) -> None:
    token = await new_token(app, member, Purpose.PASSWORD_RESET)

    for password in ("too-short", member.email, "1qaz2wsx3edc"):
        response = await reset_password(client, token, password)
        assert (response.status_code, pointers(response)) == (422, ["/body/new_password"])

    assert (await reset_password(client, token)).status_code == 204


async def test_response_does_not_reveal_whether_the_account_exists(
    app: FastAPI,
    client: AsyncClient,
    member: Account,
    register: Register,
    mail_server: MailServer,
) -> None:
    inactive = await register(is_active=False)

    responses = [
        await client.post(RESET, json={"email": email})
        for email in (member.email, UNKNOWN, inactive.email)
    ]
    await deliver(app)

    for response in responses:
        del response.headers["X-Request-ID"]
{%- if cookiecutter.use_redis %}
        del response.headers["RateLimit"]
{%- endif %}
    assert {response.status_code for response in responses} == {202}
    assert {response.content for response in responses} == {b""}
    assert responses[0].headers == responses[1].headers == responses[2].headers
    assert [mail["To"] for mail in mail_server.taken] == [member.email]


@pytest.mark.parametrize("path", [RESET, VERIFICATION])
async def test_request_does_not_look_for_the_account(
    client: AsyncClient,
    member: Account,
    statements: Statements,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    enqueued: list[object] = []

    async def enqueue(*_: object, email: str, **__: object) -> None:
        enqueued.append(email)

    monkeypatch.setattr(recovery, "enqueue", enqueue)
    with statements() as executed:
        for email in (member.email, UNKNOWN):
            await client.post(path, json={"email": email})

    assert executed == []
    assert enqueued == [member.email, UNKNOWN]


async def test_messages_to_one_mailbox_are_limited(
    new_app: NewApp, register: Register, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url, mails_per_mailbox=2)
    member = await register(email_verified_at=None)

    async with new_client(app) as client:
        responses = [
            await client.post(path, json={"email": email})
            for path in (RESET, VERIFICATION) * 3
            for email in (member.email, UNKNOWN)
        ]
    await deliver(app)

    assert {response.status_code for response in responses} == {202}
    assert [mail["To"] for mail in mail_server.taken] == [member.email] * 4


async def test_requests_that_send_nothing_do_not_prevent_a_reset(
    app: FastAPI, client: AsyncClient, member: Account, mail_server: MailServer
) -> None:
    for path in (VERIFICATION,) * 6 + (RESET,):
        await client.post(path, json={"email": member.email})
    await deliver(app)

    [mail] = mail_server.taken
    assert mail["Subject"] == "Reset your password"


async def test_owner_gets_a_link_when_those_that_others_requested_have_expired(
    new_app: NewApp, member: Account, mail_server: MailServer
) -> None:
    app, now = new_app(smtp_url=mail_server.url, mails_per_mailbox=1, password_reset_ttl=1800), 0.0
    get_state(app).auth.throttle = Throttle(clock=lambda: now)

    async with new_client(app) as client:
        for now in (0.0, 1799.0, 1801.0):  # noqa: B007 - the clock reads it
            await client.post(RESET, json={"email": member.email})
    await deliver(app)

    assert len(mail_server.taken) == 2


async def test_requests_of_one_address_are_limited(new_app: NewApp) -> None:
    app = new_app(login_attempts_per_address=4)

    async with new_client(app) as client:
        for path in (RESET, VERIFICATION):
            assert (await client.post(path, json={"email": UNKNOWN})).status_code == 202
        assert (await reset_password(client, "unknown")).status_code == 422
        assert (await verify_email(client, "unknown")).status_code == 422
        assert_throttled(await reset_password(client, "unknown"))
    async with new_client(app, address="192.0.2.1") as client:
        assert (await client.post(RESET, json={"email": UNKNOWN})).status_code == 202


@pytest.mark.parametrize("path", [RESET, VERIFICATION])
async def test_service_without_email_rejects_requests_for_it(new_app: NewApp, path: str) -> None:
    app = new_app(**PRODUCTION)

    async with new_client(app) as client:
        response = await client.post(path, json={"email": UNKNOWN})

    assert response.status_code == 503
    assert response.json()["type"] == "/problems/mail-unavailable"


async def test_token_is_neither_stored_nor_logged(
    capsys: pytest.CaptureFixture[str],
    new_app: NewApp,
    member: Account,
    mail_server: MailServer,
    session: AsyncSession,
) -> None:
    app = new_app(smtp_url=mail_server.url, log_level="DEBUG")

    async with new_client(app) as client:
        await client.post(RESET, json={"email": member.email})
        await deliver(app)
        token = token_of(mail_server.taken[0])
        [stored] = (await session.execute(select(AccountToken.__table__))).all()
        await reset_password(client, token)
    await deliver(app)

    assert token not in repr(stored)
    printed = capsys.readouterr().out
    assert RESET in printed
    assert token not in printed
