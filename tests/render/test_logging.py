"""Log lines: formats, encodings and exceptions."""

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
from support import (
    NOWHERE,
    Account,
    NewApp,
    NewDatabase,
    accepts,
    environment_of,
    free_port,
    serve,
    settings_for,
)

ReadLog = Callable[[], list[dict[str, Any]]]
IS_SQLITE = NOWHERE.startswith("sqlite")
SECRET = "hunter2"


@pytest.fixture
def read_log(capsys: pytest.CaptureFixture[str]) -> ReadLog:
    """Return a function that returns the log lines of the test's application."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", ["uvicorn.error", "sqlalchemy.pool", "other.library"])
def test_libraries_log_in_the_same_format(new_app: NewApp, read_log: ReadLog, name: str) -> None:
    new_app(log_level="WARNING")

    logging.getLogger(name).warning("pool of %d", 10, extra={"color_message": "pool"})
    logging.getLogger(name).info("below the level")
    logging.getLogger("uvicorn.access").warning("replaced by our own")

    [line] = read_log()
    assert (line["message"], line["log.logger"]) == ("pool of 10", name)
    assert line["log.level"] == "warning"
    assert "labels" not in line


@pytest.mark.parametrize("source", ["current", "tuple", "exception"])
def test_error_has_a_stack_trace_without_local_variables(
    new_app: NewApp, read_log: ReadLog, source: str
) -> None:
    def fail(password: str) -> None:
        raise LookupError(len(password))

    new_app()
    try:
        fail(SECRET)
    except LookupError as error:
        exc_info = {"current": True, "tuple": sys.exc_info(), "exception": error}[source]
        structlog.stdlib.get_logger("test").error("failed", exc_info=exc_info, items=["a"])

    [line] = read_log()
    assert line["error.type"] == "LookupError"
    assert "raise LookupError(len(password))" in line["error.stack_trace"]
    assert line["labels"] == {"items": ["a"]}
    assert SECRET not in json.dumps(line)


@pytest.mark.parametrize("error", [ValueError(), ValueError(SECRET)])
def test_message_of_an_error_is_its_first_line_without_the_text(
    new_app: NewApp, read_log: ReadLog, error: ValueError
) -> None:
    new_app()

    logging.getLogger("other.library").error("failed: %s\nsent: hunter2", error, exc_info=error)

    [line] = read_log()
    assert line["message"].startswith("failed: ")
    assert SECRET not in json.dumps(line)


@pytest.mark.parametrize(("encoding", "log_format"), [("cp1252", "json"), ("ascii", "console")])
async def test_every_character_is_logged_in_every_encoding(
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
async def test_failing_output_does_not_affect_requests(
    new_database: NewDatabase, redirection: str
) -> None:
    async with new_database() as url:
        settings = settings_for(url, log_level="INFO")
        command = ["sh", "-c", f'exec "$0" -m orders.cli run {redirection}', sys.executable]
        with free_port() as port:
            environment = environment_of(settings.model_copy(update={"port": port}))
            process = await asyncio.create_subprocess_exec(*command, env=environment)
            while not accepts(port):
                assert process.returncode is None
                await asyncio.sleep(0.01)
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                statuses = [(await client.get("/unknown")).status_code for _ in "ab"]
            process.terminate()
            await process.wait()

    assert statuses == [404, 404]


async def driver_error(session: AsyncSession, statement: Executable, **values: str) -> Exception:
    """Return the error of a statement."""
    with pytest.raises(DBAPIError) as raised:
        async with session.begin_nested():
            await session.execute(statement, values)
    return raised.value


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_messages_of_exceptions_are_not_logged(
    new_app: NewApp,
    session: AsyncSession,
    member: Account,
    capsys: pytest.CaptureFixture[str],
    log_format: str,
) -> None:
    new_app(log_format=log_format)
    copy = "INSERT INTO users SELECT * FROM users WHERE email = :email"
    if IS_SQLITE:
        statements = "SELECT :text FROM unknown", "SELECT :text, json(:text)"
        codes = ["SQLITE_ERROR", "SQLITE_CONSTRAINT_"]
    else:
        statements = "SELECT CAST(:text AS integer)", "SELECT CAST(CAST(:text AS text) AS integer)"
        codes = ["22000", "22P02", "23505", "pk_users"]
    errors = [await driver_error(session, text(sql), text=SECRET) for sql in statements]
    errors.append(await driver_error(session, text(copy), email=member.email))
    with pytest.raises(ValueError, match=SECRET) as invalid:
        TypeAdapter(int).validate_python(SECRET)
    errors += [invalid.value, KeyError(SECRET), ExceptionGroup("all", [LookupError(SECRET)])]

    for error in errors:
        error.__cause__ = ValueError(SECRET)
        error.add_note(SECRET)
        structlog.stdlib.get_logger("test").warning("failed", error=error)
        logging.getLogger("other.library").error("cannot: %s", error, exc_info=error)
        asyncio.get_running_loop().call_exception_handler(
            {"message": "Task failed", "exception": error, "future": f"<Task {error!r}>"}
        )

    output = capsys.readouterr().out
    for error in errors:
        assert output.count(f": {type(error).__qualname__}") >= 1
    assert output.count("Task failed") == len(errors)
    assert all(code in output for code in codes)
    assert SECRET not in output
    assert member.email not in output
    assert str(member.id) not in output


@pytest.mark.parametrize("log_format", ["auto", "console"])
@pytest.mark.parametrize(
    "settings", [{"environment": "local"}, {"environment": "test", "debug": True}]
)
def test_terminal_gets_readable_lines(
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
