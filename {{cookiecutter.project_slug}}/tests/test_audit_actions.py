"""The actions that are recorded, with their credentials."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast
from uuid import uuid4

import pytest
from aiosmtplib import SMTPException
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.audit.models import Action, AuditEvent
from {{ cookiecutter.package_name }}.auth.models import Role
from {{ cookiecutter.package_name }}.auth.tasks import send_password_reset
{%- if not cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.background import Context
{%- endif %}
from {{ cookiecutter.package_name }}.state import get_state
{%- if cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.worker.queue import Context
{%- endif %}

from mail_support import MailServer, deliver, token_of
from mfa_support import FACTORS, enroll, totp
from recovery_support import RESET, VERIFICATION, reset_password, verify_email
from support import (
    NEW_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    NewApp,
    change_password,
    create_personal_token,
    delete_account,
    log_in,
    new_account,
    new_client,
    refresh,
    registration,
    request_client_token,
)

AUTH, USERS = "/api/v1/auth", "/api/v1/users"
TARGETS = {"session", "factor", "factors", "fields", "token"}
NEW_EMAIL = "new@example.com"


class Service(NamedTuple):
    """The application, its mail server, and two accounts."""

    app: FastAPI
    mails: MailServer
    client: AsyncClient
    member: Account
    admin: Account

    async def token(self) -> str:
        """Deliver the emails, and return the token of the last one."""
        await deliver(self.app)
        return token_of(self.mails.taken[-1])

    async def log_in(self, email: str, password: str = PASSWORD) -> Account:
        """Log in, and return an account with a client of this login."""
        tokens = (await log_in(self.client, email, password)).json()
        client = new_client(self.app, tokens["access_token"])
        return Account(self.member.id, email, client, tokens["refresh_token"])


@pytest.fixture
async def service(new_app: NewApp, mail_server: MailServer) -> Service:
    """Provide an application that sends email."""
    app = new_app(smtp_url=mail_server.url, require_verified_email=True)
    return Service(
        app,
        mail_server,
        new_client(app),
        await new_account(app),
        await new_account(app, role=Role.ADMIN),
    )


async def sessions(service: Service) -> None:
    """Log in and out, and use a refresh token twice."""
    client, email = service.client, service.member.email
    await log_in(client, email, WRONG_PASSWORD)
    stolen = await service.log_in(email)
    await refresh(client, stolen.refresh_token)
    await refresh(client, stolen.refresh_token)
    other = await service.log_in(email)
    await other.client.delete(f"{AUTH}/session")
    body = {"password": PASSWORD}
    await service.member.client.post(f"{AUTH}/reauthentication", json=body)
    await service.member.client.delete(f"{AUTH}/sessions")


async def unverified_login(service: Service) -> None:
    """Log in to an account whose address is not verified, where that is required."""
    account = await new_account(service.app, email_verified_at=None)
    await log_in(service.client, account.email)


async def own_changes(service: Service) -> None:
    """Change the password, and delete the account."""
    await change_password(service.member.client)
    again = await service.log_in(service.member.email, NEW_PASSWORD)
    await delete_account(again.client, NEW_PASSWORD)


async def password_reset(service: Service) -> None:
    """Reset the password."""
    await service.client.post(RESET, json={"email": service.member.email})
    await reset_password(service.client, await service.token())


async def verification(service: Service) -> None:
    """Register, request another link, and discard the password."""
    await service.client.post(USERS, json=registration(email=NEW_EMAIL))
    await service.client.post(USERS, json=registration(email=NEW_EMAIL))
    await deliver(service.app)
    await service.client.post(VERIFICATION, json={"email": NEW_EMAIL})
    await verify_email(service.client, await service.token(), discard_password=True)


async def email_change(service: Service) -> None:
    """Change the address, and undo it."""
    client, url = service.member.client, f"{USERS}/me/email"
    await client.post(url, json={"email": NEW_EMAIL, "password": PASSWORD})
    await client.put(url, json={"token": await service.token()})
    await service.client.put(f"{USERS}/email-undo", json={"token": await service.token()})


async def invitation(service: Service) -> None:
    """Invite a user, who accepts."""
    url = f"{USERS}/invitations"
    await service.admin.client.post(url, json={"email": NEW_EMAIL})
    body = {"token": await service.token(), "new_password": PASSWORD}
    await service.client.put(url, json=body)


async def administration(service: Service) -> None:
    """Change the account of another user."""
    url = f"{USERS}/{service.member.id}"
    await service.admin.client.patch(url, json={"full_name": "Ada", "is_active": False})


async def factors(service: Service) -> None:
    """Add a factor, log in with codes, replace the recovery codes, and remove the factor."""
    member = service.member
    factor = await enroll(member)
    for otp in ("000000", factor.recovery_codes[0], totp(factor.secret, time.time() + 30)):
        await log_in(service.client, member.email, otp=otp)
    await member.client.post(f"{AUTH}/recovery-codes")
    await member.client.delete(f"{FACTORS}/{factor.id}")


async def personal_tokens(service: Service) -> None:
    """Create tokens, which the owner, an administrator, and a client that found one revoke."""
    created = [await create_personal_token(service.member) for _ in range(3)]
    await service.member.client.delete(f"{AUTH}/tokens/{created[0]['id']}")
    await service.admin.client.delete(f"{USERS}/{service.member.id}/tokens/{created[1]['id']}")
    await service.client.post(f"{AUTH}/revoke", data={"token": created[2]["token"]})


async def service_accounts(service: Service) -> None:
    """Create, change and delete a service account, which requests tokens."""
    admin, accounts = service.admin.client, "/api/v1/service-accounts"
    body = {"name": "Report", "scopes": ["account:read"]}
    account = (await admin.post(accounts, json=body)).json()
    for secret in (account["client_secret"], WRONG_PASSWORD):
        await request_client_token(service.client, account["id"], secret)
    await admin.patch(f"{accounts}/{account['id']}", json={"is_active": False})
    await admin.post(f"{accounts}/{account['id']}/secret")
    await admin.delete(f"{accounts}/{account['id']}")


# By scenario: the actions, the credentials, and the actors (of the account, or administrators).
SCENARIOS: dict[Callable[[Service], Awaitable[None]], list[tuple[str, str, str]]] = {
    sessions: [
        (Action.LOGIN_FAILED, "none", "unknown"),
        (Action.LOGIN_SUCCEEDED, "password", "owner"),
        (Action.LOGIN_SUCCEEDED, "password", "owner"),
        (Action.SESSION_REUSE_DETECTED, "none", "unknown"),
        (Action.SESSION_REVOKED, "token", "owner"),
        (Action.REAUTHENTICATED, "token", "owner"),
        (Action.SESSIONS_REVOKED, "token", "owner"),
    ],
    unverified_login: [(Action.LOGIN_UNVERIFIED, "none", "unknown")],
    own_changes: [
        (Action.PASSWORD_CHANGED, "token", "owner"),
        (Action.LOGIN_SUCCEEDED, "password", "owner"),
        (Action.ACCOUNT_DELETED, "token", "owner"),
    ],
    password_reset: [
        (Action.PASSWORD_RESET_REQUESTED, "none", "unknown"),
        (Action.PASSWORD_RESET, "email_link", "owner"),
    ],
    verification: [
        (Action.USER_REGISTERED, "none", "unknown"),
        (Action.REGISTRATION_REFUSED, "none", "unknown"),
        (Action.EMAIL_VERIFICATION_REQUESTED, "none", "unknown"),
        (Action.EMAIL_VERIFIED, "email_link", "owner"),
        (Action.PASSWORD_DISCARDED, "email_link", "owner"),
        (Action.PASSWORD_RESET_REQUESTED, "none", "unknown"),  # for a new password
    ],
    email_change: [
        (Action.EMAIL_CHANGE_REQUESTED, "token", "owner"),
        (Action.EMAIL_CHANGED, "token", "owner"),
        (Action.EMAIL_CHANGE_UNDONE, "email_link", "owner"),
        (Action.PASSWORD_RESET_REQUESTED, "none", "unknown"),  # by the undo
    ],
    invitation: [
        (Action.USER_CREATED, "token", "admin"),
        (Action.INVITATION_SENT, "token", "admin"),
        (Action.INVITATION_ACCEPTED, "email_link", "owner"),
    ],
    administration: [(Action.USER_CHANGED, "token", "admin")],
    factors: [
        (Action.FACTOR_ADDED, "token", "owner"),
        (Action.LOGIN_CODE_FAILED, "none", "unknown"),
        (Action.RECOVERY_CODE_USED, "password", "owner"),
        (Action.LOGIN_SUCCEEDED, "password", "owner"),
        (Action.LOGIN_SUCCEEDED, "password", "owner"),
        (Action.RECOVERY_CODES_REPLACED, "token", "owner"),
        (Action.FACTOR_REMOVED, "token", "owner"),
    ],
    personal_tokens: [
        (Action.TOKEN_CREATED, "token", "owner"),
        (Action.TOKEN_CREATED, "token", "owner"),
        (Action.TOKEN_CREATED, "token", "owner"),
        (Action.TOKEN_REVOKED, "token", "owner"),
        (Action.TOKEN_REVOKED, "token", "admin"),
        (Action.TOKEN_REVOKED, "personal_token", "unknown"),
    ],
    service_accounts: [
        (Action.SERVICE_ACCOUNT_CREATED, "token", "admin"),
        (Action.LOGIN_SUCCEEDED, "client_credentials", "owner"),
        (Action.LOGIN_FAILED, "none", "unknown"),
        (Action.SERVICE_ACCOUNT_CHANGED, "token", "admin"),
        (Action.SERVICE_ACCOUNT_SECRET_ROTATED, "token", "admin"),
        (Action.SERVICE_ACCOUNT_DELETED, "token", "admin"),
    ],
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_action_is_recorded_without_values(
    service: Service, session: AsyncSession, scenario: Callable[[Service], Awaitable[None]]
) -> None:
    await scenario(service)
    await deliver(service.app)

    events = (await session.scalars(select(AuditEvent))).all()
    actors = {None: "unknown", service.admin.id: "admin"}
    recorded = [(e.action, e.credential, actors.get(e.actor_id, "owner")) for e in events]
    assert sorted(recorded) == sorted(SCENARIOS[scenario])
    for event in events:
        assert actors.get(event.actor_id) or event.actor_id == event.account_id
        assert event.request_id
        assert event.address == "127.0.0.1"
        assert event.target is None or event.target.partition(":")[0] in TARGETS


async def test_request_is_recorded_once_although_its_email_is_sent_again(
    service: Service, session: AsyncSession
) -> None:
    state, job_id = get_state(service.app), cast("Any", uuid4())

    async def attempt() -> None:
        async with state.database.write_session() as transaction:
            context = Context(transaction, state.mailer, state.settings, job_id)
            email = service.member.email
            await send_password_reset.function(context, email=email, address=None)

    service.mails.rejects_recipients = True
    with pytest.raises(SMTPException):
        await attempt()
    service.mails.rejects_recipients = False
    await attempt()

    actions = await session.scalars(select(AuditEvent.action))
    assert actions.all() == [Action.PASSWORD_RESET_REQUESTED]


def test_every_action_has_a_scenario() -> None:
    recorded = {action for events in SCENARIOS.values() for action, *_ in events}

    # Only admin pages delete the accounts of other users.
    assert recorded == set(Action) - {Action.USER_DELETED}
