"""Probes."""

{% if cookiecutter.database == "postgresql" -%}
import asyncio
import socket
{% else -%}
from pathlib import Path
{% endif %}
import pytest
from alembic.script import ScriptDirectory
from httpx2 import AsyncClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

{% if cookiecutter.database == "postgresql" -%}
from {{ cookiecutter.package_name }} import health
{% endif -%}
from {{ cookiecutter.package_name }}.database import migrations
from {{ cookiecutter.package_name }}.main import create_app

from support import PROJECT, new_client, settings_for


async def assert_gets_no_traffic(database_url: str) -> None:
    """The service says that it is not ready, and that it is alive: a restart would not help."""
    app = create_app(settings_for(database_url))
    async with app.router.lifespan_context(app), new_client(app) as client:
        response = await client.get("/health/ready")

        assert response.status_code == 503
        ready = response.json()
        assert ready["status"] == ready["checks"]["database"] == "unavailable"
        assert (await client.get("/health/live")).status_code == 200


async def test_process_is_alive(client: AsyncClient) -> None:
    response = await client.get("/health/live")

    assert response.json() == {"status": "ok"}


async def test_migrated_database_is_ready(client: AsyncClient) -> None:
    response = await client.get("/health/ready")

    assert response.status_code == 200
    ready = response.json()
    assert {ready["status"], *ready["checks"].values()} == {"ok"}


@pytest.mark.parametrize(
    ("older", "status", "check"),
    [(frozenset({"other"}), 503, "not migrated"), (frozenset(), 200, "ok")],
)
async def test_older_schema_gets_no_traffic_and_a_newer_one_does(
    client: AsyncClient,
    session: AsyncSession,
    monkeypatch: pytest.MonkeyPatch,
    older: frozenset[str],
    status: int,
    check: str,
) -> None:
    monkeypatch.setattr(migrations, "older_revisions", lambda: older)
    await session.execute(text("UPDATE alembic_version SET version_num = 'other'"))
    await session.commit()

    response = await client.get("/health/ready")

    assert response.status_code == status
    assert response.json()["checks"]["database"] == check


async def test_newest_migration_is_not_an_older_one() -> None:
    head = ScriptDirectory(PROJECT / "migrations").get_current_head()

    assert head is not None
    assert head not in migrations.older_revisions()


async def test_database_without_tables_gets_no_traffic(
    client: AsyncClient, session: AsyncSession
) -> None:
    await session.execute(text("DROP TABLE alembic_version"))
    await session.commit()

    assert (await client.get("/health/ready")).status_code == 503

{% if cookiecutter.database == "postgresql" %}
async def test_database_that_refuses_gets_no_traffic() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        await assert_gets_no_traffic(f"postgresql://u:p@127.0.0.1:{closed.getsockname()[1]}/db")


async def test_database_that_is_silent_gets_no_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.01)
    async with await asyncio.start_server(be_silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await assert_gets_no_traffic(f"postgresql://u:p@127.0.0.1:{port}/db")
{%- else %}
async def test_database_that_cannot_be_opened_gets_no_traffic(tmp_path: Path) -> None:
    await assert_gets_no_traffic(f"sqlite:///{tmp_path}")
{%- endif %}
