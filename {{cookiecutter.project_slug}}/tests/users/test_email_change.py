"""Change of the email address by its owner, and its undo by the owner of the former address."""

import asyncio
from datetime import datetime, timedelta
from email.message import EmailMessage

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.account_tokens import issue
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    Authenticator,
    AuthenticatorKind,
    Purpose,
    RecoveryCode,
    Role,
    User,
)
{%- if not cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.background import enqueue
{%- endif %}
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.state import get_state
from {{ cookiecutter.package_name }}.users.tasks import send_email_undo
{%- if cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.worker.queue import enqueue
{%- endif %}

from mail_support import MailServer, deliver, token_of
from recovery_support import RESET, reset_password
from support import (
    NEW_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    NewApp,
    Register,
    create_session,
    log_in,
    new_account,
    new_client,
    new_user,
    pointers,
    refresh,
    registration,
)

USERS = "/api/v1/users"
ME = "/api/v1/users/me"
NEW_EMAIL = "new@example.com"


@pytest.fixture
def app(new_app: NewApp, mail_server: MailServer) -> FastAPI:
    """Create an application that sends email."""
    return new_app(smtp_url=mail_server.url)


async def request_change(
    app: FastAPI, client: AsyncClient, email: str = NEW_EMAIL, password: str = PASSWORD
) -> Response:
    """Request a change of the address, and deliver the email."""
    body = {"email": email, "password": password}
    response = await client.post(f"{ME}/email", json=body)
    await deliver(app)
    return response


async def confirm(app: FastAPI, client: AsyncClient, mail: EmailMessage) -> Response:
    """Confirm the new address, and deliver the email to the former one."""
    response = await client.put(f"{ME}/email", json={"token": token_of(mail)})
    await deliver(app)
    return response


async def undo(app: FastAPI, mail: EmailMessage) -> Response:
    """Undo a change without a login, and deliver the email with the link for a new password."""
    response = await new_client(app).put(f"{USERS}/email-undo", json={"token": token_of(mail)})
    await deliver(app)
    return response


async def change(
    app: FastAPI, mail_server: MailServer, account: Account, email: str = NEW_EMAIL
) -> EmailMessage:
    """Change the address, and return the email to the former one."""
    assert (await request_change(app, account.client, email)).status_code == 202
    assert (await confirm(app, account.client, mail_server.taken[-1])).status_code == 200
    return mail_server.taken[-1]


async def test_address_changes_when_its_owner_confirms_it(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    requested = await request_change(app, member.client, "NEW@example.com")
    before = (await member.client.get(ME)).json()
    confirmed = await confirm(app, member.client, mail_server.taken[0])

    assert (requested.status_code, requested.content) == (202, b"")
    assert before["email"] == member.email
    assert (confirmed.status_code, confirmed.json()["email"]) == (200, NEW_EMAIL)
    assert confirmed.json()["email_verified_at"] is not None
    to_new, to_former = mail_server.taken
    assert (to_new["To"], to_former["To"]) == (NEW_EMAIL, member.email)
    assert to_former["Subject"] == "Your email address has been changed"
    assert (await log_in(new_client(app), NEW_EMAIL)).status_code == 200
    assert (await log_in(new_client(app), member.email)).status_code == 400
    again = await confirm(app, member.client, to_new)
    assert (again.status_code, pointers(again)) == (422, ["/body/token"])


async def test_change_requires_the_password(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    response = await request_change(app, member.client, password=WRONG_PASSWORD)

    assert (response.status_code, pointers(response)) == (403, ["/body/password"])
    assert mail_server.taken == []


async def test_session_of_another_account_cannot_confirm(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    other = await new_account(app)
    await request_change(app, member.client)

    rejected = await confirm(app, other.client, mail_server.taken[0])
    without_session = await confirm(app, new_client(app), mail_server.taken[0])

    assert (rejected.status_code, pointers(rejected)) == (422, ["/body/token"])
    assert without_session.status_code == 401
    assert (await confirm(app, member.client, mail_server.taken[0])).status_code == 200


async def test_taken_address_is_answered_like_a_free_one_and_its_owner_is_notified(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    other = await new_account(app)

    taken = await request_change(app, member.client, other.email)
    free = await request_change(app, member.client)

    assert (taken.status_code, taken.content) == (free.status_code, free.content) == (202, b"")
    notice, confirmation = mail_server.taken
    assert (notice["To"], notice["Subject"]) == (other.email, "You already have an account")
    assert confirmation["To"] == NEW_EMAIL


async def test_address_that_was_taken_meanwhile_is_a_conflict(
    app: FastAPI, member: Account, mail_server: MailServer, session: AsyncSession
) -> None:
    await request_change(app, member.client)
    session.add(new_user(email=NEW_EMAIL))
    await session.commit()

    response = await confirm(app, member.client, mail_server.taken[0])

    assert response.status_code == 409
    assert (await member.client.get(ME)).json()["email"] == member.email


async def test_undo_restores_the_address_and_ends_every_login(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    browser = new_client(app)
    await create_session(browser, member)
    to_former = await change(app, mail_server, member)

    undone = await undo(app, to_former)

    assert undone.status_code == 204
    assert (await member.client.get(ME)).status_code == 401
    assert (await browser.get(ME)).status_code == 401
    assert (await refresh(member.client, member.refresh_token)).status_code == 400
    for email in (member.email, NEW_EMAIL):
        assert (await log_in(new_client(app), email)).status_code == 400
    [reset] = [mail for mail in mail_server.taken[2:] if mail["To"] == member.email]
    assert (await reset_password(new_client(app), token_of(reset))).status_code == 204
    assert (await log_in(new_client(app), member.email, NEW_PASSWORD)).status_code == 200
    again = await undo(app, to_former)
    assert (again.status_code, pointers(again)) == (422, ["/body/token"])


async def test_undo_works_after_the_attacker_has_reset_the_password_and_added_a_factor(
    app: FastAPI, member: Account, mail_server: MailServer, session: AsyncSession
) -> None:
    def factor(name: str, confirmed_at: datetime | None) -> Authenticator:
        return Authenticator(
            user_id=member.id,
            kind=AuthenticatorKind.TOTP,
            name=name,
            secret="-",
            confirmed_at=confirmed_at,
        )

    confirmed_later = factor("confirmed after the change", None)
    session.add_all([factor("owner's", utcnow()), factor("never confirmed", None), confirmed_later])
    await session.commit()
    to_former = await change(app, mail_server, member)
    confirmed_later.confirmed_at = utcnow()
    session.add_all(
        [factor("added after the change", utcnow()), RecoveryCode(user_id=member.id, code_hash="-")]
    )
    await session.commit()
    await new_client(app).post(RESET, json={"email": NEW_EMAIL})
    await deliver(app)
    reset = mail_server.taken[-1]
    assert (await reset_password(new_client(app), token_of(reset))).status_code == 204

    assert (await undo(app, to_former)).status_code == 204

    assert (await session.scalars(select(Authenticator.name))).all() == ["owner's"]
    assert (await session.scalars(select(RecoveryCode.id))).all() == []
    user = await session.get_one(User, member.id, populate_existing=True)
    assert (user.email, user.mfa_enabled, user.password_hash) == (member.email, True, "")


async def test_undo_also_undoes_later_changes(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    to_first = await change(app, mail_server, member, "second@example.com")
    to_second = await change(app, mail_server, member, "third@example.com")
    assert (to_first["To"], to_second["To"]) == (member.email, "second@example.com")

    assert (await undo(app, to_first)).status_code == 204

    assert (await undo(app, to_second)).status_code == 422
    assert member.email in {mail["To"] for mail in mail_server.taken[-2:]}


async def test_undo_of_the_last_change_leaves_earlier_ones_undoable(
    app: FastAPI, member: Account, mail_server: MailServer, session: AsyncSession
) -> None:
    to_first = await change(app, mail_server, member, "second@example.com")
    to_second = await change(app, mail_server, member, "third@example.com")

    assert (await undo(app, to_second)).status_code == 204
    assert (await undo(app, to_first)).status_code == 204

    assert await session.scalar(select(User.email).where(User.id == member.id)) == member.email


async def test_link_of_each_attempt_to_send_the_email_works(
    app: FastAPI, member: Account, mail_server: MailServer, session: AsyncSession
) -> None:
    first = await change(app, mail_server, member)
    is_undo = AccountToken.purpose == Purpose.EMAIL_UNDO
    token_id = await session.scalar(select(AccountToken.id).where(is_undo).limit(1))
    assert token_id is not None
    async with get_state(app).database.write_session() as transaction:
        await enqueue(transaction, send_email_undo, token_id=token_id)
    await deliver(app)
    second = mail_server.taken[-1]

    assert token_of(first) != token_of(second)
    assert (await undo(app, first)).status_code == 204
    assert (await undo(app, second)).status_code == 422


async def test_undo_is_reported_to_the_address_that_loses_the_account(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    to_former = await change(app, mail_server, member)
    before = len(mail_server.taken)

    await undo(app, to_former)

    subjects = {mail["To"]: mail["Subject"] for mail in mail_server.taken[before:]}
    assert subjects[NEW_EMAIL] == "Your email address has been changed"
    assert subjects[member.email] == "Reset your password"


async def test_change_by_an_administrator_ends_the_undo_links_of_an_attacker(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    admin = await new_account(app, role=Role.ADMIN)
    await change(app, mail_server, member, "attacker@example.com")
    to_attacker = await change(app, mail_server, member, "attacker2@example.com")
    await admin.client.patch(f"{USERS}/{member.id}", json={"email": member.email})

    response = await undo(app, to_attacker)

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])


async def test_requests_of_one_account_are_limited(
    new_app: NewApp, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url, mails_per_mailbox=2)
    account = await new_account(app)

    responses = [
        await request_change(app, account.client, f"victim+{n}@example.com") for n in range(3)
    ]

    assert [response.status_code for response in responses] == [202, 202, 429]
    assert len(mail_server.taken) == 2


async def test_former_address_is_reserved_while_the_change_can_be_undone(
    app: FastAPI, member: Account, mail_server: MailServer, session: AsyncSession
) -> None:
    admin, other = await new_account(app, role=Role.ADMIN), await new_account(app)
    await change(app, mail_server, member)
    former, client = {"email": member.email}, new_client(app)

    registered = await client.post(USERS, json=registration(**former))
    invited = await admin.client.post(f"{USERS}/invitations", json=former)
    await request_change(app, other.client, member.email)
    changed = await confirm(app, other.client, mail_server.taken[-1])

    assert (registered.status_code, registered.json()) == (202, former)
    assert (invited.status_code, changed.status_code) == (409, 409)
    assert await session.scalar(select(User.id).where(User.email == member.email)) is None
    await session.execute(update(AccountToken).values(expires_at=utcnow() - timedelta(seconds=1)))
    await session.commit()
    await client.post(USERS, json=registration(**former))
    assert await session.scalar(select(User.id).where(User.email == member.email)) is not None


async def test_unverified_address_gets_no_undo_link_and_is_not_reserved(
    app: FastAPI, register: Register, mail_server: MailServer
) -> None:
    account = await register(email_verified_at=None)

    await request_change(app, account.client)
    await confirm(app, account.client, mail_server.taken[-1])

    assert [mail["To"] for mail in mail_server.taken] == [NEW_EMAIL]
    body = registration(email=account.email)
    assert (await new_client(app).post("/api/v1/users", json=body)).status_code == 202
    await deliver(app)
    assert mail_server.taken[-1]["To"] == account.email
    assert mail_server.taken[-1]["Subject"] == "Confirm your email address"


async def test_owner_may_change_back(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    await change(app, mail_server, member)

    await change(app, mail_server, member, member.email)

    assert (await member.client.get(ME)).json()["email"] == member.email


@pytest.mark.parametrize(
    "change_of_row",
    [
        update(AccountToken).values(expires_at=utcnow() - timedelta(seconds=1)),
        update(AccountToken).values(purpose=Purpose.PASSWORD_RESET),
        update(User).values(is_active=False),
    ],
    ids=["expired", "other purpose", "deactivated"],
)
async def test_undo_that_is_no_longer_valid_is_rejected(
    app: FastAPI,
    member: Account,
    mail_server: MailServer,
    session: AsyncSession,
    change_of_row: object,
) -> None:
    to_former = await change(app, mail_server, member)
    await session.execute(change_of_row)  # type: ignore[call-overload]
    await session.commit()

    response = await undo(app, to_former)

    assert (response.status_code, pointers(response)) == (422, ["/body/token"])


async def test_undo_of_an_address_that_an_administrator_reassigned_is_a_conflict(
    app: FastAPI, member: Account, mail_server: MailServer
) -> None:
    admin, other = await new_account(app, role=Role.ADMIN), await new_account(app)
    to_former = await change(app, mail_server, member)
    await admin.client.patch(f"{USERS}/{other.id}", json={"email": member.email})

    assert (await undo(app, to_former)).status_code == 409
    await admin.client.patch(f"{USERS}/{other.id}", json={"email": other.email})
    assert (await undo(app, to_former)).status_code == 204


async def test_one_of_several_concurrent_requests_undoes_the_change(live_app: FastAPI) -> None:
    user = new_user(email=NEW_EMAIL)
    async with live_app.state.services.database.write_session() as session:
        session.add(user)
        await session.flush()
        token = await issue(session, user, Purpose.EMAIL_UNDO, "former@example.com", 60)

    client, body = new_client(live_app), {"token": token}
    responses = await asyncio.gather(
        *(client.put(f"{USERS}/email-undo", json=body) for _ in range(20))
    )

    assert sorted(response.status_code for response in responses) == [204] + [422] * 19
