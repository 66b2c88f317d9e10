"""PostgreSQL: outages, timeouts and connection strings."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from fastapi import FastAPI
from orders import health
from orders.auth.account_tokens import issue
from orders.auth.models import Purpose, User
from orders.database import Database
from orders.main import create_app
from sqlalchemy import Connection, Executable, Integer, cast, delete, event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from support import (
    PASSWORD,
    PROJECT,
    Account,
    NewApp,
    NewDatabase,
    environment_of,
    migrate,
    new_account,
    new_client,
    new_user,
    registration,
    settings_for,
)

from render.counters import INSERT, Counter, assert_unavailable, request, run_app

asyncpg_url = pytest.importorskip("orders.database.postgresql").asyncpg_url

WAITING_LOCKS = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE datname = current_database() AND NOT granted
"""
WAITING_FOR_ROW = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
""")
# A thousand items for each account, in the order of their keys, which is the fastest to index.
MANY_ITEMS = """
    INSERT INTO items (id, owner_id, title, created_at, updated_at, version)
    SELECT lpad(row_number() OVER (ORDER BY users.id, n)::text, 32, '0')::uuid, users.id, n,
        now() + n * interval '1 s', now(), 1
    FROM users, generate_series(1, 1000) n
"""


@pytest.mark.parametrize("prepared", [True, False])
async def test_read_session_rejects_writes(prepared: bool, new_database: NewDatabase) -> None:
    settings = {"database_pool_size": 1, "database_prepared_statements": prepared}
    async with new_database() as url, Database(settings_for(url, **settings)) as database:
        for _ in range(2):  # also on a connection that was used before
            async with database.write_session() as session:
                await session.execute(delete(Counter))
                await session.execute(INSERT)
            with pytest.raises(DBAPIError, match="read-only transaction"):
                async with database.read_session() as session:
                    await session.execute(delete(Counter))
            with pytest.raises(DBAPIError, match="read-only transaction"):
                async with database.read_connection() as connection:
                    await connection.execute(delete(Counter))

        async with database.read_session() as session:
            assert (await session.scalars(select(Counter.value))).all() == [7]


async def test_cancelled_query_releases_its_connection(
    new_database: NewDatabase,
) -> None:
    settings = {"database_pool_size": 1, "database_max_overflow": 0}
    async with new_database() as url, Database(settings_for(url, **settings)) as database:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), database.read_session() as session:
                    await session.execute(text("SELECT pg_sleep(60)"))

            async with database.read_session() as session:
                assert await session.scalar(text("SELECT 1")) == 1


async def test_only_one_request_fails_on_a_lost_connection(new_database: NewDatabase) -> None:
    async with new_database() as url, run_app(url) as app:
        async with app.state.services.database.write_session() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
        other = await asyncpg.connect(url)
        await other.execute("SELECT pg_terminate_backend($1, 10000)", pid)
        await other.close()

        assert_unavailable(await request(app, INSERT))
        assert (await request(app, INSERT)).status_code == 200


@contextmanager
def stopped(processes: Sequence[int]) -> Iterator[None]:
    """Suspend processes, so that their connections stay open without a response."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


async def test_suspended_server_is_unavailable() -> None:
    from dev import embedded_postgres

    # A separate server, as other tests use theirs.
    url = embedded_postgres(Path(gettempdir()) / f"postgres-{uuid4().hex}", keep=False)
    settings = {"database_statement_timeout": 1, "database_pool_timeout": 4}
    async with run_app(url, **settings) as app:
        async with app.state.services.database.write_session() as session:
            pids = list(await session.scalars(text("SELECT pid FROM pg_stat_activity")))
            postmaster = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"
            pids.append(await session.scalar(text(postmaster)))
        with stopped(pids):
            during = await asyncio.gather(
                request(app, text("SELECT 1"), method="GET"),  # on the open connection
                request(app, text("SELECT 1")),  # on a new one
            )
        after = await request(app, text("SELECT 1"))

    for response in during:
        assert_unavailable(response)
    assert after.status_code == 200


async def test_unreachable_server_is_unavailable_and_its_password_is_not_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://user:{PASSWORD}@127.0.0.1:{closed.getsockname()[1]}/name"
        async with run_app(url) as app:
            response = await request(app, INSERT)

    assert_unavailable(response)
    log = capsys.readouterr().out
    assert "transient database error" in log
    state = app.state.services
    assert PASSWORD not in log + repr(state.settings) + repr(state.database.write_engine)


@pytest.mark.parametrize("prepared", [True, False])
async def test_slow_statement_is_cancelled(prepared: bool, new_database: NewDatabase) -> None:
    settings = {"database_statement_timeout": 0.01, "database_prepared_statements": prepared}
    async with new_database() as url, run_app(url, **settings) as app:
        assert_unavailable(await request(app, text("SELECT pg_sleep(60)")))


@pytest.mark.parametrize(("prepared", "session_timeout"), [(True, "10000"), (False, "0")])
async def test_transaction_leaves_nothing_on_a_shared_connection(
    prepared: bool, session_timeout: str, new_database: NewDatabase
) -> None:
    connection_state = text(
        "SELECT (SELECT count(*) > 0 FROM pg_prepared_statements), setting, reset_val "
        "FROM pg_settings WHERE name = 'statement_timeout'"
    )
    async with (
        new_database() as url,
        Database(settings_for(url, database_prepared_statements=prepared)) as database,
    ):
        async with database.write_session() as session:
            await session.execute(INSERT)

        async with database.read_session() as session:
            assert (await session.execute(connection_state)).one() == (
                prepared,
                "10000",
                session_timeout,
            )


def failing(sqlstate: str) -> Executable:
    """Return a statement that fails with this code."""
    return text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$")


async def test_only_transient_errors_are_unavailable(new_app: NewApp) -> None:
    app = new_app()

    for sqlstate, status in {
        "08006": 503,  # connection failure
        "40001": 503,  # serialization failure
        "40P01": 503,  # deadlock
        "53200": 503,  # out of memory
        "55P03": 503,  # lock timeout
        "57P01": 503,  # shutdown
        "22021": 422,  # text with NUL
        "22P05": 422,  # JSON with NUL
        "22001": 500,  # value too long
    }.items():
        assert (await request(app, failing(sqlstate))).status_code == status, sqlstate
    rejected_by_the_driver = select(cast("x", Integer))
    assert (await request(app, rejected_by_the_driver)).status_code == 500


@pytest.mark.parametrize(
    ("database_url", "driver_url"),
    [
        ("postgres://u:p@h:6432/d", "u:p@h:6432/d"),
        ("postgresql://u:p%40%2F%3A@h/d", "u:p%40%2F%3A@h/d"),
        ("postgresql+psycopg://u@[::1]/d", "u@[::1]/d"),
        ("postgres://u:p@/d?host=/run/pg", "u:p@/d?host=%2Frun%2Fpg"),
        ("postgres://h/d?sslmode=require", "h/d?ssl=require"),
        ("postgres://h/d?sslmode=verify-full&channel_binding=require", "h/d?ssl=verify-full"),
        ("postgres://h/d?gssencmode=disable", "h/d"),
    ],
)
def test_database_urls_of_platforms_are_accepted(database_url: str, driver_url: str) -> None:
    url = asyncpg_url(database_url).render_as_string(hide_password=False)

    assert url == f"postgresql+asyncpg://{driver_url}"


async def test_silent_database_makes_the_service_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_without_response(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.01)
    async with await asyncio.start_server(read_without_response, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with run_app(f"postgresql://127.0.0.1:{port}/name") as app, new_client(app) as client:
            response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "unavailable"


async def test_concurrent_migrations_wait_for_each_other(new_database: NewDatabase) -> None:
    async with new_database(empty=True) as url:
        settings = settings_for(url)

        async def upgrade() -> None:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "alembic", "upgrade", "head"),
                cwd=PROJECT,
                env=environment_of(settings),
            )
            assert await process.wait() == 0

        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(7305871003)"
            )  # migrations/env.py
            upgrades = asyncio.gather(upgrade(), asyncio.to_thread(migrate, settings))
            while not upgrades.done() and await connection.fetchval(WAITING_LOCKS) < 2:
                await asyncio.sleep(0.01)
        await connection.close()

        await upgrades


async def test_registration_during_a_change_of_address_does_not_get_the_former_one(
    live_app: FastAPI,
) -> None:
    database, account = live_app.state.services.database, await new_account(live_app)
    client, body = new_client(live_app), registration(email=account.email)

    async with database.write_session() as session:
        user = await session.get_one(User, account.id)
        user.email = "new@example.com"
        await issue(session, user, Purpose.EMAIL_UNDO, account.email, 60)
        registering = asyncio.create_task(client.post("/api/v1/users", json=body))
        async with database.read_session() as observer:
            while not registering.done() and not await observer.scalar(WAITING_FOR_ROW):
                await asyncio.sleep(0.01)

    assert (await registering).status_code == 202
    async with database.read_session() as session:
        assert (await session.scalars(select(User.email))).all() == ["new@example.com"]


async def test_page_of_many_items_is_read_in_the_order_of_an_index(
    member: Account, session: AsyncSession, database: Database
) -> None:
    session.add_all(new_user() for _ in range(99))
    await session.flush()
    await session.execute(text(MANY_ITEMS))
    await session.execute(text("ANALYZE items"))
    plans = []

    def explain(connection: Connection, *arguments: Any) -> None:
        _, statement, parameters, *_ = arguments
        if "FROM items" in statement and not statement.startswith("EXPLAIN"):
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            plans.append(str(plan.all()))

    event.listen(database.read_engine.sync_engine, "before_cursor_execute", explain)
    for sort in ("created_at", "-created_at", "title", "-title"):
        query = {"sort": sort, "limit": "1"}
        page = (await member.client.get("/api/v1/items", params=query)).json()
        query["cursor"] = page["next_cursor"]
        await member.client.get("/api/v1/items", params=query)

        assert len(plans) == 2
        for plan in plans:
            assert f"ix_items_owner_id_{sort.removeprefix('-')}_id" in plan
            assert "Sort" not in plan
        plans.clear()
    event.remove(database.read_engine.sync_engine, "before_cursor_execute", explain)


async def test_read_only_routes_use_the_replica(new_database: NewDatabase) -> None:
    # The replica is a second database, which the primary's changes never reach.
    async with new_database() as primary, new_database() as replica:
        app = create_app(settings_for(primary, database_read_url=replica))
        async with app.router.lifespan_context(app):
            account = await new_account(app)

            own = await account.client.get("/api/v1/users/me")
            sessions = await account.client.get("/api/v1/auth/sessions")

    assert own.json()["id"] == str(account.id)
    assert sessions.json() == []
