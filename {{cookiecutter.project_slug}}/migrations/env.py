"""Runs migrations on the database of the settings."""

import asyncio
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, {% if cookiecutter.database == "postgresql" %}text{% else %}event{% endif %}

from {{ cookiecutter.package_name }}.auth import models as auth_models
from {{ cookiecutter.package_name }}.database import Base, {{ cookiecutter.database }}
from {{ cookiecutter.package_name }}.database.models import UtcDateTime
from {{ cookiecutter.package_name }}.items import models as items_models
from {{ cookiecutter.package_name }}.settings import Settings, load_settings
{%- if cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.worker import models as worker_models
{%- endif %}

# Importing the models registers their tables; a new domain is added here.
MODELS = (auth_models, items_models{% if cookiecutter.use_worker %}, worker_models{% endif %})
{%- if cookiecutter.database == "postgresql" %}
LOCK = 7_305_871_003  # any number, the same for all who migrate this database
{%- endif %}


def render_item(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Write plain types into migrations, which must not change when the code does."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: Connection | None) -> None:
    """Run the migrations, or print their SQL when there is no connection."""
    context.configure(
        connection=connection,
{%- if cookiecutter.database == "postgresql" %}
        dialect_name=None if connection else "postgresql",
{%- else %}
        dialect_name=None if connection else "sqlite",
        render_as_batch=True,
        transactional_ddl=True,
{%- endif %}
        target_metadata=Base.metadata,
        render_item=render_item,
        literal_binds=connection is None,
    )
    with context.begin_transaction():
{%- if cookiecutter.database == "postgresql" %}
        if connection is not None:
            # Replicas that start together migrate one after the other, however long that takes.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            # Requests queue behind a change that waits for their table. It fails sooner than they
            # do, and can be repeated.
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
{%- endif %}
        context.run_migrations()
{%- if cookiecutter.database == "sqlite" %}
        if connection is not None:
            check_foreign_keys(connection)
{%- endif %}


{% if cookiecutter.database == "sqlite" -%}
def ignore_foreign_keys(connection: Any, _: object) -> None:
    """Do not enforce them; they are checked in the end."""
    connection.execute("PRAGMA foreign_keys = OFF")


def check_foreign_keys(connection: Connection) -> None:
    """Refuse the result of migrations that would leave rows without what they refer to."""
    row = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if row is not None:
        raise RuntimeError(f"a row of {row[0]} refers to a row of {row[2]} that is missing")


{% endif -%}
async def migrate_online(settings: Settings) -> None:
    """Connect and migrate."""
    engine = {{ cookiecutter.database }}.create_write_engine(settings{% if cookiecutter.database == "postgresql" %}, for_migrations=True{% endif %})
{%- if cookiecutter.database == "sqlite" %}
    # A batch replaces the table: with foreign keys, all rows that refer to the old one would go.
    event.listen(engine.sync_engine, "connect", ignore_foreign_keys)
{%- endif %}
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.is_offline_mode():
    migrate(None)
else:
    asyncio.run(migrate_online(context.config.attributes.get("settings") or load_settings()))
