"""The rows that the daily purge deletes."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from {{ cookiecutter.package_name }}.audit.models import AuditEvent
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    Authenticator,
    AuthenticatorKind,
    LoginSession,
    PersonalAccessToken,
    Purpose,
)
from {{ cookiecutter.package_name }}.auth.retention import expired_rows
from {{ cookiecutter.package_name }}.database import (
    Database,
    delete_in_batches,
    session,
    utcnow,
)
from {{ cookiecutter.package_name }}.idempotency.models import IdempotencyKey

from support import NOWHERE, new_user, settings_for

DAY = timedelta(days=1)


async def test_only_expired_rows_are_deleted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BATCH", 1)
    settings, now, user = settings_for(NOWHERE), utcnow(), new_user()
    past, future, old = now - DAY, now + DAY, now - timedelta(seconds=settings.audit_retention)

    async with database.write_session() as changes:
        changes.add(user)
        await changes.flush()
        token = {"user_id": user.id, "purpose": Purpose.PASSWORD_RESET, "email": user.email}
        factor = {"user_id": user.id, "kind": AuthenticatorKind.TOTP, "secret": ""}
        program = {"user_id": user.id, "name": "Export", "scope": "account:read"}
        key = {"user_id": user.id, "operation": "", "fingerprint": ""}
        event = {"action": "login.succeeded", "credential": "password"}
        changes.add_all(
            [
                LoginSession(user_id=user.id, expires_at=past),
                LoginSession(user_id=user.id, expires_at=future, revoked_at=past),
                LoginSession(user_id=user.id, expires_at=future),
                AccountToken(**token, token_hash="a", expires_at=past),
                AccountToken(**token, token_hash="b", expires_at=past),
                AccountToken(**token, token_hash="c", expires_at=future),
                PersonalAccessToken(**program, token_hash="a", expires_at=past),
                PersonalAccessToken(**program, token_hash="b", expires_at=future),
                Authenticator(**factor, created_at=past - DAY),
                Authenticator(**factor, created_at=past - DAY, confirmed_at=past),
                Authenticator(**factor),
                IdempotencyKey(**key, key="a", expires_at=past),
                IdempotencyKey(**key, key="b", expires_at=future),
                AuditEvent(**event, created_at=old - DAY),
                AuditEvent(**event),
            ]
        )
    async with database.write_session() as changes:
        for table, condition in expired_rows(settings, now):
            await delete_in_batches(changes, table, condition)

    kept = {
        LoginSession: 1,
        AccountToken: 1,
        PersonalAccessToken: 1,
        Authenticator: 2,
        IdempotencyKey: 1,
        AuditEvent: 1,
    }
    async with database.read_session() as reads:
        counts = {
            model: await reads.scalar(select(func.count()).select_from(model)) for model in kept
        }
        logins = await reads.scalars(select(LoginSession.expires_at))
    assert counts == kept
    assert logins.all() == [future]
