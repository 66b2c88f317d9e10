"""Run migrations on the database of the settings."""

import asyncio
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy import Connection, TypeDecorator, text
{%- else %}
from sqlalchemy import Connection, TypeDecorator, event
{%- endif %}

from {{ cookiecutter.package_name }} import api
from {{ cookiecutter.package_name }}.database import Base, {{ cookiecutter.database }}
from {{ cookiecutter.package_name }}.idempotency.models import IdempotencyKey
from {{ cookiecutter.package_name }}.settings import Settings, load_settings

# Importing the routers registers the tables of their models. Import all other models here.
MODELS = (api.ROUTERS, IdempotencyKey)
{%- if cookiecutter.database == "postgresql" %}
LOCK = 7_305_871_003  # an arbitrary key; every process that migrates this database uses it
{%- endif %}


def render_item(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Render plain types, so that a change of the code does not change old migrations."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


{% if cookiecutter.use_worker -%}
def include_name(name: str | None, kind: str, _: object) -> bool:
    """Leave out the tables of PgQueuer, which its own SQL creates."""
    return kind != "table" or name is None or not name.startswith("pgqueuer")


{% endif -%}
def migrate(connection: Connection | None) -> None:
    """Run the migrations, or print their SQL if there is no connection."""
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
{%- if cookiecutter.use_worker %}
        include_name=include_name,
{%- endif %}
        render_item=render_item,
        literal_binds=connection is None,
    )
    with context.begin_transaction():
{%- if cookiecutter.database == "postgresql" %}
        if connection is not None:
            # Replicas that start at the same time migrate one after the other.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            # Requests queue behind a migration that waits for a table lock. Let the migration fail
            # before the requests do; it can be run again.
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
{%- endif %}
        context.run_migrations()
{%- if cookiecutter.database == "sqlite" %}
        if connection is not None:
            check_foreign_keys(connection)
{%- endif %}


{% if cookiecutter.database == "sqlite" -%}
def ignore_foreign_keys(connection: Any, _: object) -> None:
    """Disable foreign keys on a new connection; migrate checks them at the end."""
    connection.execute("PRAGMA foreign_keys = OFF")


def check_foreign_keys(connection: Connection) -> None:
    """Raise an error if the migrations leave a foreign key without its row."""
    row = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if row is not None:
        raise RuntimeError(f"a row of {row[0]} refers to a missing row of {row[2]}")


{% endif -%}
async def migrate_online(settings: Settings) -> None:
    """Connect and migrate."""
{%- if cookiecutter.database == "postgresql" %}
    engine = postgresql.create_write_engine(settings, for_migrations=True)
{%- else %}
    engine = sqlite.create_write_engine(settings)
    # A batch operation replaces the table; with foreign keys, that would delete referring rows.
    event.listen(engine.sync_engine, "connect", ignore_foreign_keys)
{%- endif %}
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.is_offline_mode():
    migrate(None)
else:
    asyncio.run(migrate_online(context.config.attributes.get("settings") or load_settings()))
