"""The readiness probe, the pool and the version of the schema."""

import pytest
from alembic.script import ScriptDirectory
from httpx2 import AsyncClient
from orders import health
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from support import PROJECT, NewDatabase, new_client

from render.counters import run_app


@pytest.mark.parametrize(
    ("older_revisions", "status", "check"),
    [(frozenset({"other"}), 503, "not migrated"), (frozenset(), 200, "ok")],
)
async def test_older_schema_is_not_ready_and_a_newer_one_is(
    client: AsyncClient,
    session: AsyncSession,
    monkeypatch: pytest.MonkeyPatch,
    older_revisions: frozenset[str],
    status: int,
    check: str,
) -> None:
    monkeypatch.setattr(health, "older_revisions", lambda: older_revisions)
    await session.execute(text("UPDATE alembic_version SET version_num = 'other'"))
    await session.commit()

    response = await client.get("/health/ready")

    assert response.status_code == status
    assert response.json()["checks"]["database"] == check


async def test_newest_migration_is_not_an_older_one() -> None:
    head = ScriptDirectory(PROJECT / "migrations").get_current_head()

    assert head is not None
    assert head not in health.older_revisions()


async def test_database_without_tables_is_not_ready(
    client: AsyncClient, session: AsyncSession
) -> None:
    await session.execute(text("DROP TABLE alembic_version"))
    await session.commit()

    assert (await client.get("/health/ready")).status_code == 503


async def test_busy_service_is_ready(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 5)
    async with (
        new_database() as url,
        run_app(url) as app,
        app.state.services.database.read_connection(),  # the only one of the pool
        new_client(app) as client,
    ):
        response = await client.get("/health/ready")

    assert response.status_code == 200
