"""The rows that a daily purge deletes."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, or_

from ..audit.models import AuditEvent
from ..database import Base
from ..idempotency.models import IdempotencyKey
from ..settings import Settings
from .models import (
    AccountToken,
    Authenticator,
    ClientAssertion,
    LoginSession,
    PersonalAccessToken,
)

UNCONFIRMED_AUTHENTICATOR = timedelta(days=1)


def expired_rows(settings: Settings, now: datetime) -> list[tuple[Table, ColumnElement[bool]]]:
    """Return the tables with rows that expire, and a condition for the expired rows of each.

    These are ended login sessions, expired tokens, assertions and idempotency keys, authenticators
    that were never confirmed, and audit events older than AUDIT_RETENTION.
    """
    conditions: dict[type[Base], ColumnElement[bool]] = {
        LoginSession: or_(LoginSession.expires_at < now, LoginSession.revoked_at.is_not(None)),
        AccountToken: AccountToken.expires_at < now,
        PersonalAccessToken: PersonalAccessToken.expires_at < now,
        ClientAssertion: ClientAssertion.expires_at < now,
        IdempotencyKey: IdempotencyKey.expires_at < now,
        Authenticator: Authenticator.confirmed_at.is_(None)
        & (Authenticator.created_at < now - UNCONFIRMED_AUTHENTICATOR),
        AuditEvent: AuditEvent.created_at < now - timedelta(seconds=settings.audit_retention),
    }
    # The type of __table__ is FromClause, and delete() needs a Table.
    tables = Base.metadata.tables
    return [(tables[model.__tablename__], expired) for model, expired in conditions.items()]
