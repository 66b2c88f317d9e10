"""What the fixtures and the tests share."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
{%- if cookiecutter.use_redis %}
from functools import cache
{%- endif %}
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import bcrypt
import uvicorn
from alembic import command
from alembic.config import Config
from click.testing import CliRunner, Result
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from pydantic import SecretStr
from sqlalchemy import Connection, event
from starlette.types import ASGIApp

from {{ cookiecutter.package_name }}.auth import sessions
from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings
{%- if cookiecutter.use_redis %}

from dev import embedded_redis
{%- endif %}

PROJECT = Path(__file__).parent.parent
PASSWORD = "analytical-engine-1843"
PASSWORD_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
# The mark of a plan that sorts what it has read.
SORTED = "{% if cookiecutter.database == "postgresql" %}Sort{% else %}TEMP B-TREE{% endif %}"
# The URL of a database that nobody connects to.
NOWHERE = "{% if cookiecutter.database == "postgresql" %}postgresql://nowhere/none{% else %}sqlite:///nowhere.db{% endif %}"


@dataclass(frozen=True)
class Account:
    """A registered user, and a client that carries an access token of theirs."""

    id: UUID
    email: str
    client: AsyncClient
    refresh_token: str


@dataclass(frozen=True)
class Server:
    """The service in a process of its own."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def base_url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that the process does."""
        end = time.monotonic() + 120
        while not condition():
            lives = self.process.poll() is None and time.monotonic() < end
            assert lives, self.log.read_text(encoding="utf-8")
            time.sleep(0.01)


# The types of the fixtures that make something.
NewApp = Callable[..., FastAPI]
NewDatabase = Callable[..., AbstractAsyncContextManager[str]]
Register = Callable[..., Awaitable[Account]]
Statements = Callable[[], AbstractContextManager[list[str]]]

{% if cookiecutter.use_redis %}
@cache
def redis_url() -> str:
    """A Redis for the tests of this process only: TEST_REDIS_URL, or else an embedded one."""
    if url := os.environ.get("TEST_REDIS_URL"):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        return f"{url}/{worker}"
    return embedded_redis()

{% endif %}
def settings_for(database_url: str, **changes: object) -> Settings:
    """Settings for tests; what the developer's environment and `.env` say does not count."""
    fields = Settings.model_fields.items()
    values: dict[str, object] = {name: field.default for name, field in fields} | {
        "environment": "test",
        "database_url": database_url,
        "secret_key": "0123456789-abcdefghijklmnopqrstuvwxyz",
        "bcrypt_rounds": 4,
        "login_attempts_per_address": 10_000,
        # A machine may have much to do.
        "database_pool_timeout": 60,
{%- if cookiecutter.database == "sqlite" %}
        "database_busy_timeout": 60,
{%- endif %}
{%- if cookiecutter.use_worker %}
        "smtp_url": "smtp://nowhere:25",
{%- endif %}
        "log_level": "WARNING",
{%- if cookiecutter.use_prometheus %}
        "metrics_port": 0,
{%- endif %}
{%- if cookiecutter.use_redis %}
        "redis_url": redis_url(),
        "redis_timeout": 60,
        "rate_limit": 1_000_000,
{%- endif %}
    }
    return Settings.model_validate(values | changes)


def alembic_config(settings: Settings) -> Config:
    """The migrations of this project, to be run on the database of the settings."""
    config = Config(toml_file=PROJECT / "pyproject.toml")
    config.attributes["settings"] = settings
    return config


def migrate(settings: Settings, revision: str = "head") -> None:
    """Upgrade a database."""
    command.upgrade(alembic_config(settings), revision)


def new_client(
    app: ASGIApp, token: str | None = None, *, address: str = "127.0.0.1"
) -> AsyncClient:
    """A client of the application in this process; https, because cookies ask for it."""
    return AsyncClient(
        # An unexpected error is to be seen as its client sees it.
        transport=ASGITransport(app=app, raise_app_exceptions=False, client=(address, 1)),
        base_url="https://test",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


async def log_in(client: AsyncClient, email: str, password: str = PASSWORD) -> Response:
    """Ask for tokens with the password grant."""
    form = {"grant_type": "password", "username": email, "password": password}
    return await client.post("/api/v1/auth/token", data=form)


def new_user(**changes: object) -> User:
    """A user to be stored; the only place where tests make one."""
    values = {"email": f"{uuid4().hex}@example.com", "password_hash": PASSWORD_HASH}
    return User(**values | changes)


def registration(**changes: object) -> dict[str, Any]:
    """The body of a request to register."""
    return {"email": "ada@example.com", "password": PASSWORD} | changes


async def new_account(app: FastAPI, **changes: object) -> Account:
    """An account with a login, stored without HTTP, as most tests are about something else."""
    user, auth = new_user(**changes), app.state.services.auth
    async with app.state.services.database.write_session() as session:
        session.add(user)
        await session.flush()
        client = sessions.ClientInfo(address=None, user_agent=None)
        tokens = await sessions.create_token_session(
            session, auth.tokens, user, client, auth.settings.session_ttl
        )
    return Account(
        id=user.id,
        email=user.email,
        client=new_client(app, tokens.access_token),
        refresh_token=tokens.refresh_token,
    )


async def refresh(client: AsyncClient, refresh_token: str) -> Response:
    """Ask for tokens with the refresh grant."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return await client.post("/api/v1/auth/token", data=form)


def pointers(response: Response) -> list[str]:
    """Which parts of the request a problem is about."""
    return [error["pointer"] for error in response.json()["errors"]]


async def read_pages(client: AsyncClient, path: str, **query: str | int) -> list[list[Any]]:
    """Follow the cursors of a list from the first page to the last."""
    pages: list[list[Any]] = []
    cursor: dict[str, str] = {}
    while cursor or not pages:
        page = (await client.get(path, params={**query, **cursor})).json()
        pages.append(page["items"])
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
    return pages


{% if cookiecutter.database == "postgresql" -%}
async def page_plans(
    database: Database, client: AsyncClient, path: str, sort: str, *, small: bool = True
) -> list[str]:
    """Explain the statements that read the first two pages of a list, one row each.

    Args:
        small: the table has so few rows that the planner prefers an index only when told to.
    """
{%- else -%}
async def page_plans(database: Database, client: AsyncClient, path: str, sort: str) -> list[str]:
    """Explain the statements that read the first two pages of a list, one row each."""
{%- endif %}
    table, plans = path.rpartition("/")[2], list[str]()

    def explain(connection: Connection, *arguments: Any) -> None:
        _, statement, parameters, *_ = arguments
        if f"FROM {table}" in statement and not statement.startswith("EXPLAIN"):
{%- if cookiecutter.database == "postgresql" %}
            for method in ("seqscan", "bitmapscan", "sort", "incremental_sort") if small else ():
                connection.exec_driver_sql(f"SET LOCAL enable_{method} = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
{%- else %}
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
{%- endif %}
            plans.append(str(plan.all()))

    engine = database.read_engine.sync_engine
    event.listen(engine, "before_cursor_execute", explain)
    query = {"sort": sort, "limit": "1"}
    page = (await client.get(path, params=query)).json()
    await client.get(path, params=query | {"cursor": page["next_cursor"]})
    event.remove(engine, "before_cursor_execute", explain)
    return plans


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that gives another process these settings."""

    def text(value: object) -> str:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, list):
            return ",".join(value)
        return "" if value is None else str(value)

    variables = {name.upper(): text(value) for name, value in settings}
    return os.environ | variables | {"PYTHONPATH": os.pathsep.join(sys.path)}


async def invoke(settings: Settings, *command: str, typed: str = "") -> Result:
    """Run a management command, in a thread, as it has an event loop of its own."""
    from {{ cookiecutter.package_name }}.cli import main

    environment = environment_of(settings)
    return await asyncio.to_thread(CliRunner().invoke, main, command, env=environment, input=typed)


async def get_as(settings: Settings, path: str, email: str, password: str) -> Response:
    """Log in to a new application with these settings, and request a path."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        tokens = (await log_in(new_client(app), email, password)).json()
        return await new_client(app, tokens["access_token"]).get(path)


def accepts(port: int) -> bool:
    """Whether somebody listens on the port of this machine."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def free_port() -> Iterator[int]:
    """A port of this machine on which nobody else listens until the block ends."""
    with socket.socket() as kept:
        # Only Linux lets somebody listen on a port that another has, who does not.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        if sys.platform != "linux":
            kept.close()
        yield port


@contextmanager
def serve(
    settings: Settings, log: Path, *, redirection: str = "", **variables: str
) -> Iterator[Server]:
    """Run the service in a process of its own, on a free port, until the block ends.

    Args:
        log: the file that gets what the process prints.
        redirection: sends the output elsewhere, as a shell reads it.
        variables: further environment variables.
    """
    module = "{{ cookiecutter.package_name }}.cli"
    run = [sys.executable, "-m", module, "run"]
    command = ["sh", "-c", f'exec "$0" "$@" {redirection}', *run] if redirection else run
    with free_port() as port, log.open("wb") as output:
        environment = environment_of(settings.model_copy(update={"port": port})) | variables
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)  # noqa: S603
        server = Server(port, process, log)
        try:
            server.until(lambda: accepts(port))
            yield server
        finally:
            process.terminate()
            process.wait(timeout=60)


@asynccontextmanager
async def listen(app: FastAPI) -> AsyncIterator[int]:
    """Serve the application from this process, without its lifespan, until the block ends.

    Returns:
        the port on 127.0.0.1.
    """
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - of the server
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes over a connection of their own; returns what is received until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(60):
        received = await reader.read()
    writer.close()
    return received
