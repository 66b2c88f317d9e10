"""The own profile, password and deletion."""

from httpx2 import AsyncClient
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.audit.models import AuditEvent
from {{ cookiecutter.package_name }}.auth.account_tokens import issue
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    LoginSession,
    Purpose,
    RefreshToken,
    User,
)

from mail_support import MailServer, deliver
from support import (
    NEW_PASSWORD,
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    NewApp,
    Register,
    change_password,
    delete_account,
    log_in,
    new_account,
    pointers,
)

ME = "/api/v1/users/me"


async def test_profile_update_changes_only_the_sent_fields(member: Account) -> None:
    created = (await member.client.get(ME)).json()

    named = (await member.client.patch(ME, json={"full_name": "Ada"})).json()
    kept = (await member.client.patch(ME, json={})).json()
    cleared = (await member.client.patch(ME, json={"full_name": None})).json()

    assert named == kept == created | {"full_name": "Ada", "updated_at": named["updated_at"]}
    assert cleared["full_name"] is None
    assert (await member.client.get(ME)).json() == cleared


async def test_profile_update_rejects_other_fields(member: Account) -> None:
    body = {"email": "a@example.com", "role": "admin", "is_active": True, "password": PASSWORD}

    response = await member.client.patch(ME, json=body)

    assert (response.status_code, pointers(response)) == (422, [f"/body/{name}" for name in body])


async def test_new_password_replaces_the_old_one(client: AsyncClient, member: Account) -> None:
    response = await change_password(member.client)

    assert response.status_code == 204
    assert (await log_in(client, member.email)).json()["error"] == "invalid_grant"
    assert (await log_in(client, member.email, NEW_PASSWORD)).status_code == 200


async def test_new_password_requires_the_current_one(client: AsyncClient, member: Account) -> None:
    response = await change_password(member.client, current=WRONG_PASSWORD)

    assert (response.status_code, pointers(response)) == (403, ["/body/current_password"])
    assert (await log_in(client, member.email)).status_code == 200


async def test_deletion_requires_the_password_and_deletes_the_logins(
    member: Account, register: Register, session: AsyncSession
) -> None:
    other = await register()

    rejected = await delete_account(member.client, WRONG_PASSWORD)
    deleted = await delete_account(member.client)

    assert (rejected.status_code, deleted.status_code) == (403, 204)
    assert (await member.client.get(ME)).status_code == 401
    assert (await session.scalars(select(LoginSession.user_id))).all() == [other.id]
    assert await session.scalar(select(func.count(RefreshToken.token_hash))) == 1
    assert (await register(email=member.email)).id != member.id


async def test_new_password_deletes_tokens_but_not_those_that_undo_a_change_of_address(
    member: Account, session: AsyncSession
) -> None:
    user = await session.get_one(User, member.id)
    for purpose in Purpose:
        await issue(session, user, purpose, user.email, 60)
    await session.commit()

    assert (await change_password(member.client)).status_code == 204

    assert (await session.scalars(select(AccountToken.purpose))).all() == [Purpose.EMAIL_UNDO]


async def test_address_that_is_not_verified_gets_no_notice(
    new_app: NewApp, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url)
    account = await new_account(app, email_verified_at=None)

    changed = await change_password(account.client)
    account = await new_account(app, email_verified_at=None)
    deleted = await delete_account(account.client)
    await deliver(app)

    assert (changed.status_code, deleted.status_code) == (204, 204)
    assert mail_server.taken == []


async def test_owner_is_notified_of_a_new_password_and_of_the_deletion(
    new_app: NewApp, mail_server: MailServer, session: AsyncSession
) -> None:
    app = new_app(smtp_url=mail_server.url)
    member = await new_account(app, full_name="Ada")

    await change_password(member.client)
    await deliver(app)
    login = await log_in(member.client, member.email, NEW_PASSWORD)
    member.client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
    deleted = await delete_account(member.client, NEW_PASSWORD)
    await deliver(app)

    assert deleted.status_code == 204
    assert [(mail["To"], mail["Subject"]) for mail in mail_server.taken] == [
        (member.email, "Your password has been changed"),
        (member.email, "Your account has been deleted"),
    ]
    assert "Ada" not in "".join(map(str, mail_server.taken))
    actions = ("password.changed", "account.deleted")
    events = await session.execute(
        select(AuditEvent.action, AuditEvent.actor_id, AuditEvent.credential)
        .where(AuditEvent.account_id == member.id, AuditEvent.action.in_(actions))
        .order_by(AuditEvent.id)
    )
    assert events.all() == [(action, member.id, "token") for action in actions]
