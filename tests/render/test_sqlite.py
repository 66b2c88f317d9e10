"""SQLite: locks, read-only sessions and migrations."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi import FastAPI
from orders.auth.models import User
from orders.database import Database
from orders.items.models import Item
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import OperationalError
from support import (
    PROJECT,
    Account,
    NewDatabase,
    alembic_config,
    environment_of,
    migrate,
    new_user,
    settings_for,
)

from render.counters import (
    INSERT,
    Counter,
    assert_unavailable,
    request,
    run_app,
    stored_values,
)

pytest.importorskip("orders.database.sqlite")


@pytest.fixture
async def app(new_database: NewDatabase) -> AsyncIterator[FastAPI]:
    """Run an application on a separate database."""
    async with new_database() as url, run_app(url) as app:
        yield app


async def test_read_session_rejects_writes(app: FastAPI) -> None:
    database = app.state.services.database
    with pytest.raises(OperationalError, match="readonly database"):
        async with database.read_session() as session:
            await session.execute(INSERT)
    with pytest.raises(OperationalError, match="readonly database"):
        async with database.read_connection() as connection:
            await connection.execute(INSERT)

    assert await stored_values(app) == []


async def test_writers_wait_only_for_writers(new_database: NewDatabase) -> None:
    async with (
        new_database() as url,
        run_app(url, database_busy_timeout=0.05) as app,
        Database(settings_for(url)) as other,
    ):
        async with other.write_session() as writer:
            await writer.execute(INSERT)
            assert_unavailable(await request(app, INSERT))
            assert await stored_values(app) == []

        async with other.read_session() as reader:
            assert (await reader.scalars(select(Counter.value))).all() == [7]
            assert (await request(app, text("DELETE FROM counters"))).status_code == 200


async def test_only_transient_errors_are_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when-missing"
    async with run_app(f"sqlite:///{folder}/app.db") as app:
        folder.rmdir()
        unreachable = await request(app, INSERT)
        folder.mkdir()
        not_migrated = await request(app, INSERT)

    assert_unavailable(unreachable)
    assert not_migrated.status_code == 500
    assert "counters" not in not_migrated.text


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


def add_migration(url: str, folder: Path, change: str) -> Config:
    """Return a configuration with a further migration, stored in the folder."""
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
        ('op.execute("DELETE FROM users")', pytest.raises(RuntimeError, match="row of items")),
    ],
)
async def test_migration_keeps_rows_with_foreign_keys(
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
            session.add(Item(owner_id=user.id, title="Tea"))

        config = add_migration(url, tmp_path, change)
        with outcome:
            await asyncio.to_thread(command.upgrade, config, "head")

        async with database.read_session() as session:
            assert (await session.scalars(select(User.email))).all() == ["ada@example.com"]
            assert (await session.scalars(select(Item.title))).all() == ["Tea"]


async def test_concurrent_migrations_wait_for_each_other(new_database: NewDatabase) -> None:
    async with new_database(empty=True) as url:
        settings = settings_for(url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", "upgrade", "head"),
            cwd=PROJECT,
            env=environment_of(settings),
        )
        await asyncio.to_thread(migrate, settings)

        assert await process.wait() == 0


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "title", "-title"])
async def test_list_is_read_in_the_order_of_an_index(
    app: FastAPI, member: Account, sort: str
) -> None:
    for title in ("A", "B"):
        await member.client.post("/api/v1/items", json={"title": title})
    engine, plans = app.state.services.database.read_engine.sync_engine, []

    def explain(connection: Connection, *arguments: Any) -> None:
        _, statement, parameters, *_ = arguments
        if "FROM items" in statement and not statement.startswith("EXPLAIN"):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append(str(plan.all()))

    event.listen(engine, "before_cursor_execute", explain)
    query = {"sort": sort, "limit": "1"}
    page = (await member.client.get("/api/v1/items", params=query)).json()
    query["cursor"] = page["next_cursor"]
    await member.client.get("/api/v1/items", params=query)
    event.remove(engine, "before_cursor_execute", explain)

    assert len(plans) == 2
    for plan in plans:
        assert f"ix_items_owner_id_{sort.removeprefix('-')}_id" in plan
        assert "TEMP B-TREE" not in plan
