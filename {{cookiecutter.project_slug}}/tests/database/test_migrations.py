"""The schema, from nothing to the newest and back."""

import asyncio
import sys
from collections.abc import Callable
{%- if cookiecutter.database == "sqlite" %}
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
{%- endif %}

{% if cookiecutter.database == "postgresql" -%}
import asyncpg
{% endif -%}
import pytest
from alembic import command
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy import inspect
{%- else %}
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select
{%- endif %}

{% if cookiecutter.database == "sqlite" -%}
from {{ cookiecutter.package_name }}.auth.models import User
{% endif -%}
from {{ cookiecutter.package_name }}.database import Base, Database

{% if cookiecutter.database == "sqlite" -%}
from notes import Note
from support import (
    NOWHERE,
    PROJECT,
    NewDatabase,
    alembic_config,
    environment_of,
    migrate,
    new_user,
    settings_for,
)
{%- else -%}
from support import (
    NOWHERE,
    PROJECT,
    NewDatabase,
    alembic_config,
    environment_of,
    migrate,
    settings_for,
)
{%- endif %}
{%- if cookiecutter.database == "postgresql" %}

WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE datname = current_database() AND NOT granted
"""
{%- else %}

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "next", "{head}"


def upgrade():
    {change}
"""
REPLACE_USERS = """
    with op.batch_alter_table("users", recreate="always") as users:
        users.alter_column("password_hash", type_=sa.String(100))
"""
{%- endif %}


async def run(function: Callable[..., None], *arguments: object) -> None:
    """Run a command of Alembic, which has an event loop of its own."""
    await asyncio.to_thread(function, *arguments)


async def tables_of(url: str) -> set[str]:
    """The names of the tables of a database."""
    async with (
        Database(settings_for(url)) as database,
        database.read_engine.connect() as connection,
    ):
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_down_and_up_again_is_the_schema_of_the_models(new_database: NewDatabase) -> None:
    async with new_database(empty=True) as url:
        config = alembic_config(settings_for(url))

        await run(command.upgrade, config, "head")
        await run(command.downgrade, config, "base")
        assert await tables_of(url) == {"alembic_version"}
        await run(command.upgrade, config, "head")

        assert await tables_of(url) == {"alembic_version", *Base.metadata.tables}
        await run(command.check, config)  # raises on a difference


async def test_migrations_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    config = alembic_config(settings_for(NOWHERE))

    await run(command.upgrade, config, "head", True)

    printed = capsys.readouterr().out
    for table in Base.metadata.tables:
        assert f"CREATE TABLE {table} " in printed


async def test_replicas_may_migrate_at_the_same_time(new_database: NewDatabase) -> None:
    async with new_database(empty=True) as url:
        settings = settings_for(url)

        async def upgrade() -> None:
            arguments = ("-m", "alembic", "upgrade", "head")
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=PROJECT, env=environment_of(settings)
            )
            assert await process.wait() == 0

{% if cookiecutter.database == "postgresql" %}        operator = await asyncpg.connect(url)
        async with operator.transaction():
            await operator.execute("SELECT pg_advisory_xact_lock(7305871003)")  # migrations/env.py
            upgrades = asyncio.gather(upgrade(), run(migrate, settings))
            # None gets ahead of the other.
            while not upgrades.done() and await operator.fetchval(WAITING) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await operator.close()

        await upgrades
{%- else %}        await asyncio.gather(upgrade(), run(migrate, settings))
{%- endif %}
        assert await tables_of(url) == {"alembic_version", *Base.metadata.tables}
{%- if cookiecutter.database == "sqlite" %}


def with_migration(url: str, folder: Path, change: str) -> Config:
    """The migrations and a further one, kept in the folder, that makes the change."""
    head = ScriptDirectory(PROJECT / "migrations").get_current_head()
    (folder / "next.py").write_text(MIGRATION.format(head=head, change=change))
    config = alembic_config(settings_for(url))
    config.set_main_option("path_separator", "newline")
    folders = f"{PROJECT}/migrations/versions\n{folder}".replace("%", "%%")  # as in an ini file
    config.set_main_option("version_locations", folders)
    return config


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (REPLACE_USERS, nullcontext()),
        ('op.execute("DELETE FROM users")', pytest.raises(RuntimeError, match="row of notes")),
    ],
)
async def test_migration_keeps_all_rows_that_refer_to_others(
    new_database: NewDatabase,
    tmp_path: Path,
    change: str,
    outcome: AbstractContextManager[object],
) -> None:
    async with new_database() as url, Database(settings_for(url)) as database:
        async with database.write_session() as session:
            user = new_user(email="ada@example.com")
            session.add(user)
            await session.flush()
            session.add(Note(owner_id=user.id, title="Tea"))

        with outcome:
            await run(command.upgrade, with_migration(url, tmp_path, change), "head")

        async with database.read_session() as session:
            assert (await session.scalars(select(User.email))).all() == ["ada@example.com"]
            assert (await session.scalars(select(Note.title))).all() == ["Tea"]
{%- endif %}
