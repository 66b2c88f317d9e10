"""The schema, from nothing to the newest and back."""

import asyncio
import sys
from collections.abc import Callable
{%- if cookiecutter.database == "sqlite" %}
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
{%- endif %}
from typing import Any

{% if cookiecutter.database == "postgresql" -%}
import asyncpg
{% endif -%}
import pytest
from alembic import command
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession
{%- else %}
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, inspect, select
{%- endif %}

from {{ cookiecutter.package_name }}.database import Base, Database
{%- if cookiecutter.database == "sqlite" %}
from {{ cookiecutter.package_name }}.items.models import Item
from {{ cookiecutter.package_name }}.users.models import User
{%- endif %}

from support import (
    NOWHERE,
    Account,
    NewDatabase,
    alembic_config,
    environment_of,
    migrate,
    new_user,
    settings_for,
)
{%- if cookiecutter.database == "postgresql" %}

EXPLAIN, SORTED = "EXPLAIN", "Sort"
# A thousand for each account, in an order that is quickly indexed.
MANY_ITEMS = """
    INSERT INTO items (id, owner_id, title, version, created_at, updated_at)
    SELECT lpad(row_number() OVER (ORDER BY users.id, n)::text, 32, '0')::uuid, users.id, n, 1,
        now() + n * interval '1 s', now()
    FROM users, generate_series(1, 1000) n
"""
WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE datname = current_database() AND NOT granted
"""
{%- else %}

EXPLAIN, SORTED = "EXPLAIN QUERY PLAN", "TEMP B-TREE"
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
    async with Database(settings_for(url)) as database, database.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_down_and_up_again_is_the_schema_of_the_models(new_database: NewDatabase) -> None:
    async with new_database() as url:
        config = alembic_config(settings_for(url))

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
    async with new_database() as url:
        settings = settings_for(url)
        await run(command.downgrade, alembic_config(settings), "base")

        async def upgrade() -> None:
            arguments = ("-m", "alembic", "upgrade", "head")
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, env=environment_of(settings)
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


async def plans_of(member: Account, database: Database, sort: str) -> list[str]:
    """How the database reads the first two pages of a list of items, one item each."""
    plans: list[str] = []

    def explain(connection: Connection, *arguments: Any) -> None:
        _, statement, parameters, *_ = arguments
        if "FROM items" in statement and not statement.startswith(EXPLAIN):
            plan = connection.exec_driver_sql(f"{EXPLAIN} {statement}", parameters)
            plans.append(str(plan.all()))

    event.listen(database.engine.sync_engine, "before_cursor_execute", explain)
    query = {"sort": sort, "limit": "1"}
    page = (await member.client.get("/api/v1/items", params=query)).json()
    await member.client.get("/api/v1/items", params=query | {"cursor": page["next_cursor"]})
    event.remove(database.engine.sync_engine, "before_cursor_execute", explain)
    return plans


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "title", "-title"])
async def test_index_orders_the_list_of_items(
    member: Account, {% if cookiecutter.database == "postgresql" %}session: AsyncSession, {% endif %}database: Database, sort: str
) -> None:
    for title in ("A", "B"):
        await member.client.post("/api/v1/items", json={"title": title})
{%- if cookiecutter.database == "postgresql" %}
    # The table is too small for the planner to care: it sorts only where no index has the order.
    for plan in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
        await session.execute(text(f"SET LOCAL enable_{plan} = off"))
{%- endif %}

    plans = await plans_of(member, database, sort)

    assert len(plans) == 2
    for plan in plans:
        assert f"ix_items_owner_id_{sort.removeprefix('-')}_id" in plan
        assert SORTED not in plan
{%- if cookiecutter.database == "postgresql" %}


async def test_planner_finds_a_page_among_many_items_by_the_index(
    member: Account, session: AsyncSession, database: Database
) -> None:
    session.add_all(new_user() for _ in range(99))
    await session.flush()
    await session.execute(text(MANY_ITEMS))
    await session.execute(text("ANALYZE items"))

    for sort in ("created_at", "-created_at", "title", "-title"):
        for plan in await plans_of(member, database, sort):
            assert f"ix_items_owner_id_{sort.removeprefix('-')}_id" in plan
            assert SORTED not in plan
{%- endif %}
{%- if cookiecutter.database == "sqlite" %}


def with_migration(url: str, folder: Path, change: str) -> Config:
    """The migrations and a further one, kept in the folder, that makes the change."""
    head = ScriptDirectory("migrations").get_current_head()
    (folder / "next.py").write_text(MIGRATION.format(head=head, change=change))
    config = alembic_config(settings_for(url))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"migrations/versions\n{folder}")
    return config


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (REPLACE_USERS, nullcontext()),
        ('op.execute("DELETE FROM users")', pytest.raises(RuntimeError, match="row of items")),
    ],
)
async def test_migration_keeps_all_rows_that_refer_to_others(
    new_database: NewDatabase,
    tmp_path: Path,
    change: str,
    outcome: AbstractContextManager[object],
) -> None:
    async with new_database() as url, Database(settings_for(url)) as database:
        async with database.session() as session:
            user = new_user(email="ada@example.com")
            session.add(user)
            await session.flush()
            session.add(Item(owner_id=user.id, title="Notes"))

        with outcome:
            await run(command.upgrade, with_migration(url, tmp_path, change), "head")

        async with database.session(readonly=True) as session:
            assert (await session.scalars(select(User.email))).all() == ["ada@example.com"]
            assert (await session.scalars(select(Item.title))).all() == ["Notes"]
{%- endif %}
