"""Fixtures of the tests that are copied into a render: its databases also have counters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from orders.database import Database
from support import NewDatabase, settings_for

from render.counters import Base


@pytest.fixture(scope="session")
def new_database(new_database: NewDatabase) -> NewDatabase:
    """Return a context manager that creates a database, migrated or empty, and returns its URL."""

    @asynccontextmanager
    async def new(*, empty: bool = False) -> AsyncIterator[str]:
        async with new_database(empty=empty) as url:
            if not empty:
                async with (
                    Database(settings_for(url)) as database,
                    database.write_engine.begin() as connection,
                ):
                    await connection.run_sync(Base.metadata.create_all)
            yield url

    return new
