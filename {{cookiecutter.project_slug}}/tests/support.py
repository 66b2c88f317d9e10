"""Helpers of the fixtures and the tests."""

import asyncio
import os
import socket
import subprocess
import sys
import time
{%- if cookiecutter.use_admin or cookiecutter.use_sentry %}
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
{%- else %}
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
{%- endif %}
from dataclasses import dataclass
from datetime import timedelta
{%- if cookiecutter.use_redis %}
from functools import cache
{%- endif %}
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import bcrypt
{% if cookiecutter.use_admin or cookiecutter.use_sentry -%}
import uvicorn
{% endif -%}
from alembic import command
from alembic.config import Config
from click.testing import CliRunner, Result
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, BasicAuth, Response
from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
{% if cookiecutter.use_worker -%}
from starlette.types import ASGIApp
{%- else -%}
from starlette.types import ASGIApp, Receive, Scope, Send
{%- endif %}

from {{ cookiecutter.package_name }}.auth import sessions
from {{ cookiecutter.package_name }}.auth.models import Role, User
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings
{%- if cookiecutter.use_redis or not cookiecutter.use_worker %}
{% endif %}
{%- if cookiecutter.use_redis %}
from dev import embedded_redis
{%- endif %}
{%- if not cookiecutter.use_worker %}
from mail_support import deliver
{%- endif %}

PROJECT = Path(__file__).parent.parent
PASSWORD = "analytical-engine-1843"
NEW_PASSWORD = "difference-engine-1822"
WRONG_PASSWORD = "a wrong password"
PASSWORD_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
{%- if cookiecutter.database == "postgresql" %}
NOWHERE = "postgresql://nowhere/none"  # a database that no test connects to
{%- else %}
NOWHERE = "sqlite:///nowhere.db"  # a database that no test connects to
{%- endif %}

PRODUCTION = {"environment": "production", "allowed_hosts": ["test"], "bcrypt_rounds": 10}


@dataclass(frozen=True)
class Account:
    """A user, with a client that sends an access token of theirs."""

    id: UUID
    email: str
    client: AsyncClient
    refresh_token: str


@dataclass(frozen=True)
class Server:
    """The service in a separate process."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def base_url(self) -> str:
        """Return the URL of the service."""
        return f"http://127.0.0.1:{self.port}"

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition is true."""
        end = time.monotonic() + 120
        while not condition():
            is_waiting = self.process.poll() is None and time.monotonic() < end
            assert is_waiting, self.log.read_text(encoding="utf-8")
            time.sleep(0.01)


# The types of fixtures that are functions.
NewApp = Callable[..., FastAPI]
NewDatabase = Callable[..., AbstractAsyncContextManager[str]]
Register = Callable[..., Awaitable[Account]]
Statements = Callable[[], AbstractContextManager[list[str]]]

{% if cookiecutter.use_redis %}
@cache
def redis_url() -> str:
    """Return the URL of this test process's Redis: TEST_REDIS_URL or an embedded one."""
    if url := os.environ.get("TEST_REDIS_URL"):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        return f"{url}/{worker}"
    return embedded_redis()

{% endif %}
def settings_for(database_url: str, **changes: object) -> Settings:
    """Return settings for tests, independent of the environment and of `.env`."""
    fields = Settings.model_fields.items()
    values: dict[str, object] = {name: field.default for name, field in fields} | {
        "environment": "test",
        "database_url": database_url,
        "secret_key": "0123456789-abcdefghijklmnopqrstuvwxyz",
        "bcrypt_rounds": 4,
        "login_attempts_per_address": 10_000,
        # Long timeouts, for busy machines.
        "database_pool_timeout": 60,
{%- if cookiecutter.database == "sqlite" %}
        "database_busy_timeout": 60,
{%- endif %}
        "log_level": "WARNING",
{%- if cookiecutter.use_prometheus %}
        "metrics_port": 0,
{%- endif %}
{%- if cookiecutter.use_redis %}
        "redis_url": redis_url(),
        "redis_connect_timeout": 60,
        "redis_timeout": 60,
        "rate_limit": 1_000_000,
{%- endif %}
    }
    return Settings.model_validate(values | changes)


def alembic_config(settings: Settings) -> Config:
    """Return the configuration that migrates the database of the settings."""
    config = Config(toml_file=PROJECT / "pyproject.toml")
    config.attributes["settings"] = settings
    return config


def migrate(settings: Settings, revision: str = "head") -> None:
    """Upgrade a database."""
    command.upgrade(alembic_config(settings), revision)


def new_client(
    app: ASGIApp, token: str | None = None, *, address: str = "127.0.0.1"
) -> AsyncClient:
    """Return a client of an application in this process; with https, because cookies require it."""
{%- if not cookiecutter.use_worker %}

    async def run_tasks_too(scope: Scope, receive: Receive, send: Send) -> None:
        """Finish the tasks of a request before the next one, which may use their connection."""
        try:
            await app(scope, receive, send)
        finally:
            await deliver(scope["app"])
{% endif %}
    return AsyncClient(
        # A client receives a response to an unexpected error.
{%- if cookiecutter.use_worker %}
        transport=ASGITransport(app=app, raise_app_exceptions=False, client=(address, 1)),
{%- else %}
        transport=ASGITransport(run_tasks_too, raise_app_exceptions=False, client=(address, 1)),
{%- endif %}
        base_url="https://test",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


async def log_in(
    client: AsyncClient, email: str, password: str = PASSWORD, **form: str
) -> Response:
    """Log in with the password grant, and further parameters of the form."""
    form |= {"grant_type": "password", "username": email, "password": password}
    return await client.post("/api/v1/auth/token", data=form)


async def log_in_with(app: FastAPI, account: Account, *scopes: str) -> AsyncClient:
    """Return a client whose access token has only these scopes."""
    async with new_client(app) as client:
        response = await log_in(client, account.email, scope=" ".join(scopes))
    return new_client(app, response.json()["access_token"])


async def create_session(
    client: AsyncClient, account: Account, password: str = PASSWORD, **headers: str
) -> Response:
    """Log in with cookies."""
    login = {"email": account.email, "password": password}
    return await client.post("/api/v1/auth/session", json=login, headers=headers)


def cookies_of(response: Response) -> dict[str, Morsel[str]]:
    """Return the cookies that a response sets."""
    lines = response.headers.get_list("Set-Cookie")
    return {name: morsel for line in lines for name, morsel in SimpleCookie(line).items()}


async def fail_to_log_in(client: AsyncClient, email: str, times: int = 10) -> None:
    """Log in with a wrong password, below the limit."""
    for _ in range(times):
        assert (await log_in(client, email, WRONG_PASSWORD)).status_code == 400


def assert_throttled(response: Response) -> None:
    """Check the problem of an attempt beyond a limit."""
    assert response.status_code == 429
    assert response.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(response.headers["Retry-After"]) <= 301


def new_user(**changes: object) -> User:
    """Return a user to be stored."""
    values = {
        "email": f"{uuid4().hex}@example.com",
        "password_hash": PASSWORD_HASH,
        "email_verified_at": utcnow(),
    }
    return User(**values | changes)


def personal_token(**changes: object) -> dict[str, Any]:
    """Return the body of a request for a personal access token that may read the account."""
    expires_at = (utcnow() + timedelta(days=30)).isoformat()
    return {"name": "Export", "scopes": ["account:read"], "expires_at": expires_at} | changes


async def create_personal_token(
    account: Account, *scopes: str, **changes: object
) -> dict[str, Any]:
    """Create a personal access token of the account, by default for reading the account."""
    body = personal_token(**({"scopes": scopes} if scopes else {}), **changes)
    response = await account.client.post("/api/v1/auth/tokens", json=body)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def request_client_token(
    client: AsyncClient, client_id: str, secret: str, /, **parameters: str
) -> Response:
    """Request an access token for a service account with its secret."""
    form = {"grant_type": "client_credentials"} | parameters
    return await client.post("/api/v1/auth/token", data=form, auth=BasicAuth(client_id, secret))


def registration(**changes: object) -> dict[str, Any]:
    """Return the body of a registration."""
    return {"email": "ada@example.com", "password": PASSWORD} | changes


async def new_account(app: FastAPI, **changes: object) -> Account:
    """Store an account that is logged in."""
    user, auth = new_user(**changes), app.state.services.auth
    async with app.state.services.database.write_session() as session:
        session.add(user)
        await session.flush()
        client = sessions.ClientInfo(address=None, user_agent=None)
        tokens = await sessions.create_token_session(
            session, auth.tokens, user, client, auth.settings.session_ttl, amr=["pwd"]
        )
    return Account(
        id=user.id,
        email=user.email,
        client=new_client(app, tokens.access_token),
        refresh_token=tokens.refresh_token or "",
    )


async def set_role(session: AsyncSession, account: Account, role: Role) -> None:
    """Change the role of an account."""
    await session.execute(update(User).where(User.id == account.id).values(role=role))
    await session.commit()


async def refresh(client: AsyncClient, refresh_token: str, **form: str) -> Response:
    """Exchange a refresh token, with further parameters of the form."""
    form |= {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return await client.post("/api/v1/auth/token", data=form)


async def change_password(
    client: AsyncClient, current: str = PASSWORD, new: str = NEW_PASSWORD
) -> Response:
    """Change the password of the client's account."""
    change = {"current_password": current, "new_password": new}
    return await client.put("/api/v1/users/me/password", json=change)


async def delete_account(client: AsyncClient, password: str = PASSWORD) -> Response:
    """Delete the client's account."""
    return await client.request("DELETE", "/api/v1/users/me", json={"password": password})


def pointers(response: Response) -> list[str]:
    """Return the JSON Pointers of a problem's errors."""
    return [error["pointer"] for error in response.json()["errors"]]


async def read_pages(client: AsyncClient, path: str, **query: str | int) -> list[list[Any]]:
    """Return all pages of a list, by following its cursors."""
    pages: list[list[Any]] = []
    cursor: dict[str, str] = {}
    while cursor or not pages:
        page = (await client.get(path, params={**query, **cursor})).json()
        pages.append(page["items"])
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
    return pages


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings."""

    def text(value: object) -> str:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, list):
            return ",".join(value)
        return "" if value is None else str(value)

    variables = {name.upper(): text(value) for name, value in settings}
    return os.environ | variables | {"PYTHONPATH": os.pathsep.join(sys.path)}


async def invoke(settings: Settings, *command: str, stdin: str = "") -> Result:
    """Run a management command in a thread, as it starts an event loop."""
    from {{ cookiecutter.package_name }}.cli import main

    environment = environment_of(settings)
    return await asyncio.to_thread(CliRunner().invoke, main, command, env=environment, input=stdin)


async def get_as(settings: Settings, path: str, email: str, password: str) -> Response:
    """Start an application with these settings, log in and request a path."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        tokens = (await log_in(new_client(app), email, password)).json()
        return await new_client(app, tokens["access_token"]).get(path)


async def until_set(event: asyncio.Event) -> None:
    """Wait until the event is set, for at most a minute."""
    await asyncio.wait_for(event.wait(), 60)


def accepts(port: int) -> bool:
    """Return whether a server listens on the local port."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def free_port() -> Iterator[int]:
    """Reserve a local port until the block ends."""
    with socket.socket() as reserved:
        # On Linux, another socket may listen on a port that this one is bound to.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        if sys.platform != "linux":
            reserved.close()
        yield port


@contextmanager
def serve(
    settings: Settings,
    log: Path,
    module: str = "{{ cookiecutter.package_name }}.cli",
    **variables: str,
) -> Iterator[Server]:
    """Run the service in a separate process, on a free port, until the block ends.

    Args:
        log: the file for the output of the process.
        module: runs the service.
        variables: further environment variables.
    """
    command = [sys.executable, "-m", module, "run"]
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
{%- if cookiecutter.use_admin or cookiecutter.use_sentry %}


@asynccontextmanager
async def listen(app: FastAPI) -> AsyncIterator[int]:
    """Serve the application on a local port, without its lifespan. Returns the port."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
{%- endif %}
{%- if cookiecutter.use_admin %}


async def exchange(port: int, request: bytes) -> bytes:
    """Send bytes over a new connection. Returns all received bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(60):
        received = await reader.read()
    writer.close()
    return received
{%- endif %}
