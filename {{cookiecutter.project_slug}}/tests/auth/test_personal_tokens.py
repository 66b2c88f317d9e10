"""Personal access tokens: what they allow, and when they end."""

import json
import re
import tomllib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth import personal_tokens, service
from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    PersonalAccessToken,
    Purpose,
    Role,
    User,
)
from {{ cookiecutter.package_name }}.auth.scopes import (
    ACCOUNT_WRITE,
    effective_scopes,
)
from {{ cookiecutter.package_name }}.auth.tasks import Notice
from {{ cookiecutter.package_name }}.database import Base, Database, utcnow
from {{ cookiecutter.package_name }}.exceptions import PermissionDeniedError
from {{ cookiecutter.package_name }}.state import get_state
from {{ cookiecutter.package_name }}.token_format import (
    is_token,
    new_token,
    redact_tokens,
)

import recovery_support
from mail_support import MailServer, deliver
from recovery_support import reset_password, verify_email
from support import (
    PROJECT,
    Account,
    NewApp,
    Statements,
    change_password,
    create_personal_token,
    delete_account,
    new_account,
    new_client,
    personal_token,
    pointers,
    set_role,
)

ME, USERS, TOKENS = "/api/v1/users/me", "/api/v1/users", "/api/v1/auth/tokens"
REVOCATION = "/api/v1/auth/revoke"


async def use(app: FastAPI, token: str, path: str = ME) -> int:
    """Return the status of a request with the token."""
    async with new_client(app, token) as program:
        return (await program.get(path)).status_code


async def test_token_acts_for_its_owner_within_its_scopes(app: FastAPI, member: Account) -> None:
    created = await create_personal_token(member, "account:read")
    program = new_client(app, created["token"])

    read, change = await program.get(ME), await program.patch(ME, json={"full_name": "Ada"})

    assert (read.status_code, read.json()["id"]) == (200, str(member.id))
    assert change.status_code == 403
    assert change.json()["type"] == "/problems/insufficient-scope"
    assert 'scope="account:write"' in change.headers["WWW-Authenticate"]


async def test_token_is_shown_once(member: Account) -> None:
    response = await member.client.post(TOKENS, json=personal_token(scopes=["account:read"] * 2))

    created = response.json()
    assert (response.status_code, response.headers["Cache-Control"]) == (201, "no-store")
    token = created.pop("token")
    assert (await member.client.get(TOKENS)).json() == [created]
    assert (created["name"], created["scopes"]) == ("Export", ["account:read"])
    assert created["last_used_at"] is None
    assert token not in (await member.client.get(TOKENS)).text


async def test_owner_is_notified_of_a_new_token(new_app: NewApp, mail_server: MailServer) -> None:
    app = new_app(smtp_url=mail_server.url)
    account = await new_account(app)

    created = await create_personal_token(account)
    await deliver(app)

    [mail] = mail_server.taken
    assert (mail["To"], mail["Subject"]) == (account.email, Notice.TOKEN_CREATED)
    assert created["token"] not in mail.as_string()


async def test_address_that_is_not_verified_gets_no_notice(
    new_app: NewApp, mail_server: MailServer
) -> None:
    app = new_app(smtp_url=mail_server.url)

    await create_personal_token(await new_account(app, email_verified_at=None))
    await deliver(app)

    assert mail_server.taken == []


async def test_only_the_hash_is_stored(member: Account, session: AsyncSession) -> None:
    created = await create_personal_token(member)

    tables = Base.metadata.sorted_tables
    rows = repr([(await session.execute(select(table))).all() for table in tables])
    assert created["id"] in rows
    secret = created["token"].rpartition("_")[2]
    assert created["token"] not in rows
    assert secret[:64] not in rows


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"expires_at": (utcnow() - timedelta(minutes=1)).isoformat()}, "/body/expires_at"),
        ({"expires_at": (utcnow() + timedelta(days=367)).isoformat()}, "/body/expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "/body/expires_at"),
        ({"expires_at": None}, "/body/expires_at"),
        ({"scopes": []}, "/body/scopes"),
        ({"scopes": ["account:read", "unknown"]}, "/body/scopes"),
        ({"scopes": ["account:read account:read"]}, "/body/scopes/0"),
        ({"scopes": [ACCOUNT_WRITE]}, "/body/scopes"),
        ({"scopes": ["users:admin"]}, "/body/scopes"),  # of administrators
        ({"name": " "}, "/body/name"),
        ({"name": "a" * 101}, "/body/name"),
    ],
)
async def test_invalid_request_has_pointers(
    member: Account, changes: dict[str, object], pointer: str
) -> None:
    response = await member.client.post(TOKENS, json=personal_token(**changes))

    assert response.status_code == 422
    assert pointers(response) == [pointer]
    assert (await member.client.get(TOKENS)).json() == []


async def test_time_of_expiry_is_required(member: Account) -> None:
    without = personal_token()
    del without["expires_at"]

    response = await member.client.post(TOKENS, json=without)

    assert pointers(response) == ["/body/expires_at"]


async def test_token_has_at_most_the_scopes_of_the_session_that_creates_it(
    member: Account, session: AsyncSession
) -> None:
    narrow = update(LoginSession).where(LoginSession.user_id == member.id)
    await session.execute(narrow.values(scope=f"{ACCOUNT_WRITE} audit:read"))
    await session.commit()

    response = await member.client.post(TOKENS, json=personal_token(scopes=["account:read"]))

    assert response.status_code == 422
    assert pointers(response) == ["/body/scopes"]


async def test_account_has_a_limited_number_of_tokens(
    member: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_tokens, "MAX_TOKENS", 2)
    created = [await create_personal_token(member) for _ in range(2)]

    refused = await member.client.post(TOKENS, json=personal_token())
    await member.client.delete(f"{TOKENS}/{created[0]['id']}")

    assert refused.status_code == 409
    await create_personal_token(member)


async def test_expired_token_is_rejected_and_not_listed(
    app: FastAPI, member: Account, session: AsyncSession
) -> None:
    created = await create_personal_token(member)
    past = utcnow() - timedelta(seconds=1)
    await session.execute(update(PersonalAccessToken).values(expires_at=past))
    await session.commit()

    response = await new_client(app, created["token"]).get(ME)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert (await member.client.get(TOKENS)).json() == []


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda token: token, 1),
        (lambda token: token[:-1] + ("1" if token[-1] == "0" else "0"), 0),  # wrong checksum
        (lambda token: token[:-8], 0),
        (lambda token: f"{token}0", 0),
        (lambda token: f"{token} {token}", 0),
        (lambda token: f"{token}\u00e9", 0),
        (lambda token: token.rpartition("_")[0] + "_", 0),
    ],
)
async def test_malformed_token_is_rejected_without_a_statement(
    app: FastAPI, statements: Statements, change: Callable[[str], str], count: int
) -> None:
    authorization = {b"Authorization": f"Bearer {change(new_token())}".encode("latin-1")}
    with statements() as executed:
        response = await new_client(app).get(ME, headers=authorization)

    assert response.status_code == 401
    assert response.json()["detail"] == "The access token is not valid."
    assert len(executed) == count, executed


async def test_request_takes_one_statement_and_its_time_is_stored_once_a_minute(
    app: FastAPI, member: Account, session: AsyncSession, statements: Statements
) -> None:
    created = await create_personal_token(member)
    counts, times = [], []
    for age in (None, 0, 59, 61):  # seconds since the last use
        last_used_at = age and utcnow() - timedelta(seconds=age)
        if age:
            await session.execute(update(PersonalAccessToken).values(last_used_at=last_used_at))
            await session.commit()
        with statements() as executed:
            assert await use(app, created["token"]) == 200
        counts.append(len(executed))
        [listed] = (await member.client.get(TOKENS)).json()
        times.append(listed["last_used_at"])

    assert counts == [2, 1, 1, 2]
    assert times[0] == times[1] > times[2]
    assert times[3] > times[0]


async def test_time_of_use_stays_when_the_request_fails(
    app: FastAPI, admin: Account, session: AsyncSession
) -> None:
    created = await create_personal_token(admin, "users:admin")

    assert await use(app, created["token"], f"{USERS}/{uuid4()}") == 404

    assert await session.scalar(select(PersonalAccessToken.last_used_at)) is not None


async def test_request_succeeds_when_the_time_of_use_cannot_be_stored(
    app: FastAPI, member: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await create_personal_token(member)

    async def fail(*_: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("read-only"))

    monkeypatch.setattr(service, "record_use", fail)

    assert await use(app, created["token"]) == 200


async def test_token_cannot_change_its_account_or_do_what_needs_a_recent_login(
    app: FastAPI, admin: Account
) -> None:
    scopes = effective_scopes(Role.ADMIN) - {ACCOUNT_WRITE}
    program = new_client(app, (await create_personal_token(admin, *scopes))["token"])
    refused = []
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            needed = [scheme.get("OAuth2") for scheme in operation.get("security", [])]
            is_sensitive = "reauthentication" in operation["responses"].get("401", {}).get(
                "description", ""
            )
            if [ACCOUNT_WRITE] in needed or is_sensitive:
                url = re.sub(r"{\w+}", str(uuid4()), path)
                response = await program.request(method, url)
                assert response.status_code == 403, f"{method} {path}"
                refused.append((method, path))

    assert {
        ("post", TOKENS),
        ("delete", TOKENS + "/{token_id}"),
        ("put", f"{ME}/password"),
        ("post", f"{ME}/email"),
        ("put", f"{ME}/email"),
        ("delete", ME),
        ("post", "/api/v1/auth/factors/totp"),
        ("post", "/api/v1/auth/reauthentication"),
        ("delete", "/api/v1/auth/sessions"),
        ("patch", USERS + "/{user_id}"),
    } <= set(refused)


async def test_token_is_no_proof_of_the_ownership_of_an_account(
    app: FastAPI, member: Account, session: AsyncSession
) -> None:
    created = await create_personal_token(member)
    await session.execute(update(User).values(email_verified_at=None))
    await session.commit()
    link = await recovery_support.new_token(app, member, Purpose.EMAIL_VERIFICATION)

    response = await verify_email(new_client(app, created["token"]), link)

    assert response.status_code == 401
    assert response.json()["type"] == "/problems/proof-required"


async def test_scopes_follow_the_role_of_the_owner(
    app: FastAPI, admin: Account, session: AsyncSession
) -> None:
    created = await create_personal_token(admin, "users:admin", "account:read")
    statuses = []
    for role in (Role.ADMIN, Role.USER, Role.ADMIN):
        await set_role(session, admin, role)
        statuses.append([await use(app, created["token"], path) for path in (USERS, ME)])

    assert statuses == [[200, 200], [403, 200], [200, 200]]


async def test_owner_revokes_a_token(app: FastAPI, member: Account, admin: Account) -> None:
    revoked, kept = [await create_personal_token(member) for _ in range(2)]
    path = f"{TOKENS}/{revoked['id']}"

    by_another = await admin.client.delete(path)
    statuses = [(await member.client.delete(path)).status_code for _ in range(2)]

    assert by_another.status_code == 404
    assert statuses == [204, 404]
    assert await use(app, revoked["token"]) == 401
    assert await use(app, kept["token"]) == 200


async def test_administrators_list_and_revoke_tokens_of_others(
    app: FastAPI, admin: Account, member: Account
) -> None:
    created = await create_personal_token(member)
    path = f"{USERS}/{member.id}/tokens"

    listed = await admin.client.get(path)
    refused = [await member.client.get(path), await member.client.delete(f"{path}/{uuid4()}")]
    other_owner = await admin.client.delete(f"{USERS}/{admin.id}/tokens/{created['id']}")
    statuses = [
        (await admin.client.delete(f"{path}/{created['id']}")).status_code for _ in range(2)
    ]

    assert [token["id"] for token in listed.json()] == [created["id"]]
    assert "token" not in listed.json()[0]
    assert [response.status_code for response in refused] == [403, 403]
    assert other_owner.status_code == 404
    assert statuses == [204, 404]
    assert await use(app, created["token"]) == 401
    assert (await admin.client.get(f"{USERS}/{uuid4()}/tokens")).status_code == 404


async def test_client_that_found_a_token_revokes_it(
    app: FastAPI, client: AsyncClient, member: Account
) -> None:
    created = await create_personal_token(member)

    responses = [
        await client.post(REVOCATION, data={"token": token})
        for token in (new_token(), created["token"], created["token"])
    ]

    assert [response.status_code for response in responses] == [200] * 3
    assert await use(app, created["token"]) == 401
    assert (await member.client.get(ME)).status_code == 200


class AccountChanges:
    """Changes of an account by its member and by an administrator."""

    def __init__(self, app: FastAPI, member: Account, admin: Account) -> None:
        self.app, self.member, self.admin = app, member, admin
        self.client = new_client(app)

    async def deactivate(self) -> None:
        """Deactivate the account, and activate it again."""
        for is_active in (False, True):
            path = f"{USERS}/{self.member.id}"
            response = await self.admin.client.patch(path, json={"is_active": is_active})
            assert response.status_code == 200

    async def reset_password(self) -> None:
        """Set a new password by the link of an email."""
        link = await recovery_support.new_token(self.app, self.member, Purpose.PASSWORD_RESET)
        assert (await reset_password(self.client, link)).status_code == 204

    async def undo_email_change(self) -> None:
        """Undo a change by the link of an email to the former address."""
        link = await recovery_support.new_token(self.app, self.member, Purpose.EMAIL_UNDO)
        response = await self.client.put(f"{USERS}/email-undo", json={"token": link})
        assert response.status_code == 204

    async def discard_password(self) -> None:
        """Verify the address of an account that another person registered."""
        link = await recovery_support.new_token(self.app, self.member, Purpose.EMAIL_VERIFICATION)
        response = await verify_email(self.client, link, discard_password=True)
        assert response.status_code == 200

    async def delete_account(self) -> None:
        """Delete the account."""
        assert (await delete_account(self.member.client)).status_code == 204

    async def change_password(self) -> None:
        """Change the password, which is not lost."""
        assert (await change_password(self.member.client)).status_code == 204

    async def log_out_everywhere(self) -> None:
        """Revoke all sessions."""
        response = await self.member.client.delete("/api/v1/auth/sessions")
        assert response.status_code == 204


@pytest.mark.parametrize(
    ("event", "is_valid"),
    [
        (AccountChanges.deactivate, False),
        (AccountChanges.reset_password, False),
        (AccountChanges.undo_email_change, False),
        (AccountChanges.discard_password, False),
        (AccountChanges.delete_account, False),
        (AccountChanges.change_password, True),
        (AccountChanges.log_out_everywhere, True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_tokens_end_with_the_recovery_of_the_account_but_not_with_logins(
    app: FastAPI,
    member: Account,
    admin: Account,
    event: Callable[[AccountChanges], Awaitable[None]],
    is_valid: bool,
) -> None:
    token, other = await create_personal_token(member), await create_personal_token(admin)

    await event(AccountChanges(app, member, admin))

    assert await use(app, token["token"]) == (200 if is_valid else 401)
    assert await use(app, other["token"]) == 200


async def test_token_is_not_created_by_a_session_that_was_revoked_meanwhile(
    app: FastAPI, database: Database, member: Account
) -> None:
    access_token = member.client.headers["Authorization"].removeprefix("Bearer ")
    claims = get_state(app).auth.tokens.verify(access_token)
    principal = await service.get_principal_by_token(database, claims, None)
    assert principal is not None
    await member.client.delete("/api/v1/auth/sessions")

    async with database.write_session() as session:
        with pytest.raises(PermissionDeniedError):
            await personal_tokens.create_token(
                session, principal, "Export", ["account:read"], utcnow() + timedelta(days=1)
            )


async def test_secret_scanner_and_log_recognize_tokens(member: Account) -> None:
    token = (await create_personal_token(member))["token"]
    config = tomllib.loads((PROJECT / ".gitleaks.toml").read_text(encoding="utf-8"))
    [rule] = config["rules"]

    assert is_token(token)
    for text in (token, f"TOKEN={token}", json.dumps({"token": token})):
        [found] = re.findall(rule["regex"], text)
        assert found == token
        assert any(keyword in text for keyword in rule["keywords"])
        assert token not in redact_tokens(text)
