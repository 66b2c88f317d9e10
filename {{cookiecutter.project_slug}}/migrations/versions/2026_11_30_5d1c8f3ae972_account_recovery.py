"""Tokens sent by email, second factors, and audit events.

Revision: 5d1c8f3ae972
Revises: {{ "b7d20e5f4c18" if cookiecutter.use_worker else "ce0a23dcbf68" }}
"""

import sqlalchemy as sa
from alembic import op

revision = "5d1c8f3ae972"
down_revision = "{{ "b7d20e5f4c18" if cookiecutter.use_worker else "ce0a23dcbf68" }}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "users", sa.Column("email_verified_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "users",
        sa.Column("mfa_enabled", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column(
        "login_sessions", sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("login_sessions", sa.Column("amr", sa.String(length=40), nullable=True))
    op.create_table(
        "account_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum(
                "password_reset",
                "email_verification",
                "invitation",
                "email_change",
                "email_undo",
                name="purpose",
                native_enum=False,
                length=20,
            ),
            nullable=False,
        ),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_account_tokens_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_account_tokens_token_hash")),
    )
    op.create_index(op.f("ix_account_tokens_email"), "account_tokens", ["email"], unique=False)
    op.create_index(op.f("ix_account_tokens_user_id"), "account_tokens", ["user_id"], unique=False)
    op.create_table(
        "authenticators",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("totp", name="authenticatorkind", native_enum=False, length=20),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("secret", sa.String(length=255), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_authenticators_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authenticators")),
    )
    op.create_index(op.f("ix_authenticators_user_id"), "authenticators", ["user_id"], unique=False)
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_recovery_codes_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_recovery_codes_code_hash")),
    )
    op.create_index(op.f("ix_recovery_codes_user_id"), "recovery_codes", ["user_id"], unique=False)
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("credential", sa.String(length=20), nullable=False),
        sa.Column("target", sa.String(length=80), nullable=True),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index(
        "ix_audit_events_account_id_created_at_id",
        "audit_events",
        ["account_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_audit_events_actor_id_created_at_id",
        "audit_events",
        ["actor_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_audit_events_action_created_at_id",
        "audit_events",
        ["action", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_audit_events_created_at_id", "audit_events", ["created_at", "id"], unique=False
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_index("ix_audit_events_created_at_id", table_name="audit_events")
    op.drop_index("ix_audit_events_action_created_at_id", table_name="audit_events")
    op.drop_index("ix_audit_events_actor_id_created_at_id", table_name="audit_events")
    op.drop_index("ix_audit_events_account_id_created_at_id", table_name="audit_events")
    op.drop_table("audit_events")
    op.drop_index(op.f("ix_recovery_codes_user_id"), table_name="recovery_codes")
    op.drop_table("recovery_codes")
    op.drop_index(op.f("ix_authenticators_user_id"), table_name="authenticators")
    op.drop_table("authenticators")
    op.drop_index(op.f("ix_account_tokens_user_id"), table_name="account_tokens")
    op.drop_index(op.f("ix_account_tokens_email"), table_name="account_tokens")
    op.drop_table("account_tokens")
    op.drop_column("login_sessions", "amr")
    op.drop_column("login_sessions", "authenticated_at")
    op.drop_column("users", "mfa_enabled")
    op.drop_column("users", "email_verified_at")
