"""Lists, exports and changes of accounts and logins on the admin pages."""

import asyncio
import csv
import json
import re
from datetime import UTC, datetime
from io import StringIO
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.admin import users, views
from {{ cookiecutter.package_name }}.audit.models import Action, AuditEvent
from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    Role,
    User,
)

from admin_support import alert, hidden_value, is_saved, log_in_to_pages, new_browser, save
from mail_support import MailServer, deliver, token_of
from mfa_support import enroll
from support import (
    NEW_PASSWORD,
    PASSWORD,
    PASSWORD_HASH,
    PRODUCTION,
    Account,
    NewApp,
    create_personal_token,
    log_in,
    log_in_with,
    new_account,
    new_client,
    new_user,
    registration,
)

ME = "/api/v1/users/me"


def account_form(email: str, **changes: str) -> dict[str, str]:
    form = registration(email=email, full_name="", role="user", is_active="y", password="")
    return {name: value for name, value in (form | changes).items() if value != "off"}


async def edit_account(browser: AsyncClient, account: Account, form: dict[str, str]) -> Response:
    """Open the form of an account, change it and send it."""
    path = f"user/edit/{account.id}"
    page = await browser.get(f"/admin/{path}")
    return await save(browser, path, {"updated_at": hidden_value(page, "updated_at"), **form})


async def emails(browser: AsyncClient, **query: str) -> list[str]:
    """Return the accounts of a list, in its order."""
    page = await browser.get("/admin/user/list", params=query)
    return re.findall(r"<td>([a-z_.0-9]+)@example\.com</td>", page.text)


@pytest.fixture
async def users_on_list(session: AsyncSession) -> None:
    """Accounts with similar email addresses."""
    people = [("ann_a", "=1+1", True), ("annxa", "Ann Other", True), ("bob", None, False)]
    session.add_all(
        new_user(email=f"{name}@example.com", full_name=full, is_active=active)
        for name, full, active in people
    )
    await session.commit()


# Lists


@pytest.mark.usefixtures("users_on_list")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"search": "ANN_"}, ["ann_a"]),
        ({"search": "other"}, ["annxa"]),
        ({"search": "ann", "sortBy": "email", "sort": "desc"}, ["annxa", "ann_a"]),
        ({"search": "ann", "sortBy": "email", "sort": "asc"}, ["ann_a", "annxa"]),
        ({"is_active": "false"}, ["bob"]),
        ({"search": "ann", "role": "admin"}, []),
    ],
)
async def test_accounts_are_found(
    browser: AsyncClient, query: dict[str, str], found: list[str]
) -> None:
    assert await emails(browser, **query) == found


async def test_list_shows_verified_addresses_and_second_factors(
    browser: AsyncClient, session: AsyncSession
) -> None:
    verified_at = datetime(2026, 11, 30, 9, 15, tzinfo=UTC)
    session.add(new_user(email="ann@example.com", email_verified_at=verified_at, mfa_enabled=True))
    session.add(new_user(email="bob@example.com", email_verified_at=None))
    await session.commit()

    page = await browser.get("/admin/user/list")

    assert {"Verified", "Second factor"} <= set(re.findall(r">\s*([\w ]+?)\s*<", page.text))
    for name in ("verified", "mfa_enabled"):
        assert "ann" in await emails(browser, **{name: "true"})
        assert "bob" in await emails(browser, **{name: "false"})
        assert not {"ann", "bob"} <= {*await emails(browser, **{name: "true"})}


async def test_list_shows_the_account_of_a_login(browser: AsyncClient, member: Account) -> None:
    logins = await browser.get(f"/admin/login-session/list?search={member.email}&revoked=false")

    assert member.email in logins.text


@pytest.mark.usefixtures("users_on_list")
async def test_export_is_safe_to_open_in_a_spreadsheet(browser: AsyncClient) -> None:
    export = await browser.get("/admin/user/export/csv")

    rows = {row["Email"]: row for row in csv.DictReader(StringIO(export.text))}
    assert rows["ann_a@example.com"]["Name"] == "'=1+1"
    assert rows["bob@example.com"]["Active"] == "FALSE"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "⁺"])
@pytest.mark.parametrize("before", ["", " ", "\t", "\r\n", "\N{NO-BREAK SPACE}", "\N{BOM}"])
async def test_formula_is_text_in_an_export(before: str, sign: str) -> None:
    export = users.UserView().custom_export_cell

    assert await export(None, "full_name", f"{before}{sign}1") == f"'{before}{sign}1"
    assert await export(None, "full_name", f"{before}1{sign}1") is None


async def test_export_has_a_limited_number_of_rows(
    browser: AsyncClient, monkeypatch: pytest.MonkeyPatch, session: AsyncSession
) -> None:
    monkeypatch.setattr(views.AdminView, "export_max_rows", 2)
    session.add_all(new_user(email=f"{name}@example.com") for name in ("old", "new", "newest"))
    await session.commit()

    export = await browser.get("/admin/user/export/csv")

    rows = csv.DictReader(StringIO(export.text))
    assert [row["Email"] for row in rows] == ["newest@example.com", "new@example.com"]


async def test_details_of_a_login_show_its_scopes(
    app: FastAPI, browser: AsyncClient, member: Account, session: AsyncSession
) -> None:
    await log_in_with(app, member, "account:read")
    limited = await session.scalar(select(LoginSession.id).where(LoginSession.scope.is_not(None)))

    page = await browser.get(f"/admin/login-session/details/{limited}")

    assert "<td>account:read</td>" in page.text


async def test_no_secret_is_on_any_page(
    browser: AsyncClient, admin: Account, session: AsyncSession
) -> None:
    logins = (await session.scalars(select(LoginSession))).all()
    secrets = [PASSWORD_HASH, *(login.cookie_hash for login in logins if login.cookie_hash)]
    pages = [f"user/{page}/{admin.id}" for page in ("details", "edit")]
    pages += [f"login-session/details/{login.id}" for login in logins]
    pages += [
        f"{name}/{page}" for name in ("user", "login-session") for page in ("list", "export/csv")
    ]

    for page in pages:
        response = await browser.get(f"/admin/{page}")
        assert response.status_code == 200
        assert admin.email in response.text
        assert not [secret for secret in secrets if secret in response.text]
    assert len(secrets) == 2


# Accounts


async def test_service_accounts_are_not_among_the_users(
    browser: AsyncClient, session: AsyncSession
) -> None:
    account = new_user(email="machine@example.com", role=Role.SERVICE)
    session.add(account)
    await session.commit()

    listed = await browser.get("/admin/user/list")
    export = await browser.get("/admin/user/export/csv")
    pages = [await browser.get(f"/admin/user/{page}/{account.id}") for page in ("details", "edit")]

    assert "machine@example.com" not in listed.text + export.text
    assert "role=service" not in listed.text
    assert [page.status_code for page in pages] == [404, 404]


async def test_no_account_gets_the_role_of_service_accounts(
    browser: AsyncClient, member: Account, session: AsyncSession
) -> None:
    form = account_form(member.email, role="service")

    edited = await edit_account(browser, member, form)
    created = await save(browser, "user/create", form | {"email": "new@example.com"})

    assert (edited.status_code, created.status_code) == (400, 400)
    assert set(await session.scalars(select(User.role))) == {Role.USER, Role.ADMIN}


async def test_new_account_can_log_in(browser: AsyncClient, client: AsyncClient) -> None:
    form = account_form("New@Example.COM", role="admin", password=NEW_PASSWORD)

    assert is_saved(await save(browser, "user/create", form))

    token = (await log_in(client, "new@example.com", NEW_PASSWORD)).json()["access_token"]
    me = await client.get(ME, headers={"Authorization": f"Bearer {token}"})
    assert (me.json()["email"], me.json()["role"]) == ("new@example.com", "admin")


async def test_new_account_may_begin_inactive(browser: AsyncClient, client: AsyncClient) -> None:
    form = account_form("new@example.com", is_active="off", password=NEW_PASSWORD)

    assert is_saved(await save(browser, "user/create", form))

    assert (await log_in(client, "new@example.com", NEW_PASSWORD)).status_code == 400


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("new", NEW_PASSWORD, "Email: value is not a valid email address"),
        ("new@example.com", "short", "Password: must have at least 12 characters."),
        ("new", "", "Email: value is not a valid email address"),
        ("new@example.com", "x" * 73, "Password: must not be longer than 72 bytes in UTF-8."),
        ("new@example.com", "new@example.com", "The password is easy to guess."),
        ("{taken}", NEW_PASSWORD, "This email address already has an account."),
        ("{taken}", "", "This email address already has an account."),
    ],
)
async def test_invalid_account_is_explained_and_not_created(
    browser: AsyncClient,
    member: Account,
    session: AsyncSession,
    email: str,
    password: str,
    sentence: str,
) -> None:
    form = account_form(email.format(taken=member.email.upper()), password=password)

    response = await save(browser, "user/create", form)

    assert alert(response).startswith(sentence)
    assert not password or password not in response.text or password == email
    assert len((await session.scalars(select(User))).all()) == 2


async def test_changed_account_keeps_what_was_not_changed(
    browser: AsyncClient, member: Account, client: AsyncClient
) -> None:
    form = account_form("Else@example.com", full_name="Ada Lovelace")

    assert is_saved(await edit_account(browser, member, form))

    me = (await member.client.get(ME)).json()
    assert (me["email"], me["full_name"], me["role"]) == (
        "else@example.com",
        "Ada Lovelace",
        "user",
    )
    assert (await log_in(client, "else@example.com")).status_code == 200


@pytest.mark.parametrize("change", [{"is_active": "off"}, {"password": NEW_PASSWORD}])
async def test_deactivation_and_new_password_revoke_all_logins_and_tokens(
    browser: AsyncClient, client: AsyncClient, member: Account, change: dict[str, str]
) -> None:
    form = account_form(member.email, **change)
    token = (await create_personal_token(member))["token"]

    assert is_saved(await edit_account(browser, member, form))

    assert (await member.client.get(ME)).status_code == 401
    authorization = {"Authorization": f"Bearer {token}"}
    assert (await client.get(ME, headers=authorization)).status_code == 401
    assert (await log_in(client, member.email)).status_code == 400
    renewed = await log_in(client, member.email, NEW_PASSWORD)
    assert renewed.status_code == (200 if "password" in change else 400)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"role": "user"}, "Administrators cannot change their own role or deactivate themselves."),
        ({"is_active": "off"}, "Administrators cannot change their own role or deactivate"),
        ({"password": NEW_PASSWORD}, "Change your own password in your profile."),
        ({"email": "{taken}"}, "This email address already has an account."),
        ({"role": "king"}, ""),
    ],
)
async def test_administrators_cannot_lock_themselves_out(
    browser: AsyncClient, admin: Account, member: Account, change: dict[str, str], sentence: str
) -> None:
    form = account_form(**{"email": admin.email, "role": "admin"} | change)
    form["email"] = form["email"].format(taken=member.email)

    response = await edit_account(browser, admin, form)

    assert response.status_code == 400
    assert alert(response).startswith(sentence)
    assert (await admin.client.get(ME)).json()["role"] == "admin"
    assert (await browser.get("/admin/user/list")).status_code == 200


async def test_stale_form_does_not_undo_the_change_of_another_administrator(
    browser: AsyncClient, admin: Account, member: Account
) -> None:
    page = await browser.get(f"/admin/user/edit/{member.id}")
    await admin.client.patch(f"/api/v1/users/{member.id}", json={"is_active": False})
    form = account_form(member.email, full_name="Ada Lovelace")
    form["updated_at"] = hidden_value(page, "updated_at")

    response = await save(browser, f"user/edit/{member.id}", form)

    assert alert(response) == "The account has changed in the meantime; load it again."
    account = (await admin.client.get(f"/api/v1/users/{member.id}")).json()
    assert (account["is_active"], account["full_name"]) == (False, None)


@pytest.mark.parametrize("path", ["user/create", "user/edit/{member}"])
@pytest.mark.parametrize("sent", ["nothing", "files"])
async def test_form_without_its_fields_is_rejected(
    browser: AsyncClient, member: Account, path: str, sent: str
) -> None:
    url = "/admin/" + path.format(member=member.id)
    names = ("email", "full_name", "updated_at")
    files = {name: (name, b"x") for name in names} if sent == "files" else {"x": (None, "x")}

    response = await browser.post(url, files=files)

    assert response.status_code == 400


async def test_form_sent_after_a_stale_login_keeps_its_input(
    stale_browser: AsyncClient, admin: Account, member: Account
) -> None:
    account = (await member.client.get(ME)).json()
    form = account_form(member.email, full_name="Ada Lovelace")

    edited = await save(stale_browser, f"user/edit/{member.id}", {"updated_at": "", **form})
    deleted = await stale_browser.delete(f"/admin/user/delete?pks={member.id}")

    assert alert(edited) == "Log in again to make changes."
    assert 'value="Ada Lovelace"' in edited.text
    assert "Log+in+again+to+make+changes" in deleted.text
    assert (await member.client.get(ME)).json() == account
    await log_in_to_pages(stale_browser, admin.email)
    assert is_saved(await edit_account(stale_browser, member, form))


async def test_easy_password_is_rejected(browser: AsyncClient, member: Account) -> None:
    form = account_form(member.email, password=member.email)

    response = await edit_account(browser, member, form)

    assert alert(response) == "The password is easy to guess."
    assert (await member.client.get(ME)).status_code == 200


async def test_administrators_cannot_delete_each_other_at_once(live_app: FastAPI) -> None:
    for remaining in range(1, 6):
        pair = [await new_account(live_app) for _ in range(2)]
        async with live_app.state.services.database.write_session() as session:
            await session.execute(update(User).values(role=Role.ADMIN))
        browsers = [new_browser(live_app) for _ in pair]
        for browser, account in zip(browsers, pair, strict=True):
            assert (await log_in_to_pages(browser, account.email)).status_code == 303

        await asyncio.gather(
            browsers[0].delete(f"/admin/user/delete?pks={pair[1].id}"),
            browsers[1].delete(f"/admin/user/delete?pks={pair[0].id}"),
        )

        async with live_app.state.services.database.read_session() as session:
            assert len((await session.scalars(select(User.id))).all()) == remaining


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "user/create"),
        ("POST", "user/edit/{member}"),
        ("DELETE", "user/delete?pks={member}"),
        ("POST", "login-session/action/revoke?pks={login}"),
    ],
)
async def test_administrator_demoted_meanwhile_changes_nothing(
    demoted_browser: AsyncClient, member: Account, session: AsyncSession, method: str, path: str
) -> None:
    login = await session.scalar(select(LoginSession.id).where(LoginSession.user_id == member.id))
    url = "/admin/" + path.format(member=member.id, login=login)
    form = account_form("new@example.com", password=NEW_PASSWORD)

    response = await demoted_browser.request(method, url, data=form)

    shown = response.text + response.headers.get("Location", "")
    assert "Only administrators may do this." in shown.replace("+", " ")
    assert (await member.client.get(ME)).status_code == 200
    assert (await log_in(member.client, member.email)).status_code == 200
    assert (await log_in(member.client, "new@example.com", NEW_PASSWORD)).status_code == 400


async def test_deletion_is_all_or_nothing(
    browser: AsyncClient, admin: Account, member: Account, session: AsyncSession
) -> None:
    rejected = [
        await browser.delete(f"/admin/user/delete?pks={member.id},{other}")
        for other in (admin.id, uuid4())
    ]
    assert "Administrators+cannot+delete+themselves" in rejected[0].text
    assert "User+not+found" in rejected[1].text
    assert (await member.client.get(ME)).status_code == 200

    deleted = await browser.delete(f"/admin/user/delete?pks={member.id}")

    assert deleted.text == "https://test/admin/user/list"
    assert await session.get(User, member.id) is None


async def test_new_user_without_a_password_is_invited(
    new_app: NewApp, admin: Account, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url)
    browser, client = new_browser(app), new_client(app)
    await log_in_to_pages(browser, admin.email)

    assert is_saved(await save(browser, "user/create", account_form("new@example.com")))
    taken = await save(browser, "user/create", account_form("new@example.com", is_active="off"))
    page = await browser.get("/admin/user/list?search=new@example.com")
    [user] = set(re.findall(r"/user/details/([0-9a-f-]{36})", page.text))
    again = f"/admin/user/action/invite?pks={user}"
    assert "Send invitation to 1 user?" in (await browser.get(again)).text
    assert (await browser.post(again)).status_code == 303
    await deliver(app)

    assert alert(taken) == "This email address already has an account."
    assert [mail["To"] for mail in mail_server.taken] == ["new@example.com"] * 2
    for mail, status in zip(mail_server.taken, (204, 422), strict=True):
        body = {"token": token_of(mail), "new_password": NEW_PASSWORD}
        accepted = await client.put("/api/v1/users/invitations", json=body)
        assert accepted.status_code == status
    assert (await log_in(client, "new@example.com", NEW_PASSWORD)).status_code == 200
    rejected = await browser.post(again)
    assert "This+email+address+already+has+an+account." in rejected.headers["Location"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (PRODUCTION, "The service cannot send email."),
        ({"registration": "closed"}, "Registration is closed."),
    ],
)
async def test_invitation_that_is_not_allowed_creates_no_account(
    new_app: NewApp, admin: Account, settings: dict[str, object], sentence: str
) -> None:
    browser = new_browser(new_app(**settings))
    await log_in_to_pages(browser, admin.email)

    response = await save(browser, "user/create", account_form("new@example.com"))

    assert alert(response) == sentence
    assert await emails(browser, search="new") == []


async def test_administrator_removes_second_factors(
    browser: AsyncClient, client: AsyncClient, member: Account, admin: Account
) -> None:
    await enroll(member)
    assert (await log_in(client, member.email)).status_code == 400
    remove = f"/admin/user/action/remove-factors?pks={member.id},{admin.id}"
    assert "Remove second factors of 2 users?" in (await browser.get(remove)).text

    assert (await browser.post(remove)).status_code == 303

    assert (await member.client.get(ME)).status_code == 401
    assert (await log_in(client, member.email)).status_code == 200
    assert (await browser.get("/admin/user/list")).status_code == 200
    events = (await admin.client.get("/api/v1/audit-events?action=factor.removed")).json()["items"]
    assert [(event["account_id"], event["actor_id"]) for event in events] == [
        (str(member.id), str(admin.id))
    ]


# Logins


async def test_revoked_login_is_rejected(browser: AsyncClient, member: Account) -> None:
    page = await browser.get(f"/admin/login-session/list?search={member.email}")
    [login] = set(re.findall(r"/login-session/details/([0-9a-f-]{36})", page.text))
    revoke = f"/admin/login-session/action/revoke?pks={login},{uuid4()}"

    assert "Revoke 2 logins?" in (await browser.get(revoke)).text
    assert (await member.client.get(ME)).status_code == 200
    assert [(await browser.post(revoke)).status_code for _ in range(2)] == [303, 303]

    assert (await member.client.get(ME)).status_code == 401


# Audit


async def test_every_change_is_in_the_audit_log_without_its_values(
    new_app: NewApp,
    admin: Account,
    member: Account,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    session: AsyncSession,
) -> None:
    caplog.set_level("WARNING", logger="httpx2")
    browser = new_browser(new_app(log_level="INFO"))
    login = await session.scalar(select(LoginSession.id).where(LoginSession.user_id == member.id))

    await log_in_to_pages(browser, admin.email)
    new = account_form("new@example.com", password=NEW_PASSWORD)
    await save(browser, "user/create", new)
    await save(browser, "user/create", new)
    await edit_account(browser, member, account_form(member.email, full_name="Zebra"))
    await browser.post(f"/admin/login-session/action/revoke?pks={login}")
    await browser.delete(f"/admin/user/delete?pks={member.id}")
    await browser.post("/admin/logout")

    output = capsys.readouterr().out
    logged = [json.loads(line) for line in output.splitlines()]
    lines = [line for line in logged if line["message"] == "admin action"]
    assert {line["user.id"] for line in lines} == {str(admin.id)}
    routes = [line["labels"]["route"] for line in logged if line["message"] == "request"]
    assert routes[:2] == ["/admin/login", "/admin/{identity}/create"]
    done = [line["labels"] for line in lines]
    del done[1]["object_id"]
    assert done == [
        {"action": "login"},
        {"action": "create", "model": "user", "fields": sorted(filter(new.get, new))},
        {"action": "change", "model": "user", "object_id": str(member.id), "fields": ["full_name"]},
        {"action": "revoke", "model": "login-session", "object_id": str(login)},
        {"action": "delete", "model": "user", "object_id": str(member.id)},
        {"action": "logout"},
    ]
    assert not [secret for secret in (PASSWORD, NEW_PASSWORD, "Zebra") if secret in output]
    by_admin = select(AuditEvent).where(AuditEvent.actor_id == admin.id).order_by(AuditEvent.id)
    stored = [(e.action, e.credential, e.target) for e in (await session.scalars(by_admin)).all()]
    assert stored[:-1] == [
        (Action.LOGIN_SUCCEEDED, "password", None),
        (Action.USER_CREATED, "cookie", None),
        (Action.USER_CHANGED, "cookie", "fields:full_name"),
        (Action.SESSION_REVOKED, "cookie", f"session:{login}"),
        (Action.USER_DELETED, "cookie", None),
    ]
    assert stored[-1][:2] == (Action.SESSION_REVOKED, "cookie")
