"""Personal access tokens and service accounts on the admin pages."""

import re
from html import unescape
from uuid import uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.audit.models import Action, AuditEvent
from {{ cookiecutter.package_name }}.auth.models import (
    PersonalAccessToken,
    ServiceAccount,
)

from admin_support import alert, hidden_value, is_saved
from support import Account, create_personal_token, request_client_token

ME, USERS = "/api/v1/users/me", "/api/v1/users"
TOKENS, SERVICE_ACCOUNTS = "/admin/personal-access-token", "/admin/service-account"


async def create_token(account: Account, name: str = "backup") -> tuple[str, str]:
    """Create a personal access token, and return its id and the token."""
    created = await create_personal_token(account, name=name)
    return created["id"], created["token"]


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def secret_on(page: Response) -> str:
    """Return the client secret that a page shows."""
    [secret] = re.findall(r'value="([^"]+)" readonly', page.text)
    return str(secret)


async def create_service_account(
    browser: AsyncClient, name: str = "billing", *scopes: str, is_active: str = "y"
) -> tuple[str, str]:
    """Create a service account in its form, and return its client id and its secret."""
    scopes = scopes or ("users:admin",)
    page = await save_service_account(browser, "create", name, *scopes, is_active=is_active)
    assert page.status_code == 200
    listed = await browser.get(f"{SERVICE_ACCOUNTS}/list?search={name}")
    [client_id] = set(re.findall(r"/service-account/details/([0-9a-f-]{36})", listed.text))
    return client_id, secret_on(page)


async def save_service_account(
    browser: AsyncClient,
    path: str,
    name: str,
    *scopes: str,
    updated_at: str = "",
    is_active: str = "y",
) -> Response:
    """Send the form of a service account."""
    parts = [("name", name), ("updated_at", updated_at), ("is_active", is_active), ("save", "Save")]
    parts += [("scopes", scope) for scope in scopes]
    return await browser.post(
        f"{SERVICE_ACCOUNTS}/{path}", files=[(field, (None, value)) for field, value in parts]
    )


async def list_users(client: AsyncClient, client_id: str, secret: str) -> int:
    """Return the status of a request with a new token of a service account."""
    token = (await request_client_token(client, client_id, secret)).json()["access_token"]
    return (await client.get(USERS, headers=with_token(token))).status_code


# Personal access tokens


@pytest.mark.parametrize("page", ["list", "details/{id}", "export/csv"])
async def test_token_is_shown_without_its_hash(
    browser: AsyncClient, member: Account, session: AsyncSession, page: str
) -> None:
    token_id, token = await create_token(member)
    token_hash = await session.scalar(select(PersonalAccessToken.token_hash))

    response = await browser.get(f"{TOKENS}/{page.format(id=token_id)}")

    assert all(text in response.text for text in (member.email, "backup", "account:read"))
    assert not any(str(secret) in response.text for secret in (token, token_hash))


@pytest.mark.parametrize(
    ("search", "found"), [("{email}", True), ("BACK", True), ("account:read", True), ("x_", False)]
)
async def test_tokens_are_found(
    browser: AsyncClient, member: Account, search: str, found: bool
) -> None:
    await create_token(member)

    page = await browser.get(f"{TOKENS}/list?search={search.format(email=member.email)}")

    assert ("<td>backup</td>" in page.text) is found


async def test_revoked_token_is_rejected(
    browser: AsyncClient,
    client: AsyncClient,
    member: Account,
    admin: Account,
    session: AsyncSession,
) -> None:
    token_id, token = await create_token(member)
    _, other = await create_token(member, "other")
    revoke = f"{TOKENS}/action/revoke?pks={token_id},{uuid4()}"
    assert "Revoke 2 personal access tokens?" in (await browser.get(revoke)).text
    assert (await client.get(ME, headers=with_token(token))).status_code == 200

    assert [(await browser.post(revoke)).status_code for _ in range(2)] == [303, 303]

    statuses = [(await client.get(ME, headers=with_token(t))).status_code for t in (token, other)]
    assert statuses == [401, 200]
    by_admin = select(AuditEvent).where(AuditEvent.actor_id == admin.id)
    events = (await session.scalars(by_admin.order_by(AuditEvent.id))).all()
    assert [(e.action, e.account_id, e.credential, e.target) for e in events[1:]] == [
        (Action.TOKEN_REVOKED, member.id, "cookie", f"token:{token_id}")
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "create"), ("POST", "create"), ("GET", "edit/{id}"), ("DELETE", "delete?pks={id}")],
)
async def test_tokens_are_neither_created_nor_changed(
    browser: AsyncClient, client: AsyncClient, member: Account, method: str, path: str
) -> None:
    token_id, token = await create_token(member)

    response = await browser.request(method, f"{TOKENS}/{path.format(id=token_id)}")

    assert response.status_code in {403, 404}
    assert (await client.get(ME, headers=with_token(token))).status_code == 200


# Service accounts


async def test_secret_of_a_new_service_account_is_shown_once(
    browser: AsyncClient, client: AsyncClient, session: AsyncSession
) -> None:
    client_id, secret = await create_service_account(browser)

    assert await list_users(client, client_id, secret) == 200
    secret_hash = await session.scalar(select(ServiceAccount.secret_hash))
    for page in ("list", f"details/{client_id}", f"edit/{client_id}", "export/csv"):
        response = await browser.get(f"{SERVICE_ACCOUNTS}/{page}")
        assert "billing" in response.text
        assert not any(str(value) in response.text for value in (secret, secret_hash))


@pytest.mark.parametrize(
    ("name", "scopes", "sentence"),
    [
        ("", ["users:admin"], "Name: "),
        ("billing", [], "Scopes: "),
        ("taken", ["users:admin"], "Another service account has this name."),
    ],
)
async def test_invalid_service_account_is_explained_and_not_created(
    browser: AsyncClient, session: AsyncSession, name: str, scopes: list[str], sentence: str
) -> None:
    await create_service_account(browser, "taken")

    response = await save_service_account(browser, "create", name, *scopes)

    assert response.status_code == 400
    assert alert(response).startswith(sentence)
    assert (await session.scalars(select(ServiceAccount.name))).all() == ["taken"]


@pytest.mark.parametrize("scope", ["account:write", "nothing:read"])
async def test_service_account_gets_only_scopes_of_programs(
    browser: AsyncClient, session: AsyncSession, scope: str
) -> None:
    response = await save_service_account(browser, "create", "billing", scope)

    assert response.status_code == 400
    assert f"'{scope}' is not a valid choice for this field." in unescape(response.text)
    assert (await session.scalars(select(ServiceAccount.name))).all() == []


async def test_rotated_secret_replaces_the_former_one(
    browser: AsyncClient, client: AsyncClient
) -> None:
    client_id, former = await create_service_account(browser)
    url = f"{SERVICE_ACCOUNTS}/action/rotate-secret?pks={client_id}"
    assert "Rotate secret of 1 service account?" in (await browser.get(url)).text
    assert (await request_client_token(client, client_id, former)).status_code == 200

    secret = secret_on(await browser.post(url))

    assert (await request_client_token(client, client_id, former)).status_code == 401
    assert await list_users(client, client_id, secret) == 200


async def test_secrets_are_rotated_one_at_a_time(browser: AsyncClient, client: AsyncClient) -> None:
    accounts = [await create_service_account(browser, name) for name in ("billing", "backup")]
    url = f"{SERVICE_ACCOUNTS}/action/rotate-secret"
    both = ",".join(client_id for client_id, _ in accounts)

    several = await browser.post(f"{url}?pks={both}")
    unknown = await browser.post(f"{url}?pks={uuid4()}")

    assert several.status_code == 400
    assert "error=" in unknown.headers["Location"]
    assert [await list_users(client, *account) for account in accounts] == [200, 200]


async def test_changed_service_account_has_its_new_name_and_scopes(
    browser: AsyncClient, client: AsyncClient
) -> None:
    client_id, secret = await create_service_account(
        browser, "billing", "users:admin", "audit:read"
    )
    former_token = (await request_client_token(client, client_id, secret)).json()["access_token"]
    page = await browser.get(f"{SERVICE_ACCOUNTS}/edit/{client_id}")
    form = {"updated_at": hidden_value(page, "updated_at")}
    checked = re.findall(r'<input checked [^>]*value="(\w+:\w+)"', page.text)

    edited = await save_service_account(
        browser, f"edit/{client_id}", "accounting", "audit:read", **form
    )
    stale = await save_service_account(
        browser, f"edit/{client_id}", "billing", "users:admin", **form
    )

    assert set(checked) == {"users:admin", "audit:read"}
    assert is_saved(edited)
    assert alert(stale) == "The service account has changed in the meantime; load it again."
    assert (await client.get(USERS, headers=with_token(former_token))).status_code == 401
    tokens = (await request_client_token(client, client_id, secret)).json()
    assert tokens["scope"] == "audit:read"
    assert "<td>accounting</td>" in (await browser.get(f"{SERVICE_ACCOUNTS}/list")).text


async def test_inactive_service_account_gets_no_token(
    browser: AsyncClient, client: AsyncClient
) -> None:
    client_id, secret = await create_service_account(browser, "billing", is_active="")
    page = await browser.get(f"{SERVICE_ACCOUNTS}/edit/{client_id}")
    before = await request_client_token(client, client_id, secret)

    activated = await save_service_account(
        browser,
        f"edit/{client_id}",
        "billing",
        "users:admin",
        updated_at=hidden_value(page, "updated_at"),
    )

    assert is_saved(activated)
    assert before.is_error
    assert await list_users(client, client_id, secret) == 200


async def test_stale_form_does_not_activate_a_service_account(
    browser: AsyncClient, client: AsyncClient, admin: Account
) -> None:
    client_id, secret = await create_service_account(browser)
    page = await browser.get(f"{SERVICE_ACCOUNTS}/edit/{client_id}")
    await admin.client.patch(f"/api/v1/service-accounts/{client_id}", json={"is_active": False})

    response = await save_service_account(
        browser,
        f"edit/{client_id}",
        "accounting",
        "users:admin",
        updated_at=hidden_value(page, "updated_at"),
    )

    assert alert(response) == "The service account has changed in the meantime; load it again."
    assert (await request_client_token(client, client_id, secret)).is_error


async def test_token_of_a_deleted_service_account_is_rejected(
    browser: AsyncClient, client: AsyncClient
) -> None:
    client_id, secret = await create_service_account(browser)
    token = (await request_client_token(client, client_id, secret)).json()["access_token"]

    await browser.delete(f"{SERVICE_ACCOUNTS}/delete?pks={client_id}")

    assert (await client.get(USERS, headers=with_token(token))).status_code == 401
    assert (await request_client_token(client, client_id, secret)).status_code == 401


async def test_changes_of_service_accounts_are_recorded_once(
    browser: AsyncClient, admin: Account, session: AsyncSession
) -> None:
    client_id, _ = await create_service_account(browser)
    page = await browser.get(f"{SERVICE_ACCOUNTS}/edit/{client_id}")
    await save_service_account(
        browser,
        f"edit/{client_id}",
        "accounting",
        "users:admin",
        updated_at=hidden_value(page, "updated_at"),
    )
    await browser.post(f"{SERVICE_ACCOUNTS}/action/rotate-secret?pks={client_id}")
    await browser.delete(f"{SERVICE_ACCOUNTS}/delete?pks={client_id}")

    by_admin = select(AuditEvent).where(AuditEvent.actor_id == admin.id)
    events = (await session.scalars(by_admin.order_by(AuditEvent.id))).all()
    assert [event.action for event in events[1:]] == [
        Action.SERVICE_ACCOUNT_CREATED,
        Action.SERVICE_ACCOUNT_CHANGED,
        Action.SERVICE_ACCOUNT_SECRET_ROTATED,
        Action.SERVICE_ACCOUNT_DELETED,
    ]
    assert {str(event.account_id) for event in events[1:]} == {client_id}


async def test_administrator_demoted_meanwhile_creates_no_service_account(
    demoted_browser: AsyncClient, session: AsyncSession
) -> None:
    response = await save_service_account(demoted_browser, "create", "billing", "users:admin")

    assert alert(response) == "Only administrators may do this."
    assert (await session.scalars(select(ServiceAccount))).all() == []


@pytest.mark.parametrize("path", ["create", "action/rotate-secret?pks={id}", "edit/{id}"])
async def test_service_accounts_are_changed_after_a_recent_login_only(
    stale_browser: AsyncClient, path: str
) -> None:
    response = await stale_browser.get(f"{SERVICE_ACCOUNTS}/{path.format(id=uuid4())}")

    assert (response.status_code, response.headers["Location"]) == (302, "/admin/login?again=1")


# Users


async def test_users_pages_do_not_change_service_accounts(
    browser: AsyncClient, client: AsyncClient
) -> None:
    client_id, secret = await create_service_account(browser)

    deleted = await browser.delete(f"/admin/user/delete?pks={client_id}")
    removed = await browser.post(f"/admin/user/action/remove-factors?pks={client_id}")

    assert deleted.text.endswith("error=User+not+found.")
    assert removed.headers["Location"].endswith("error=User+not+found.")
    assert await list_users(client, client_id, secret) == 200


@pytest.mark.parametrize("page", ["login-session", "audit-event"])
async def test_logins_and_events_have_the_name_of_the_service_account(
    browser: AsyncClient, client: AsyncClient, page: str
) -> None:
    await request_client_token(client, *await create_service_account(browser))

    listed = await browser.get(f"/admin/{page}/list?search=billing")

    assert "<td>billing</td>" in listed.text
