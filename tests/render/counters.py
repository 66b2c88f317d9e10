"""A table of counters, and applications that use it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from httpx2 import Response
from orders import database
from orders.dependencies import DbSession, ReadSession
from orders.main import create_app
from sqlalchemy import Executable, MetaData, insert, select
from sqlalchemy.orm import Mapped, mapped_column
from support import new_client, settings_for


class Base(database.Base):
    """Base of tables that exist only in these tests."""

    __abstract__ = True
    metadata = MetaData()


class Counter(database.TimestampMixin, Base):
    """A number under an integer key."""

    __tablename__ = "counters"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


INSERT = insert(Counter).values(value=7)


@asynccontextmanager
async def run_app(url: str, **settings: object) -> AsyncIterator[FastAPI]:
    """Run an application on the database, with a pool of one connection."""
    app = create_app(settings_for(url, database_pool_size=1, **settings))
    async with app.router.lifespan_context(app):
        yield app


async def request(app: FastAPI, *statements: Executable, method: str = "POST") -> Response:
    """Request a new route that executes the statements."""

    async def read(session: ReadSession) -> None:
        for statement in statements:
            await session.execute(statement)

    async def write(session: DbSession) -> None:
        for statement in statements:
            await session.execute(statement)

    path = f"/{len(app.routes)}"
    app.add_api_route(path, read if method == "GET" else write, methods=[method])
    async with new_client(app) as client:
        return await client.request(method, path)


async def stored_values(app: FastAPI) -> list[int]:
    """Return the values of all stored counters."""
    async with app.state.services.database.read_session() as session:
        return list(await session.scalars(select(Counter.value)))


def assert_unavailable(response: Response) -> None:
    """Check a 503 that does not reveal its cause."""
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "1"
    assert response.json()["detail"] == (
        "The database could not complete the request; try again shortly."
    )
