"""The first changes of a team: remove the sample, add a column to users."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Render
from harness import Application, resource_command
from questions import MIN_AND_MAX, Answers, label, min_max_configurations
from rendering import read

SAMPLE = re.compile(r"\bitems?\b|item_|\bItem|\bseed\b|\bTag\b")
# Members of pages, dictionaries, a class of CSS, and what Alembic calls a part of a migration.
OTHER_ITEMS = re.compile(
    r"\bitems: (list|Sequence)\[|\[\"items\"\]|NoteList\(items=|\.items\(\)|align-items-center"
    r"|render_item|\bitem: Any|isinstance\(item,|item\.impl"
)


@pytest.fixture
def remove_sample(
    make_application: Callable[[Answers], Application], tmp_path: Path
) -> Callable[..., Application]:
    """Return a function that removes the sample from a copy of an application."""

    def remove_sample(answers: Answers, *options: str) -> Application:
        original = make_application(answers)
        folder = tmp_path / original.folder.name
        # Other tests of the application leave caches and data of coverage.
        caches = shutil.ignore_patterns("__pycache__", ".*cache", ".coverage*", ".hypothesis")
        shutil.copytree(original.folder, folder, ignore=caches)
        app = replace(original, folder=folder, env={**original.env, "PYTHONPATH": "src"})
        done = resource_command(app.settings(), "remove", folder, "items", "--no-check", *options)
        assert done.returncode == 0, done.stdout
        return app

    return remove_sample


@pytest.mark.parametrize("answers", min_max_configurations(), ids=label)
def test_no_trace_of_the_sample_is_left(
    answers: Answers, remove_sample: Callable[..., Application]
) -> None:
    app = remove_sample(answers, "--rewrite-migrations")

    traces = [
        f"{path}: {line}"
        for path, content in read(app.folder).items()
        if "__pycache__" not in path.parts
        for line in content.decode(errors="ignore").splitlines()
        if SAMPLE.search(line) and not OTHER_ITEMS.search(line)
    ]
    assert not traces
    for command in (("ruff", "format", "--check"), ("ruff", "check"), ("lint-imports",)):
        app.run(*command)
    settings = app.settings()
    app.run("alembic", "upgrade", "head", **settings)
    app.run("alembic", "check", **settings)


@pytest.mark.thorough
@pytest.mark.parametrize("answers", MIN_AND_MAX, ids=label)
def test_checks_pass_without_the_sample(
    answers: Answers, remove_sample: Callable[..., Application]
) -> None:
    app = remove_sample(answers)

    settings = app.settings()
    for command in ("upgrade head", "check", "downgrade -1", "upgrade head", "downgrade base"):
        app.run("alembic", *command.split(), **settings)
    app.run("poe", "--executor", "simple", "check")


@pytest.mark.parametrize("answers", min_max_configurations(), ids=label)
def test_new_column_of_users_needs_one_change_in_tests(answers: Answers, render: Render) -> None:
    tests = render(**answers) / "tests"
    for path in tests.rglob("*.py"):
        text = path.read_text("utf-8")
        assert len(re.findall(r"(?<!\w)User\(", text)) == (path == tests / "support.py"), path
        assert not re.findall(r"INSERT INTO users \(", text), path
        assert not re.findall(r'(USERS|/users"), json=\{"email"', text), path
