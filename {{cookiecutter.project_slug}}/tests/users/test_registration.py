"""Registration, which does not reveal other accounts."""

import asyncio
from typing import Any

import bcrypt
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import User

from mail_support import MailServer, deliver
from support import (
    NEW_PASSWORD,
    PASSWORD,
    Account,
    NewApp,
    Statements,
    log_in,
    new_account,
    new_client,
    pointers,
    registration,
)

USERS = "/api/v1/users"


async def test_registration_creates_a_user_and_stores_no_password(
    client: AsyncClient, session: AsyncSession
) -> None:
    body = registration(email="Ada@Example.com", full_name=" Ada ")

    response = await client.post(USERS, json=body)

    assert (response.status_code, response.json()) == (202, {"email": "ada@example.com"})
    user = (await session.scalars(select(User))).one()
    assert (user.email, user.full_name) == ("ada@example.com", "Ada")
    assert (user.role, user.is_active) == ("user", True)  # although it is the first account
    assert PASSWORD not in user.password_hash
    assert (await log_in(client, "ada@example.com")).status_code == 200


async def test_email_is_unique_in_any_case(live_app: FastAPI) -> None:
    async with new_client(live_app) as client:
        responses = await asyncio.gather(
            *(
                client.post(USERS, json=registration(email=email))
                for email in ("ada@example.com", "ADA@example.com", "Ada@Example.COM")
            )
        )
    async with live_app.state.services.database.read_session() as session:
        emails = (await session.scalars(select(User.email))).all()

    assert [response.status_code for response in responses] == [202, 202, 202]
    assert emails == ["ada@example.com"]


@pytest.mark.parametrize(
    "change",
    [
        {"email": "invalid", "full_name": " "},
        {"email": None, "full_name": "a" * 201},
        {"email": f"{'a' * 250}@example.com", "full_name": "\x1b[31m"},
        {"password": "too-short", "role": "admin", "is_active": True},
    ],
)
async def test_invalid_registration_has_pointers(
    client: AsyncClient, change: dict[str, Any]
) -> None:
    body = registration(email="ada.lovelace@example.com") | change

    response = await client.post(USERS, json=body)

    assert response.status_code == 422
    assert sorted(pointers(response)) == sorted(f"/body/{name}" for name in change)


async def test_taken_address_is_answered_like_a_free_one_and_its_owner_is_notified(
    new_app: NewApp, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url)
    owner, client = await new_account(app, full_name="Ada"), new_client(app)
    answers = []
    for email in (owner.email, "free@example.com"):
        body = registration(email=email, password=NEW_PASSWORD, full_name="Eve")
        response = await client.post(USERS, json=body)
        body_of = response.text.replace(email, "")
        headers = {name: response.headers[name] for name in response.headers if name[0] != "x"}
        answers.append((response.status_code, body_of, headers.keys()))
    await deliver(app)

    assert answers[0] == answers[1]
    subjects = {mail["To"]: mail["Subject"] for mail in mail_server.taken}
    assert subjects == {
        owner.email: "You already have an account",
        "free@example.com": "Confirm your email address",
    }
    assert "Eve" not in "".join(map(str, mail_server.taken))
    assert (await log_in(client, owner.email, NEW_PASSWORD)).status_code == 400
    assert (await owner.client.get(f"{USERS}/me")).json()["full_name"] == "Ada"


async def test_free_and_taken_addresses_take_the_same_statements(
    client: AsyncClient, member: Account, statements: Statements
) -> None:
    kinds = []
    for email in (member.email, "free@example.com"):
        with statements() as recorded:
            await client.post(USERS, json=registration(email=email))
        # A background task comes after the last one.
        last = next(n for n, sql in enumerate(recorded) if "INTO audit_events" in sql)
        kinds.append([" ".join(sql.split()[:3]) for sql in recorded[: last + 1]])

    assert kinds[0] == kinds[1]
    assert any(kind.startswith("INSERT INTO users") for kind in kinds[0])


async def test_mailbox_gets_a_limited_number_of_messages(
    new_app: NewApp, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url, mails_per_mailbox=2)
    client = new_client(app)

    responses = [await client.post(USERS, json=registration()) for _ in range(4)]
    other = await client.post(USERS, json=registration(email="grace@example.com"))
    await deliver(app)

    assert [response.status_code for response in (*responses, other)] == [202] * 5
    recipients = sorted(mail["To"] for mail in mail_server.taken)
    assert recipients == ["ada@example.com", "ada@example.com", "grace@example.com"]


async def test_requests_that_send_nothing_do_not_prevent_a_registration(
    new_app: NewApp, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url, mails_per_mailbox=1)
    client, body = new_client(app), registration()
    for path in ("/api/v1/auth/password-reset", "/api/v1/auth/email-verification"):
        await client.post(path, json={"email": body["email"]})
    await deliver(app)

    await client.post(USERS, json=body)
    await deliver(app)

    assert [mail["To"] for mail in mail_server.taken] == [body["email"]]


@pytest.mark.parametrize("mode", ["invite", "closed"])
async def test_closed_registration_is_rejected_before_the_password_is_hashed(
    new_app: NewApp, session: AsyncSession, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(bcrypt, "hashpw")

    response = await new_client(new_app(registration=mode)).post(USERS, json=registration())

    assert (response.status_code, response.json()["type"]) == (403, "/problems/registration-closed")
    assert await session.scalar(select(func.count(User.id))) == 0
