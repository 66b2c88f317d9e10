"""Invitations, from the administrator to the first login."""

import asyncio
from datetime import timedelta

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.account_tokens import issue
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    Purpose,
    Role,
    User,
)
from {{ cookiecutter.package_name }}.database import utcnow

from mail_support import MailServer, deliver, token_of
from support import (
    PASSWORD,
    PRODUCTION,
    Account,
    NewApp,
    log_in,
    new_account,
    new_client,
    new_user,
    pointers,
    registration,
)

USERS = "/api/v1/users"
INVITATIONS = "/api/v1/users/invitations"
EMAIL = "grace@example.com"


@pytest.fixture
def app(new_app: NewApp, mail_server: MailServer) -> FastAPI:
    """Create an application that sends email, and in which only administrators create accounts."""
    return new_app(smtp_url=mail_server.url, registration="invite")


@pytest.fixture
async def administrator(app: FastAPI) -> Account:
    """Create an administrator of this application."""
    return await new_account(app, role=Role.ADMIN)


async def invite(app: FastAPI, administrator: Account, **changes: object) -> Response:
    """Invite a user and deliver the email."""
    response = await administrator.client.post(INVITATIONS, json={"email": EMAIL} | changes)
    await deliver(app)
    return response


async def accept(app: FastAPI, token: str, password: str = PASSWORD, **members: str) -> Response:
    """Accept an invitation in a browser that is not logged in."""
    body = {"token": token, "new_password": password} | members
    return await new_client(app).put(INVITATIONS, json=body)


async def test_invited_user_sets_the_password_and_logs_in(
    app: FastAPI, administrator: Account, mail_server: MailServer
) -> None:
    invited = await invite(app, administrator, full_name="Grace", role="admin")
    [mail] = mail_server.taken
    for password in ("", PASSWORD):
        assert (await log_in(new_client(app), EMAIL, password)).status_code == 400

    accepted = await accept(app, token_of(mail))

    assert (invited.status_code, accepted.status_code) == (201, 204)
    assert mail["To"] == EMAIL
    assert "Grace" not in str(mail)
    user = invited.json()
    assert (user["email"], user["role"], user["email_verified_at"]) == (EMAIL, "admin", None)
    tokens = (await log_in(new_client(app), EMAIL)).json()
    me = (await new_client(app, tokens["access_token"]).get(f"{USERS}/me")).json()
    assert (me["id"], me["full_name"], me["role"]) == (user["id"], "Grace", "admin")
    assert me["email_verified_at"] is not None


async def test_invited_user_may_set_the_name(
    app: FastAPI, administrator: Account, mail_server: MailServer, session: AsyncSession
) -> None:
    await invite(app, administrator, full_name="Grace")

    await accept(app, token_of(mail_server.taken[0]), full_name="Grace Hopper")

    names = select(User.full_name).where(User.email == EMAIL)
    assert (await session.scalars(names)).all() == ["Grace Hopper"]


async def test_invitation_is_sent_again_until_it_is_accepted(
    app: FastAPI, administrator: Account, mail_server: MailServer
) -> None:
    first = await invite(app, administrator)
    again = await invite(app, administrator)
    tokens = [token_of(mail) for mail in mail_server.taken]

    accepted = [await accept(app, token) for token in (*tokens, tokens[0])]
    late = await invite(app, administrator)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert [response.status_code for response in accepted] == [204, 422, 422]
    assert pointers(accepted[1]) == ["/body/token"]
    assert late.status_code == 409
    assert len(mail_server.taken) == 2


async def test_weak_password_does_not_use_the_token_up(
    app: FastAPI, administrator: Account, mail_server: MailServer
) -> None:
    await invite(app, administrator)
    token = token_of(mail_server.taken[0])

    weak = await accept(app, token, EMAIL)

    assert (weak.status_code, pointers(weak)) == (422, ["/body/new_password"])
    assert (await accept(app, token)).status_code == 204


@pytest.mark.parametrize(
    "change",
    [
        update(AccountToken).values(expires_at=utcnow() - timedelta(seconds=1)),
        update(AccountToken).values(purpose=Purpose.PASSWORD_RESET),
        update(User).where(User.email == EMAIL).values(email="other@example.com"),
        update(User).where(User.email == EMAIL).values(is_active=False),
        update(User).where(User.email == EMAIL).values(password_hash="set"),
    ],
    ids=["expired", "other purpose", "other address", "deactivated", "password set"],
)
async def test_invitation_that_is_no_longer_valid_is_rejected(
    app: FastAPI,
    administrator: Account,
    mail_server: MailServer,
    session: AsyncSession,
    change: object,
) -> None:
    await invite(app, administrator)
    await session.execute(change)  # type: ignore[call-overload]
    await session.commit()

    response = await accept(app, token_of(mail_server.taken[0]))

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])


async def test_one_of_several_concurrent_requests_uses_the_token(live_app: FastAPI) -> None:
    user = new_user(email=EMAIL, password_hash="")
    async with live_app.state.services.database.write_session() as session:
        session.add(user)
        await session.flush()
        token = await issue(session, user, Purpose.INVITATION, EMAIL, 60)

    responses = await asyncio.gather(*(accept(live_app, token) for _ in range(20)))

    assert sorted(response.status_code for response in responses) == [204] + [422] * 19


async def test_only_administrators_may_invite(app: FastAPI, mail_server: MailServer) -> None:
    member = await new_account(app)

    response = await invite(app, member)

    assert response.status_code == 403
    assert mail_server.taken == []


@pytest.mark.parametrize("changes", [{"is_active": False}, {"role": Role.ADMIN}])
async def test_account_that_would_get_no_link_or_another_role_is_a_conflict(
    app: FastAPI,
    administrator: Account,
    mail_server: MailServer,
    session: AsyncSession,
    changes: dict[str, object],
) -> None:
    session.add(new_user(email=EMAIL, password_hash="", **changes))
    await session.commit()

    assert (await invite(app, administrator)).status_code == 409
    assert mail_server.taken == []


async def test_setting_decides_who_may_register_and_invite(new_app: NewApp) -> None:
    statuses = {}
    for mode in ("open", "invite", "closed"):
        app = new_app(registration=mode)
        admin = await new_account(app, role=Role.ADMIN)
        email = f"{mode}@example.com"
        invited = await admin.client.post(INVITATIONS, json={"email": email})
        registered = await new_client(app).post(USERS, json=registration(email=email))
        statuses[mode] = (invited.status_code, registered.status_code)
    refused = await admin.client.post(INVITATIONS, json={"email": EMAIL})

    assert statuses == {"open": (201, 202), "invite": (201, 403), "closed": (403, 403)}
    assert refused.json()["type"] == "/problems/registration-closed"


async def test_messages_to_a_mailbox_are_limited(new_app: NewApp) -> None:
    app = new_app(mails_per_mailbox=1)
    admin = await new_account(app, role=Role.ADMIN)

    responses = [await admin.client.post(INVITATIONS, json={"email": EMAIL}) for _ in range(2)]

    assert [response.status_code for response in responses] == [201, 429]


async def test_nothing_is_stored_when_production_cannot_send_email(
    new_app: NewApp, session: AsyncSession
) -> None:
    app = new_app(**PRODUCTION)
    admin = await new_account(app, role=Role.ADMIN)

    response = await admin.client.post(INVITATIONS, json={"email": EMAIL})

    assert (response.status_code, response.json()["type"]) == (503, "/problems/mail-unavailable")
    assert (await session.scalars(select(User.email))).all() == [admin.email]
