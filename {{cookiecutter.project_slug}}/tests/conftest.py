"""Fixtures: an isolated database, applications on it, accounts and their clients."""

import asyncio
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
from aiosmtpd.smtp import SMTP
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import event
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy.engine import make_url
{%- endif %}
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker

from {{ cookiecutter.package_name }} import health
from {{ cookiecutter.package_name }}.auth.models import Role
{%- if not cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.auth.service import AuthServices
{%- endif %}
{%- if not cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.background import Runner
{%- endif %}
{%- if cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.cache.client import Client
{%- endif %}
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings
from {{ cookiecutter.package_name }}.state import get_state
{%- if not cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.throttle import Throttle
{%- endif %}

import notes_support
{% if cookiecutter.database == "postgresql" -%}
from dev import embedded_postgres
{% endif -%}
from mail_support import MailServer
from support import (
    Account,
    NewApp,
    NewDatabase,
    Register,
    Statements,
    create_session,
    migrate,
    new_account,
    new_client,
{%- if cookiecutter.use_redis %}
    redis_url,
{%- endif %}
    set_role,
    settings_for,
)


def pytest_configure() -> None:
    """Bypass a proxy that the environment may name."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(scope="session", autouse=True)
def _long_probe_timeout() -> Iterator[None]:
    """Raise the timeout of the readiness probe, for busy machines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "TIMEOUT_SECONDS", 60)
        yield


async def create_tables(url: str) -> None:
    """Create the tables that exist only in tests."""
    async with Database(settings_for(url)) as database, database.write_engine.begin() as connection:
        await connection.run_sync(notes_support.Base.metadata.create_all)

{% if cookiecutter.database == "postgresql" %}
async def execute(server_url: str, statement: str) -> None:
    """Run a statement outside of a transaction."""
    connection = await asyncpg.connect(server_url)
    await connection.execute(statement)
    await connection.close()


def database_url_of(server_url: str, name: str) -> str:
    """Return the URL of another database of the server."""
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def server_url() -> str:
    """Return the URL of a server for new databases: TEST_DATABASE_URL or an embedded one."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return url
    # Databases are created ten times as fast in memory.
    folder = Path("/dev/shm")  # noqa: S108 - the name below it is random
    if not folder.is_dir() or shutil.disk_usage(folder).free < 2**30:
        folder = Path(tempfile.gettempdir())
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)  # one server for all workers
    return embedded_postgres(folder / f"postgres-{run}", keep=False)


@pytest.fixture(scope="session")
def migrated_database(server_url: str) -> Iterator[str]:
    """Create a migrated database, which the tests copy. Returns its name."""
    name = f"test_{uuid4().hex}"
    asyncio.run(execute(server_url, f'CREATE DATABASE "{name}"'))
    migrate(settings_for(database_url_of(server_url, name)))
    asyncio.run(create_tables(database_url_of(server_url, name)))
    yield name
    asyncio.run(execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def new_database(server_url: str, migrated_database: str) -> NewDatabase:
    """Return a context manager that creates a database, migrated or empty, and returns its URL."""

    @asynccontextmanager
    async def new(*, empty: bool = False) -> AsyncIterator[str]:
        name = f"test_{uuid4().hex}"
        source = "" if empty else f' TEMPLATE "{migrated_database}"'
        await execute(server_url, f'CREATE DATABASE "{name}"{source}')
        try:
            yield database_url_of(server_url, name)
        finally:
            await execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')

    return new
{% else %}
@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a migrated database, which the tests copy."""
    file = tmp_path_factory.mktemp("migrated") / "app.db"
    migrate(settings_for(f"sqlite:///{file}"))
    asyncio.run(create_tables(f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def new_database(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Return a context manager that creates a database, migrated or empty, and returns its URL."""

    @asynccontextmanager
    async def new(*, empty: bool = False) -> AsyncIterator[str]:
        folder = tmp_path_factory.mktemp("database")
        if not empty:
            shutil.copy(migrated_database, folder / "app.db")
        yield f"sqlite:///{folder / 'app.db'}"
        shutil.rmtree(folder)

    return new
{% endif %}

@pytest.fixture(scope="session")
async def database_url(new_database: NewDatabase) -> AsyncIterator[str]:
    """Create the database that most tests share. Their transactions are rolled back."""
    async with new_database() as url:
        yield url


@pytest.fixture(scope="session")
async def shared_database(database_url: str) -> AsyncIterator[Database]:
    """Connect to the database that most tests share."""
    async with Database(settings_for(database_url)) as database:
        yield database


class RollbackDatabase(Database):
    """A database whose transactions are savepoints of one connection's transaction."""

    def __init__(self, settings: Settings, connection: AsyncConnection) -> None:
        super().__init__(settings)
        self.connection = connection
        self.read_engine = self.write_engine = connection.engine
        self.read_sessions = self.write_sessions = async_sessionmaker(
            connection,
            expire_on_commit=False,
            join_transaction_mode="create_savepoint",
        )
{%- if cookiecutter.database == "postgresql" %}
        self.replica_sessions = self.read_sessions
{%- endif %}

    @asynccontextmanager
    async def read_connection(self) -> AsyncIterator[AsyncConnection]:
        """Use a savepoint, so that an error does not end the transaction of the test."""
        async with self.connection.begin_nested():
            yield self.connection

    probe_connection = read_connection


@pytest.fixture
async def database(shared_database: Database, database_url: str) -> AsyncIterator[Database]:
    """Provide a database whose changes are rolled back after the test."""
    async with (
        shared_database.write_engine.connect() as connection,
        connection.begin() as transaction,
    ):
        yield RollbackDatabase(settings_for(database_url), connection)
        await transaction.rollback()


{% if cookiecutter.use_redis -%}
@pytest.fixture(scope="session")
async def redis_client() -> AsyncIterator[Client]:
    """Connect to the Redis of this test process."""
    async with Client.from_url(redis_url(), decode_responses=True) as client:
        yield client


@pytest.fixture(autouse=True)
async def redis(redis_client: Client) -> Client:
    """Empty Redis before the test."""
    await redis_client.flushdb()
    return redis_client


@pytest.fixture
async def new_app(database: Database, database_url: str) -> AsyncIterator[NewApp]:
    """Return a function that creates an application with other settings."""
    apps: list[FastAPI] = []

    def new(**changes: object) -> FastAPI:
        app = notes_support.mount(create_app(settings_for(database_url, **changes)))
        apps.append(app)
        return use_database(app, database)

    yield new
    for app in apps:
        await app.state.services.cache.__aexit__()
        await app.state.services.redis.__aexit__()
{%- else -%}
@pytest.fixture
def new_app(database: Database, database_url: str) -> NewApp:
    """Return a function that creates an application with other settings."""

    def new(**changes: object) -> FastAPI:
        app = notes_support.mount(create_app(settings_for(database_url, **changes)))
        return use_database(app, database)

    return new
{%- endif %}


@pytest.fixture(scope="session")
async def shared_app(database_url: str) -> AsyncIterator[FastAPI]:
    """Create the application that most tests share, as each route is slow at its first request."""
    app = notes_support.mount(create_app(settings_for(database_url)))
    async with app.router.lifespan_context(app):
        yield app


def use_database(app: FastAPI, database: Database) -> FastAPI:
    """Use this database in the application, without counted login attempts."""
    state = get_state(app)
{%- if not cookiecutter.use_worker %}
    state = replace(state, background=Runner(database, state.mailer, state.settings))
{%- endif %}
{%- if cookiecutter.use_redis %}
    database.commit_callbacks = [state.cache.invalidate_changes]
    app.state.services = replace(state, database=database)
{%- else %}
    auth = AuthServices(state.settings, Throttle())
    app.state.services = replace(state, database=database, auth=auth)
{%- endif %}
    return app


@pytest.fixture
def app(shared_app: FastAPI, database: Database) -> FastAPI:
    """Provide the shared application, which a test must not change."""
    return use_database(shared_app, database)


@pytest.fixture
async def live_app(shared_app: FastAPI, new_database: NewDatabase) -> AsyncIterator[FastAPI]:
    """Provide the shared application on a separate database, for concurrent requests."""
    async with new_database() as url, Database(settings_for(url)) as database:
        yield use_database(shared_app, database)


@pytest.fixture
async def mail_server() -> AsyncIterator[MailServer]:
    """A mail server on this machine."""
    handler = MailServer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="mail", enable_SMTPUTF8=True), "127.0.0.1", 0
    )
    handler.port = server.sockets[0].getsockname()[1]
    handler.opened.set()
    yield handler
    server.close()
    await server.wait_closed()


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Provide a client that is not logged in."""
    async with new_client(app) as client:
        yield client


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """Provide a session to look at the stored rows."""
    async with database.write_sessions() as session:
        yield session


@pytest.fixture
def register(app: FastAPI) -> Register:
    """Return a function that creates an account and logs it in."""
    return partial(new_account, app)


@pytest.fixture
async def member(register: Register) -> Account:
    """Create a user without a role."""
    return await register()


@pytest.fixture
async def browser(client: AsyncClient, member: Account) -> AsyncClient:
    """Log the member in with cookies."""
    await create_session(client, member)
    return client


@pytest.fixture
async def admin(register: Register, session: AsyncSession) -> Account:
    """Create an administrator."""
    account = await register()
    await set_role(session, account, Role.ADMIN)
    return account


@pytest.fixture
def statements(database: Database) -> Statements:
    """Return a context manager that records SQL statements, without savepoints."""

    @contextmanager
    def record_statements() -> Iterator[list[str]]:
        recorded: list[str] = []

        def record(*arguments: object) -> None:
            if not str(arguments[2]).startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
                recorded.append(str(arguments[2]))

        engine = database.write_engine.sync_engine
        event.listen(engine, "before_cursor_execute", record)
        yield recorded
        event.remove(engine, "before_cursor_execute", record)

    return record_statements
