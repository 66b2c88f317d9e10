"""Sessions, transactions and the connection pool."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from orders.database import Database
from sqlalchemy import select, text
from support import NewDatabase, settings_for

from render.counters import (
    INSERT,
    Counter,
    assert_unavailable,
    request,
    run_app,
    stored_values,
)


@pytest.fixture
async def app(new_database: NewDatabase) -> AsyncIterator[FastAPI]:
    """Run an application on a separate database."""
    async with new_database() as url, run_app(url) as app:
        yield app


async def test_failed_commit_is_an_error_of_the_request(app: FastAPI) -> None:
    reference = "REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED"
    await request(
        app,
        text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"),
        text(f"CREATE TABLE children (id INTEGER {reference})"),
    )

    response = await request(app, text("INSERT INTO children VALUES (1)"))

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert "children" not in response.text


async def test_error_rolls_back_the_request(app: FastAPI) -> None:
    response = await request(app, INSERT, text("SELECT nonsense"))

    assert response.status_code == 500
    assert await stored_values(app) == []


async def test_write_in_a_read_session_is_an_error(app: FastAPI) -> None:
    assert (await request(app, INSERT, method="GET")).status_code == 500
    assert await stored_values(app) == []

    await request(app, INSERT)
    assert await stored_values(app) == [7]


async def test_concurrent_transactions_lose_no_update(new_database: NewDatabase) -> None:
    async with new_database() as url, Database(settings_for(url)) as database:
        async with database.write_session() as session:
            session.add(Counter())

        async def increment() -> None:
            async with database.write_session() as session:
                counter = (await session.scalars(select(Counter).with_for_update())).one()
                counter.value += 1

        await asyncio.gather(*(increment() for _ in range(50)))

        async with database.read_session() as session:
            assert (await session.scalars(select(Counter.value))).all() == [50]


async def test_exhausted_pool_is_unavailable_until_a_connection_is_released(
    new_database: NewDatabase,
) -> None:
    async with new_database() as url, run_app(url, database_pool_timeout=2) as app:
        async with app.state.services.database.write_session() as session:
            await session.execute(text("SELECT 1"))
            during = await request(app, INSERT)
        await request(app, INSERT)

        assert_unavailable(during)
        assert await stored_values(app) == [7]


async def test_connections_are_acquired_in_the_order_of_requests(new_database: NewDatabase) -> None:
    acquired: list[str] = []
    changes = {"database_pool_size": 1, "database_max_overflow": 0}
    async with new_database() as url, Database(settings_for(url, **changes)) as database:

        async def acquire(name: str) -> None:
            async with database.read_session() as session:
                await session.execute(text("SELECT 1"))
                acquired.append(name)

        async with asyncio.TaskGroup() as group:
            async with database.read_session():
                for name in ("first", "second"):
                    group.create_task(acquire(name))
                await asyncio.sleep(0)  # until they wait for the connection
            await acquire("last")  # just after the connection was released

    assert acquired == ["first", "second", "last"]
