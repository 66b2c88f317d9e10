"""Migrations, and the sessions of requests."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from alembic import command
from fastapi import FastAPI
from sqlalchemy import delete, func, insert, select, text

from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.database import Base
from {{ cookiecutter.package_name }}.dependencies import (
    DbSession,
    ReadSession,
)
from {{ cookiecutter.package_name }}.main import create_app

from support import (
    NOWHERE,
    PASSWORD_HASH,
    NewDatabase,
    alembic_config,
    new_client,
    settings_for,
)

INSERT = insert(User).values(email="ada@example.com", password_hash=PASSWORD_HASH)


async def test_migrations_are_reversible_and_match_the_models(new_database: NewDatabase) -> None:
    async with new_database(empty=True) as url:
        config = alembic_config(settings_for(url))

        # In threads, as the commands start an event loop.
        for revision in ("head", "base", "head"):
            change = command.downgrade if revision == "base" else command.upgrade
            await asyncio.to_thread(change, config, revision)

        await asyncio.to_thread(command.check, config)  # raises on a difference


async def test_migrations_can_be_printed_as_sql(capsys: pytest.CaptureFixture[str]) -> None:
    config = alembic_config(settings_for(NOWHERE))

    await asyncio.to_thread(command.upgrade, config, "head", sql=True)

    sql = capsys.readouterr().out
    for table in Base.metadata.tables:
        assert f"CREATE TABLE {table} " in sql


@pytest.fixture
async def app(new_database: NewDatabase) -> AsyncIterator[FastAPI]:
    """Create an application with a separate database and routes that write."""
    async with new_database() as url:
        app = create_app(settings_for(url))

        @app.post("/insert")
        async def insert(session: DbSession) -> None:
            await session.execute(INSERT)

        @app.post("/insert-and-fail")
        async def insert_and_fail(session: DbSession) -> None:
            await session.execute(INSERT)
            await session.execute(text("SELECT nonsense"))

        @app.get("/write")
        async def write(session: ReadSession) -> None:
            await session.execute(delete(User))

        async with app.router.lifespan_context(app):
            yield app


@pytest.mark.parametrize(
    ("path", "status", "users"), [("/insert", 200, 1), ("/insert-and-fail", 500, 0)]
)
async def test_request_is_a_transaction(app: FastAPI, path: str, status: int, users: int) -> None:
    async with new_client(app) as client:
        response = await client.post(path)

    assert response.status_code == status
    async with app.state.services.database.read_session() as session:
        assert await session.scalar(select(func.count(User.id))) == users


async def test_read_session_rejects_writes(app: FastAPI) -> None:
    async with new_client(app) as client:
        await client.post("/insert")
        response = await client.get("/write")

    assert response.status_code == 500
    async with app.state.services.database.read_session() as session:
        assert await session.scalar(select(func.count(User.id))) == 1
{%- if cookiecutter.database == "postgresql" %}


@pytest.mark.parametrize("prepared_statements", [True, False])
async def test_slow_statement_is_cancelled(
    prepared_statements: bool, new_database: NewDatabase
) -> None:
    settings = {
        "database_prepared_statements": prepared_statements,
        "database_statement_timeout": 0.01,
    }
    async with new_database() as url:
        app = create_app(settings_for(url, **settings))

        @app.post("/sleep")
        async def sleep(session: DbSession) -> None:
            await session.execute(text("SELECT pg_sleep(60)"))

        async with app.router.lifespan_context(app), new_client(app) as client:
            response = await client.post("/sleep")

    assert response.status_code == 503
{%- endif %}
