"""Administration of all accounts."""

from itertools import chain
from operator import itemgetter
from uuid import uuid4

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.audit.models import AuditEvent
from {{ cookiecutter.package_name }}.auth.account_tokens import issue
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    Purpose,
    Role,
    User,
)

from mail_support import MailServer, deliver
from mfa_support import enroll
from support import (
    Account,
    NewApp,
    Register,
    delete_account,
    log_in,
    new_account,
    new_user,
    pointers,
    read_pages,
    refresh,
    set_role,
)

USERS = "/api/v1/users"


@pytest.fixture
async def users(session: AsyncSession) -> list[User]:
    """Store users with similar email addresses and names."""
    stored = [
        new_user(email="ann_a@example.com", full_name="Ann 100%"),
        new_user(email="annxa@example.com", full_name="Ann Other"),
        new_user(email="bob@example.com", full_name=None, is_active=False),
        new_user(email="carl@example.com", full_name="Carl\\Ann"),
    ]
    session.add_all(stored)
    await session.commit()
    return stored


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/{id}"), ("PATCH", "/{id}")])
async def test_only_administrators_may_manage_accounts(
    member: Account, method: str, path: str
) -> None:
    response = await member.client.request(method, USERS + path.format(id=member.id), json={})

    assert response.status_code == 403


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("sort", ["created_at", "email"])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_are_complete_and_in_order(admin: Account, sort: str, descending: bool) -> None:
    order = f"-{sort}" if descending else sort

    pages = await read_pages(admin.client, USERS, limit=2, sort=order)

    assert [len(page) for page in pages] == [2, 2, 1]
    listed = list(chain(*pages))
    assert listed == sorted(listed, key=itemgetter(sort), reverse=descending)
    assert len({user["id"] for user in listed}) == 5


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "BOB@example"}, ["bob"]),
        ({"q": "oTHER"}, ["annxa"]),
        ({"q": "ann_a"}, ["ann_a"]),
        ({"q": "0%"}, ["ann_a"]),
        ({"q": "l\\a"}, ["carl"]),
        ({"q": "unknown"}, []),
        ({"is_active": "false"}, ["bob"]),
        ({"q": "ann", "is_active": "true", "role": "user"}, ["ann_a", "annxa", "carl"]),
        ({"q": "ann", "role": "admin"}, []),
    ],
)
async def test_accounts_are_filtered(
    admin: Account, query: dict[str, str], found: list[str]
) -> None:
    response = await admin.client.get(USERS, params=query | {"sort": "email"})

    assert [user["email"].partition("@")[0] for user in response.json()["items"]] == found


async def test_account_is_read_and_changed(admin: Account, users: list[User]) -> None:
    url = f"{USERS}/{users[0].id}"
    changes = {"email": "ann@example.com", "full_name": None, "role": "admin", "is_active": True}
    before = (await admin.client.get(url)).json()

    response = await admin.client.patch(url, json=changes | {"email": "ANN@example.com"})

    changed = changes | {"email_verified_at": None, "updated_at": response.json()["updated_at"]}
    assert response.json() == before | changed
    assert (await admin.client.get(url)).json() == response.json()


async def test_unknown_account_is_not_found_and_a_taken_email_is_a_conflict(
    admin: Account, users: list[User]
) -> None:
    unknown = await admin.client.patch(f"{USERS}/{uuid4()}", json={})
    taken = await admin.client.patch(
        f"{USERS}/{users[0].id}", json={"email": users[1].email.upper()}
    )

    assert (unknown.status_code, taken.status_code) == (404, 409)


@pytest.mark.parametrize(
    "change",
    [
        {"email": None, "role": None, "is_active": None},
        {
            "email": "invalid",
            "full_name": " ",
            "role": "unknown",
            "is_active": "no",
            "password": "-",
        },
    ],
)
async def test_invalid_change_has_pointers(
    admin: Account, users: list[User], change: dict[str, object]
) -> None:
    response = await admin.client.patch(f"{USERS}/{users[0].id}", json=change)

    assert (response.status_code, pointers(response)) == (422, [f"/body/{name}" for name in change])


async def test_change_is_recorded_with_its_fields_but_not_their_values(
    admin: Account, member: Account, session: AsyncSession
) -> None:
    changes = {"role": "admin", "email": "ann@example.com", "is_active": True}
    await admin.client.patch(f"{USERS}/{member.id}", json=changes)
    await admin.client.patch(f"{USERS}/{member.id}", json={})

    [event] = (await session.scalars(select(AuditEvent).filter_by(account_id=member.id))).all()
    assert (event.action, event.actor_id, event.credential) == ("user.changed", admin.id, "token")
    assert (event.target, event.address) == ("fields:email,role", "127.0.0.1")


@pytest.mark.parametrize(
    ("change", "kept"),
    [({"email": "ann@example.com"}, []), ({"is_active": False}, [Purpose.EMAIL_UNDO])],
)
async def test_new_address_and_deactivation_delete_tokens(
    admin: Account,
    member: Account,
    session: AsyncSession,
    change: dict[str, object],
    kept: list[Purpose],
) -> None:
    user = await session.get_one(User, member.id)
    for purpose in Purpose:
        await issue(session, user, purpose, user.email, 60)
    await session.commit()

    await admin.client.patch(f"{USERS}/{member.id}", json={"full_name": "Ann"})
    assert len((await session.scalars(select(AccountToken.id))).all()) == len(Purpose)
    await admin.client.patch(f"{USERS}/{member.id}", json=change)

    assert (await session.scalars(select(AccountToken.purpose))).all() == kept


async def test_address_that_an_administrator_sets_is_not_verified_and_the_former_is_notified(
    new_app: NewApp, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url)
    admin, member = await new_account(app, role=Role.ADMIN), await new_account(app)
    url = f"{USERS}/{member.id}"

    kept = await admin.client.patch(url, json={"email": member.email.upper(), "full_name": "Ann"})
    changed = await admin.client.patch(url, json={"email": "ann@example.com"})
    await deliver(app)

    assert kept.json()["email_verified_at"] is not None
    assert changed.json()["email_verified_at"] is None
    [mail] = mail_server.taken
    assert (mail["To"], mail["Subject"]) == (member.email, "Your email address has been changed")


async def test_administrators_remove_the_factors_of_a_user_who_has_lost_them(
    client: AsyncClient, admin: Account, register: Register
) -> None:
    member = await register()
    await enroll(member)
    assert (await log_in(client, member.email)).json()["error"] == "mfa_required"

    responses = [
        await account.client.delete(f"{USERS}/{user_id}/factors")
        for account, user_id in ((member, member.id), (admin, uuid4()), (admin, member.id))
    ]

    assert [response.status_code for response in responses] == [403, 404, 204]
    assert (await member.client.get(f"{USERS}/me")).status_code == 401
    assert (await log_in(client, member.email)).status_code == 200
    again = await admin.client.delete(f"{USERS}/{member.id}/factors")
    assert again.status_code == 204
    assert (await log_in(client, member.email)).status_code == 200


async def test_new_role_applies_at_once(admin: Account, member: Account) -> None:
    await admin.client.patch(f"{USERS}/{member.id}", json={"role": "admin"})

    assert (await member.client.get(USERS)).status_code == 200


async def test_deactivation_ends_all_logins(
    client: AsyncClient, admin: Account, member: Account
) -> None:
    url = f"{USERS}/{member.id}"

    await admin.client.patch(url, json={"is_active": False})

    assert (await member.client.get(f"{USERS}/me")).status_code == 401
    assert (await log_in(client, member.email)).json()["error"] == "invalid_grant"
    await admin.client.patch(url, json={"is_active": True})
    assert (await refresh(client, member.refresh_token)).json()["error"] == "invalid_grant"
    assert (await log_in(client, member.email)).status_code == 200


@pytest.mark.parametrize("change", [{"role": "user"}, {"is_active": False}])
async def test_administrators_cannot_demote_or_deactivate_themselves(
    admin: Account, change: dict[str, object]
) -> None:
    url = f"{USERS}/{admin.id}"

    assert (await admin.client.patch(url, json=change)).status_code == 409
    assert (await admin.client.patch(url, json={"full_name": "Root"})).status_code == 200


async def test_last_administrator_cannot_delete_the_account(
    admin: Account, member: Account, session: AsyncSession
) -> None:
    await set_role(session, member, Role.ADMIN)

    async def delete(*, other_is_active: bool) -> int:
        other = update(User).where(User.id == member.id).values(is_active=other_is_active)
        await session.execute(other)
        await session.commit()
        return (await delete_account(admin.client)).status_code

    assert await delete(other_is_active=False) == 409
    assert await delete(other_is_active=True) == 204
