"""Audit events."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base, UuidKeyMixin, utcnow

# How the actor was authenticated.
Credential = Literal[
    "cookie",
    "token",
    "personal_token",
    "client_credentials",
    "password",
    "email_link",
    "cli",
    "none",
]


class Action(StrEnum):
    """The actions of audit events. Those of the admin pages for other models are not listed."""

    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGIN_CODE_FAILED = "login.code_failed"
    LOGIN_UNVERIFIED = "login.unverified"
    SESSION_REVOKED = "session.revoked"
    SESSIONS_REVOKED = "sessions.revoked"
    SESSION_REUSE_DETECTED = "session.reuse_detected"
    REAUTHENTICATED = "reauthenticated"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 - not a secret
    PASSWORD_RESET_REQUESTED = "password.reset_requested"  # noqa: S105
    PASSWORD_RESET = "password.reset"  # noqa: S105
    PASSWORD_DISCARDED = "password.discarded"  # noqa: S105
    EMAIL_VERIFICATION_REQUESTED = "email.verification_requested"
    EMAIL_VERIFIED = "email.verified"
    EMAIL_CHANGE_REQUESTED = "email.change_requested"
    EMAIL_CHANGED = "email.changed"
    EMAIL_CHANGE_UNDONE = "email.change_undone"
    INVITATION_SENT = "invitation.sent"
    INVITATION_ACCEPTED = "invitation.accepted"
    USER_REGISTERED = "user.registered"
    REGISTRATION_REFUSED = "registration.refused"
    FACTOR_ADDED = "factor.added"
    FACTOR_REMOVED = "factor.removed"
    RECOVERY_CODE_USED = "recovery_code.used"
    RECOVERY_CODES_REPLACED = "recovery_codes.replaced"
    TOKEN_CREATED = "token.created"  # noqa: S105
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    USER_DELETED = "user.deleted"
    ACCOUNT_DELETED = "account.deleted"
    SERVICE_ACCOUNT_CREATED = "service_account.created"
    SERVICE_ACCOUNT_CHANGED = "service_account.changed"
    SERVICE_ACCOUNT_SECRET_ROTATED = "service_account.secret_rotated"  # noqa: S105 - not a secret
    SERVICE_ACCOUNT_DELETED = "service_account.deleted"


class AuditEvent(UuidKeyMixin, Base):
    """An action on an account. It contains no values, such as email addresses or tokens.

    Events have no foreign keys, because they are kept after the account is deleted.

    Attributes:
        account_id: the account that the action concerns. Null: unknown.
        actor_id: the account that acted. Null: unknown, or no account.
        target: the object of the action, such as `session:<id>` or `fields:role,is_active`.
        address: the address of the client.
    """

    __tablename__ = "audit_events"

    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    action: Mapped[str] = mapped_column(String(40))
    account_id: Mapped[UUID | None]
    actor_id: Mapped[UUID | None]
    credential: Mapped[str] = mapped_column(String(20))
    target: Mapped[str | None] = mapped_column(String(80))
    request_id: Mapped[str | None] = mapped_column(String(128))
    address: Mapped[str | None] = mapped_column(String(45))

    __table_args__ = (
        Index("ix_audit_events_account_id_created_at_id", "account_id", "created_at", "id"),
        Index("ix_audit_events_actor_id_created_at_id", "actor_id", "created_at", "id"),
        Index("ix_audit_events_action_created_at_id", "action", "created_at", "id"),
        Index("ix_audit_events_created_at_id", "created_at", "id"),
    )
