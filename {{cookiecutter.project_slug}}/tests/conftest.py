"""A real database for every test, which sees nothing of the other tests."""

import asyncio
import gc
import os
import shutil
{%- if cookiecutter.database == "postgresql" %}
import tempfile
{%- endif %}
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
{%- if cookiecutter.database == "postgresql" %}
from uuid import uuid4
{%- endif %}

{% if cookiecutter.database == "postgresql" -%}
import asyncpg
{% endif -%}
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy import event, make_url, update
{%- else %}
from sqlalchemy import event, update
{%- endif %}
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker

from {{ cookiecutter.package_name }} import health
from {{ cookiecutter.package_name }}.auth.models import Role, User
{%- if cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.cache.client import Client
{%- endif %}
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings
from {{ cookiecutter.package_name }}.state import get_state
{%- if not cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.throttle import MemoryThrottle
{%- endif %}

import notes
{%- if cookiecutter.database == "postgresql" %}
from dev import embedded_postgres
{%- endif %}
from support import (
    Account,
    NewApp,
    NewDatabase,
    Register,
    Statements,
    migrate,
    new_account,
    new_client,
{%- if cookiecutter.use_redis %}
    redis_url,
{%- endif %}
    settings_for,
)


def pytest_configure() -> None:
    """Connect to the servers of the tests directly, although the shell may have a proxy."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end: a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """The probe waits for a machine that has much to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "TIMEOUT_SECONDS", 60)
        yield


async def create_tables(url: str) -> None:
    """Create the tables that only tests have."""
    async with Database(settings_for(url)) as database, database.write_engine.begin() as connection:
        await connection.run_sync(notes.Base.metadata.create_all)

{% if cookiecutter.database == "postgresql" %}
async def execute(server_url: str, statement: str) -> None:
    """Run a statement that cannot run in a transaction."""
    connection = await asyncpg.connect(server_url)
    await connection.execute(statement)
    await connection.close()


def url_of(server_url: str, name: str) -> str:
    """The URL of another database of the server."""
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def server_url() -> str:
    """A server on which databases may be made: TEST_DATABASE_URL, or else an embedded one."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return url
    # In memory, if the system has a folder there: databases are made in a tenth of the time.
    folder = Path("/dev/shm")  # noqa: S108 - below it, the name is a random one
    if not folder.is_dir() or shutil.disk_usage(folder).free < 2**30:
        folder = Path(tempfile.gettempdir())
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)  # one server for all workers
    return embedded_postgres(folder / f"postgres-{run}", keep=False)


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """The name of a migrated database with the tests' tables, which is only ever copied."""
    name = f"test_{uuid4().hex}"
    asyncio.run(execute(server_url, f'CREATE DATABASE "{name}"'))
    migrate(settings_for(url_of(server_url, name)))
    asyncio.run(create_tables(url_of(server_url, name)))
    yield name
    asyncio.run(execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def new_database(server_url: str, template: str) -> NewDatabase:
    """Make databases, migrated or empty: a context manager that returns the URL of one."""

    @asynccontextmanager
    async def new(*, empty: bool = False) -> AsyncIterator[str]:
        name = f"test_{uuid4().hex}"
        source = "" if empty else f' TEMPLATE "{template}"'
        await execute(server_url, f'CREATE DATABASE "{name}"{source}')
        try:
            yield url_of(server_url, name)
        finally:
            await execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')

    return new
{% else %}
@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database with the tests' tables, which is only ever copied."""
    file = tmp_path_factory.mktemp("template") / "app.db"
    migrate(settings_for(f"sqlite:///{file}"))
    asyncio.run(create_tables(f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def new_database(template: Path, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Make databases, migrated or empty: a context manager that returns the URL of one."""

    @asynccontextmanager
    async def new(*, empty: bool = False) -> AsyncIterator[str]:
        folder = tmp_path_factory.mktemp("database")
        if not empty:
            shutil.copy(template, folder / "app.db")
        yield f"sqlite:///{folder / 'app.db'}"
        shutil.rmtree(folder)

    return new
{% endif %}

@pytest.fixture(scope="session")
async def database_url(new_database: NewDatabase) -> AsyncIterator[str]:
    """The database of the tests whose transaction is rolled back."""
    async with new_database() as url:
        yield url


@pytest.fixture(scope="session")
async def shared_database(database_url: str) -> AsyncIterator[Database]:
    """The engine of these tests."""
    async with Database(settings_for(database_url)) as database:
        yield database


class RollbackDatabase(Database):
    """A database whose commits are savepoints of a transaction, which is rolled back at the end."""

    def __init__(self, settings: Settings, connection: AsyncConnection) -> None:
        super().__init__(settings)
        self.connection = connection
        self.read_engine = self.write_engine = connection.engine
        self.read_sessions = self.write_sessions = async_sessionmaker(
            connection,
            expire_on_commit=False,
{%- if cookiecutter.use_redis %}
            info=self.info,
{%- endif %}
            join_transaction_mode="create_savepoint",
        )
{%- if cookiecutter.database == "postgresql" %}
        self.replica_sessions = self.read_sessions
{%- endif %}

    @asynccontextmanager
    async def read_connection(self) -> AsyncIterator[AsyncConnection]:
        """Open a savepoint."""
        async with self.connection.begin_nested():
            yield self.connection


@pytest.fixture
async def database(shared_database: Database, database_url: str) -> AsyncIterator[Database]:
    """A database whose changes are rolled back after the test."""
    async with (
        shared_database.write_engine.connect() as connection,
        connection.begin() as transaction,
    ):
        yield RollbackDatabase(settings_for(database_url), connection)
        await transaction.rollback()


{% if cookiecutter.use_redis -%}
@pytest.fixture(scope="session")
async def redis_client() -> AsyncIterator[Client]:
    """The Redis that the tests of this process use."""
    async with Client.from_url(redis_url(), decode_responses=True) as client:
        yield client


@pytest.fixture(autouse=True)
async def redis(redis_client: Client) -> Client:
    """A look at what is in Redis, which is nothing when a test begins."""
    await redis_client.flushdb()
    return redis_client


@pytest.fixture
async def new_app(database: Database, database_url: str) -> AsyncIterator[NewApp]:
    """Makes applications with settings of their own on the database that is rolled back."""
    made: list[FastAPI] = []

    def new(**changes: object) -> FastAPI:
        app = notes.mount(create_app(settings_for(database_url, **changes)))
        made.append(app)
        return on(app, database)

    yield new
    for app in made:
        await app.state.services.redis.__aexit__()
{%- else -%}
@pytest.fixture
def new_app(database: Database, database_url: str) -> NewApp:
    """Makes applications with settings of their own on the database that is rolled back."""

    def new(**changes: object) -> FastAPI:
        return on(notes.mount(create_app(settings_for(database_url, **changes))), database)

    return new
{%- endif %}


@pytest.fixture(scope="session")
async def prepared_app(database_url: str) -> AsyncIterator[FastAPI]:
    """Made once, as each route takes time at its first request."""
    app = notes.mount(create_app(settings_for(database_url)))
    async with app.router.lifespan_context(app):
        yield app


def on(app: FastAPI, database: Database) -> FastAPI:
    """Return the application on this database, without counted login attempts."""
    state = get_state(app)
{%- if cookiecutter.use_redis %}
    database.info.update(cache=state.cache, denylist=state.denylist)
    app.state.services = replace(state, database=database)
{%- else %}
    auth = replace(state.auth, throttle=MemoryThrottle())
    app.state.services = replace(state, database=database, auth=auth)
{%- endif %}
    return app


@pytest.fixture
def app(prepared_app: FastAPI, database: Database) -> FastAPI:
    """The application as it starts, on the database that is rolled back; not to be changed."""
    return on(prepared_app, database)


@pytest.fixture
async def live_app(prepared_app: FastAPI, new_database: NewDatabase) -> AsyncIterator[FastAPI]:
    """The same on a database of its own, for requests that run at the same time."""
    async with new_database() as url, Database(settings_for(url)) as database:
        yield on(prepared_app, database)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Somebody who is not logged in."""
    async with new_client(app) as client:
        yield client


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A look behind the API."""
    async with database.write_sessions() as session:
        yield session


@pytest.fixture
def register(app: FastAPI) -> Register:
    """Registers an account and logs it in."""
    return partial(new_account, app)


@pytest.fixture
async def member(register: Register) -> Account:
    """An ordinary user."""
    return await register()


@pytest.fixture
async def admin(register: Register, session: AsyncSession) -> Account:
    """An administrator."""
    account = await register()
    await session.execute(update(User).where(User.id == account.id).values(role=Role.ADMIN))
    await session.commit()
    return account


@pytest.fixture
def statements(database: Database) -> Statements:
    """Collects the SQL statements of a block, savepoints aside."""

    @contextmanager
    def collect() -> Iterator[list[str]]:
        seen: list[str] = []

        def record(*arguments: object) -> None:
            if not str(arguments[2]).startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
                seen.append(str(arguments[2]))

        engine = database.write_engine.sync_engine
        event.listen(engine, "before_cursor_execute", record)
        yield seen
        event.remove(engine, "before_cursor_execute", record)

    return collect
