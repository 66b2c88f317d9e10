"""Log lines: JSON in fields of the Elastic Common Schema, and no secrets in them."""

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from httpx2 import AsyncClient
from pydantic import TypeAdapter
from sqlalchemy import Executable, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }} import __version__
from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.logging import ECS_VERSION

from support import (
    PASSWORD,
    Account,
    NewApp,
    NewDatabase,
    log_in,
    new_client,
    refresh,
    registration,
    serve,
    settings_for,
)

Logged = Callable[[], list[dict[str, Any]]]
SECRET = "".join(("hunter", "2"))  # is not found in the source lines of a traceback


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Logged:
    """Reads what has been logged since the test made its application."""
    caplog.set_level("WARNING", logger="httpx2")  # the client's own lines
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_request_is_one_line_and_other_lines_have_its_id(
    admin: Account, new_app: NewApp, logged: Logged
) -> None:
    client = new_client(new_app(log_level="INFO"))
    headers = {"Authorization": admin.client.headers["Authorization"], "User-Agent": "probe/1"}
    path = f"/api/v1/users/{admin.id}"

    response = await client.patch(path, json={"full_name": "Ada"}, headers=headers)
    await client.get("/nowhere%0Aelse")

    changed, request, other = logged()
    assert request.pop("event.duration") > 0
    assert request.pop("@timestamp").endswith("Z")
    assert request == {
        "message": "request",
        "log.level": "info",
        "log.logger": "access",
        "ecs.version": ECS_VERSION,
        "service.name": "{{ cookiecutter.project_slug }}",
        "service.version": __version__,
        "service.environment": "test",
        "http.request.id": response.headers["x-request-id"],
        "http.request.method": "PATCH",
        "http.response.status_code": 200,
        "url.path": path,
        "client.ip": "127.0.0.1",
        "user.id": str(admin.id),
        "user_agent.original": "probe/1",
        "labels": {"route": "/api/v1/users/{user_id}"},
    }
    assert changed["message"] == "user changed"
    assert changed["http.request.id"] == request["http.request.id"]
    assert other["url.path"] == "/nowhere\nelse"
    assert not {"user.id", "labels"} & other.keys()


@pytest.mark.parametrize("name", ["uvicorn.error", "sqlalchemy.pool", "somebody.else"])
def test_libraries_log_in_the_same_form(new_app: NewApp, logged: Logged, name: str) -> None:
    new_app(log_level="WARNING")

    logging.getLogger(name).warning("pool of %d", 10, extra={"color_message": "pool"})
    logging.getLogger(name).info("nobody wants to know")
    logging.getLogger("uvicorn.access").warning("we have our own")

    [line] = logged()
    assert (line["message"], line["log.logger"]) == ("pool of 10", name)
    assert line["log.level"] == "warning"
    assert "labels" not in line


@pytest.mark.parametrize("form", ["current", "tuple", "exception"])
def test_error_has_its_trace_and_no_local_variables(
    new_app: NewApp, logged: Logged, form: str
) -> None:
    def fail(password: str) -> None:
        raise LookupError(len(password))

    new_app()
    try:
        fail(SECRET)
    except LookupError as error:
        given = {"current": True, "tuple": sys.exc_info(), "exception": error}[form]
        structlog.stdlib.get_logger("test").error("failed", exc_info=given, items=["a"])

    [line] = logged()
    assert line["error.type"] == "LookupError"
    assert "raise LookupError(len(password))" in line["error.stack_trace"]
    assert line["labels"] == {"items": ["a"]}
    assert SECRET not in json.dumps(line)


async def test_no_line_has_a_secret(
    member: Account, new_app: NewApp, session: AsyncSession, logged: Logged
) -> None:
    client = new_client(new_app(log_level="DEBUG"))
    client.headers["Authorization"] = member.client.headers["Authorization"]
    login = {"email": member.email, "password": PASSWORD}
    change = {"current_password": PASSWORD, "new_password": f"{SECRET}-{SECRET}"}

    tokens = (await log_in(client, member.email)).json()
    rotated = (await refresh(client, tokens["refresh_token"])).json()
    await log_in(client, member.email, password=SECRET)
    cookies = (await client.post("/api/v1/auth/session", json=login)).cookies
    await client.put("/api/v1/users/me/password", json=change)
    await client.post("/api/v1/users", json=registration(email=SECRET, password=SECRET))
    await client.get(f"/api/v1/notes?cursor={SECRET}")
    await client.post("/api/v1/auth/revoke", data={"token": rotated["refresh_token"]})

    account = await session.get_one(User, member.id)
    secrets = [PASSWORD, SECRET, account.password_hash, *cookies.values()]
    secrets += [answer[name] for answer in (tokens, rotated) for name in answer if "_token" in name]
    lines = logged()
    assert [line["message"] for line in lines].count("request") == 8
    assert [secret for secret in secrets if secret in json.dumps(lines)] == []


@pytest.mark.parametrize(("encoding", "log_format"), [("cp1252", "json"), ("ascii", "console")])
async def test_every_character_is_logged_whatever_the_encoding(
    new_database: NewDatabase, tmp_path: Path, encoding: str, log_format: str
) -> None:
    log = tmp_path / "log"
    async with new_database() as url:
        settings = settings_for(url, log_level="INFO", log_format=log_format)
        with serve(settings, log, PYTHONIOENCODING=encoding) as server:
            async with AsyncClient(base_url=server.base_url) as client:
                statuses = [(await client.get("/漢字")).status_code for _ in "ab"]

    assert statuses == [404, 404]
    if log_format == "json":
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        assert [line.get("url.path") for line in lines].count("/漢字") == 2
    else:
        text = log.read_text(encoding=encoding)
        assert (text.count(r"/\u6f22\u5b57"), text.count("Traceback")) == (2, 0)


@pytest.mark.parametrize("redirection", [">/dev/full 2>&1", ">&- 2>&-"])
async def test_output_that_cannot_be_written_harms_no_request(
    new_database: NewDatabase, tmp_path: Path, redirection: str
) -> None:
    async with new_database() as url:
        settings = settings_for(url, log_level="INFO")
        with serve(settings, tmp_path / "log", redirection=redirection) as server:
            async with AsyncClient(base_url=server.base_url) as client:
                statuses = [(await client.get("/nowhere")).status_code for _ in "ab"]

    assert statuses == [404, 404]


async def driver_error(session: AsyncSession, statement: Executable, **values: str) -> Exception:
    """The error of a statement that fails."""
    with pytest.raises(DBAPIError) as raised:
        async with session.begin_nested():
            await session.execute(statement, values)
    return raised.value


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_text_of_exceptions_is_not_logged(
    new_app: NewApp,
    session: AsyncSession,
    member: Account,
    capsys: pytest.CaptureFixture[str],
    log_format: str,
) -> None:
    new_app(log_format=log_format)
    copy = "INSERT INTO users SELECT * FROM users WHERE email = :email"
{%- if cookiecutter.database == "postgresql" %}
    statements = "SELECT CAST(:text AS integer)", "SELECT CAST(CAST(:text AS text) AS integer)"
{%- else %}
    statements = "SELECT :text FROM nowhere", "SELECT :text, json(:text)"
{%- endif %}
    errors = [await driver_error(session, text(sql), text=SECRET) for sql in statements]
    errors.append(await driver_error(session, text(copy), email=member.email))
    with pytest.raises(ValueError, match=SECRET) as invalid:
        TypeAdapter(int).validate_python(SECRET)
    errors += [invalid.value, KeyError(SECRET), ExceptionGroup("all", [LookupError(SECRET)])]

    for error in errors:
        error.__cause__ = ValueError(SECRET)
        error.add_note(SECRET)
        structlog.stdlib.get_logger("test").warning("failed", error=error)
        logging.getLogger("somebody").error("cannot: %s", error, exc_info=error)
        asyncio.get_running_loop().call_exception_handler(
            {"message": "Task failed", "exception": error, "future": f"<Task {error!r}>"}
        )

    printed = capsys.readouterr().out
    for error in errors:
        assert printed.count(f": {type(error).__qualname__}") >= 1
    assert printed.count("Task failed") == len(errors)
{%- if cookiecutter.database == "postgresql" %}
    assert all(word in printed for word in ("22000", "22P02", "23505", "pk_users"))
{%- else %}
    assert all(word in printed for word in ("SQLITE_ERROR", "SQLITE_CONSTRAINT_"))
{%- endif %}
    assert SECRET not in printed
    assert member.email not in printed
    assert str(member.id) not in printed


@pytest.mark.parametrize("log_format", ["auto", "console"])
@pytest.mark.parametrize(
    "settings", [{"environment": "local"}, {"environment": "test", "debug": True}]
)
def test_terminal_gets_lines_for_people(
    monkeypatch: pytest.MonkeyPatch, new_app: NewApp, log_format: str, settings: dict[str, object]
) -> None:
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    new_app(log_format=log_format, **settings)

    structlog.stdlib.get_logger("test").error("failed", exc_info=LookupError("no"))

    assert "failed" in terminal.getvalue()
    assert "LookupError: no" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
