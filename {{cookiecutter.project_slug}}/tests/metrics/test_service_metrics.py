"""What is measured of the database, of logins and of the log."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from aiosmtplib import SMTPException
from prometheus_client import REGISTRY
from sqlalchemy import text, update
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import (
    PersonalAccessToken,
    Purpose,
)
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.mail import TEMPLATES, Mail, Mailer
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.state import get_state

from mail_support import MailServer, deliver, token_of
from mfa_support import enroll
from recovery_support import new_token
from support import (
    NEW_PASSWORD,
    NOWHERE,
    PRODUCTION,
    Account,
    NewApp,
    NewDatabase,
    create_personal_token,
    log_in,
    log_in_with,
    new_account,
    new_client,
    refresh,
    settings_for,
)

TOKEN = "/api/v1/auth/token"
Rises = Callable[..., AbstractContextManager[None]]


def pool() -> tuple[float | None, ...]:
    """Connections of the read pool: in use, beyond those kept open, and at most."""
    names, labels = ("checked_out", "overflow", "limit"), {"pool": "read"}
    return tuple(REGISTRY.get_sample_value(f"database_pool_{name}", labels) for name in names)


async def test_pool_shows_how_full_it_is(new_database: NewDatabase, rises: Rises) -> None:
    async with new_database() as url:
        sizes = {"database_pool_size": 1, "database_max_overflow": 1}
        app = create_app(settings_for(url, database_pool_timeout=2, **sizes))
        database = app.state.services.database
        async with app.router.lifespan_context(app):
            with rises("database_pool_wait_seconds_count", 3):
                async with database.read_connection():
                    assert pool() == (1, 0, 2)
                    async with database.read_connection():
                        assert pool() == (2, 1, 2)
                        with pytest.raises(PoolTimeoutError):
                            async with database.read_connection():
                                pass
            assert pool()[0] == 0


@pytest.mark.parametrize(
    ("statement", "kind"),
    [("SELECT 1", "select"), ("DELETE FROM test_notes", "delete"), ("VALUES (1)", "other")],
)
async def test_statements_are_timed_by_kind(
    new_database: NewDatabase, rises: Rises, statement: str, kind: str
) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url))
        write_session = get_state(app).database.write_session
        async with app.router.lifespan_context(app), write_session() as session:
            await session.connection()
            with rises("database_statement_duration_seconds_count", kind=kind):
                await session.execute(text(statement))


async def test_logins_are_counted_by_outcome_whatever_is_logged(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app(log_level="ERROR", login_attempts=1)
    client, account = new_client(app), await new_account(app)

    with rises("auth_logins_total", outcome="success"):
        assert (await log_in(client, account.email)).status_code == 200
    with (
        rises("auth_logins_total", outcome="failure"),
        rises("attempts_refused_total", purpose="account_address"),
    ):
        assert (await log_in(client, account.email, "wrong")).status_code == 400
        assert (await log_in(client, account.email, "wrong")).status_code == 429


async def test_token_requests_are_counted_by_grant_and_outcome(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app()
    client, account = new_client(app), await new_account(app)
    name = "auth_token_requests_total"

    with rises(name, grant="password", outcome="issued"):
        await log_in(client, account.email)
    with rises(name, grant="refresh_token", outcome="issued"):
        await refresh(client, account.refresh_token)
    with rises(name, grant="client_credentials", outcome="rejected"):
        await client.post(TOKEN, data={"grant_type": "client_credentials"})
    with rises(name, grant="password", outcome="rejected"):
        await client.post(TOKEN, data={"grant_type": "password", "scope": "unknown"})
    with rises(name, grant="unsupported", outcome="rejected"):
        await client.post(TOKEN, data={"grant_type": "invented"})


async def test_logins_with_a_second_factor_are_counted_by_outcome(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app(require_verified_email=True)
    client, account = new_client(app), await new_account(app)
    unverified = await new_account(app, email_verified_at=None)
    factor = await enroll(account)

    with rises("auth_logins_total", outcome="unverified"):
        await log_in(client, unverified.email)
    with rises("auth_logins_total", outcome="code_required"):
        await log_in(client, account.email)
    with (
        rises("auth_logins_total", outcome="code_failure"),
        rises("auth_second_factors_total", method="totp", outcome="failure"),
    ):
        await log_in(client, account.email, otp="000000")
    with (
        rises("auth_logins_total", outcome="success"),
        rises("auth_second_factors_total", method="recovery_code", outcome="success"),
    ):
        await log_in(client, account.email, otp=factor.recovery_codes[0])


async def test_personal_access_tokens_are_counted_by_outcome(
    new_app: NewApp, rises: Rises, session: AsyncSession
) -> None:
    app, name = new_app(), "auth_personal_tokens_total"
    account = await new_account(app)
    with rises(name, 2, outcome="created"):
        created, revoked = [await create_personal_token(account) for _ in range(2)]
    with rises(name, outcome="revoked"):
        await account.client.delete(f"/api/v1/auth/tokens/{revoked['id']}")
    with rises(name, outcome="rejected"):
        await new_client(app, revoked["token"]).get("/api/v1/users/me")
    past = utcnow() - timedelta(seconds=1)
    await session.execute(update(PersonalAccessToken).values(expires_at=past))
    await session.commit()
    with rises(name, outcome="expired"):
        await new_client(app, created["token"]).get("/api/v1/users/me")


async def test_undo_links_are_counted_when_an_address_changes(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app()
    account = await new_account(app)
    token = await new_token(app, account, Purpose.EMAIL_CHANGE)

    with rises("auth_recoveries_total", purpose="email_undo", outcome="requested"):
        changed = await account.client.put("/api/v1/users/me/email", json={"token": token})

    assert changed.status_code == 200


async def test_login_whose_commit_fails_is_not_counted(
    new_app: NewApp, rises: Rises, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = new_app()
    account = await new_account(app)

    async def fail(_: AsyncSession) -> None:
        raise ConnectionError

    monkeypatch.setattr(AsyncSession, "commit", fail)
    with rises("auth_logins_total", 0, outcome="success"):
        assert (await log_in(new_client(app), account.email)).status_code == 500


async def test_reuse_of_a_refresh_token_is_counted_once_for_a_login(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app(log_level="ERROR")
    client, account = new_client(app), await new_account(app)
    await refresh(client, account.refresh_token)

    with rises("auth_refresh_reuse_detected_total"):
        for _ in range(2):
            assert (await refresh(client, account.refresh_token)).status_code == 400


async def test_requests_without_the_scope_of_the_route_are_counted(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app()
    account = await new_account(app)

    async with await log_in_with(app, account, "account:read") as client:
        with rises("auth_insufficient_scope_total"):
            assert (await client.delete("/api/v1/auth/sessions")).status_code == 403
{%- if cookiecutter.use_redis %}
        with rises("auth_insufficient_scope_total"):
            assert (await client.get("/api/v1/test-notes")).status_code == 403
{%- endif %}
        with rises("auth_insufficient_scope_total", 0):
            assert (await client.get("/api/v1/auth/sessions")).status_code == 200


async def test_links_for_a_new_password_are_counted_by_outcome(
    new_app: NewApp, mail_server: MailServer, rises: Rises
) -> None:
    app, url = new_app(smtp_url=mail_server.url), "/api/v1/auth/password-reset"
    client, account = new_client(app), await new_account(app)
    labels = {"purpose": "password_reset"}

    with rises("auth_recoveries_total", **labels, outcome="requested"):
        for email in (account.email, "unknown@example.com"):
            await client.post(url, json={"email": email})
        await deliver(app)
    body = {"token": token_of(mail_server.taken[0]), "new_password": NEW_PASSWORD}
    with rises("auth_recoveries_total", **labels, outcome="completed"):
        assert (await client.put(url, json=body)).status_code == 204
    with rises("auth_recoveries_total", **labels, outcome="rejected"):
        assert (await client.put(url, json=body)).status_code == 422


async def test_emails_are_counted_by_template_and_outcome(
    mail_server: MailServer, rises: Rises
) -> None:
    mail, labels = Mail("ada@example.com", "notice", {"notice": "Done"}), {"template": "notice"}
    mailer = Mailer(settings_for(NOWHERE, smtp_url=mail_server.url))
    no_server = Mailer(settings_for(NOWHERE, **PRODUCTION))

    with rises("emails_total", **labels, outcome="sent"):
        await mailer.send(mail, key="key")
    mail_server.rejects_recipients = True
    with rises("emails_total", **labels, outcome="failed"), pytest.raises(SMTPException):
        await mailer.send(mail, key="key")
    with rises("emails_total", **labels, outcome="dropped"):
        await no_server.send(mail, key="key")


def test_every_template_is_counted_from_zero() -> None:
    for template in {path.stem for path in TEMPLATES.glob("*.jinja")}:
        labels = {"template": template, "outcome": "failed"}
        assert REGISTRY.get_sample_value("emails_total", labels) is not None


async def test_passwords_that_wait_are_seen(new_app: NewApp, rises: Rises) -> None:
    hashing = new_app().state.services.auth.hasher.hash
    before = REGISTRY.get_sample_value("password_hashes_in_progress") or 0

    with rises("password_hash_duration_seconds_count", 5):
        tasks = [asyncio.create_task(hashing("analytical-engine", "a")) for _ in range(5)]
        await asyncio.sleep(0)
        assert REGISTRY.get_sample_value("password_hashes_in_progress") == before + 5
        await asyncio.gather(*tasks)

    assert REGISTRY.get_sample_value("password_hashes_in_progress") == before


async def test_requests_with_an_idempotency_key_are_counted_by_outcome(
    member: Account, rises: Rises
) -> None:
    url, headers = "/api/v1/test-notes", {"Idempotency-Key": "a"}

    for title, outcome in [("a", "new"), ("a", "replayed"), ("b", "mismatch")]:
        with rises("idempotent_requests_total", outcome=outcome):
            await member.client.post(url, json={"title": title}, headers=headers)


async def test_warnings_and_errors_in_the_log_are_counted(new_app: NewApp, rises: Rises) -> None:
    new_app()

    with rises("log_lines_total", level="warning"), rises("log_lines_total", level="error"):
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger("library").log(level, "something happened")
