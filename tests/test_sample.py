"""The first changes of a team: remove the sample as the README explains, add a column to users."""

import ast
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Render
from harness import Application
from questions import Answers, label, min_max_configurations
from rendering import application, read

# The names of the sample in lines that also contain other names.
NAMES = re.compile(r"\bitems(\.\w+|_models)?\b, |(,| \+) items(\.\w+|_models)\b")
# No feature on one database, all on the other.
MIN_AND_MAX = [min_max_configurations("sqlite")[0], min_max_configurations("postgresql")[1]]


def steps(folder: Path) -> list[list[str]]:
    """Return the names in backticks in each step of the README's list."""
    readme = (folder / "README.md").read_text("utf-8")
    section = readme.partition("\n## Removing the sample\n")[2].partition("\n## ")[0]
    return [re.findall("`([^`]+)`", step) for step in re.split(r"\n\d\. ", section)[1:]]


def without_sample(text: str) -> str:
    """A file without the lines, and the parts of lines, that name the sample."""
    lines = [NAMES.sub("", line) for line in text.splitlines(keepends=True)]
    return "".join(line for line in lines if not re.search(r"\bitems(_models)?\b", line))


def functions(text: str) -> dict[str, ast.FunctionDef]:
    """The functions of a module by name."""
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def without_function(text: str, name: str) -> str:
    """A module without one of its functions."""
    lines, function = text.splitlines(keepends=True), functions(text)[name]
    begin = min([function.lineno, *(node.lineno for node in function.decorator_list)])
    return "".join(lines[: begin - 1] + lines[function.end_lineno :])


def without_tables(text: str, tables: list[str]) -> str:
    """A migration without the statements about these tables."""
    lines = text.splitlines(keepends=True)
    for function in functions(text).values():
        for statement in function.body:
            source = ast.get_source_segment(text, statement) or ""
            if any(f'"{table}"' in source for table in tables):
                lines[statement.lineno - 1 : statement.end_lineno] = [
                    "" for _ in source.splitlines()
                ]
    return "".join(lines)


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Change a file."""
    path.write_text(change(path.read_text("utf-8")), "utf-8")


def remove_sample(app: Application) -> None:
    """Do what the README says, but for the README itself."""
    deleted, named, seed, migration, _ = steps(app.folder)
    [package] = (app.folder / "src").iterdir()
    for name in deleted:
        path = app.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in (one for one in named if one.endswith((".py", ".toml"))):
        [path] = [one for one in (package / name, app.folder / name) if one.exists()]
        edit(path, without_sample)
    assert seed == ["seed", "cli.py", "pyproject.toml"]
    edit(package / "cli.py", lambda text: without_function(text, "seed"))
    edit(app.folder / "pyproject.toml", lambda text: re.sub(r"\nseed = .*", "", text))
    *tables, initial = migration[:4]
    [path] = app.folder.glob(initial)
    edit(path, lambda text: without_tables(text, tables))
    app.run("poe", "--executor", "simple", "format")


@pytest.mark.parametrize("answers", min_max_configurations(), ids=label)
def test_nothing_else_names_the_sample(answers: Answers, render: Render) -> None:
    folder = render(**answers)
    deleted, named, seed, *_ = steps(folder)
    listed = {*deleted, *named, *seed}

    for path, content in application(read(folder)).items():
        text = content.decode()
        if re.search(r"\bItem\b|/items\b|\bseed\b|\.items import|import items\b", text):
            assert any(f"/{path}".endswith(f"/{one}") for one in listed) or any(
                path.is_relative_to(one) for one in deleted
            ), path


@pytest.mark.thorough
@pytest.mark.parametrize("answers", MIN_AND_MAX, ids=label)
def test_project_passes_its_checks_without_the_sample(
    answers: Answers, make_application: Callable[[Answers], Application], tmp_path: Path
) -> None:
    original = make_application(answers)
    folder = Path(shutil.copytree(original.folder, tmp_path / original.folder.name))
    app = replace(original, folder=folder, env=original.env | {"PYTHONPATH": str(folder / "src")})

    remove_sample(app)

    settings = app.settings()
    app.run("alembic", "upgrade", "head", **settings)
    app.run("alembic", "check", **settings)
    app.run("poe", "--executor", "simple", "check")


@pytest.mark.parametrize("answers", min_max_configurations(), ids=label)
def test_new_column_of_users_needs_one_change_in_tests(answers: Answers, render: Render) -> None:
    for path in (render(**answers) / "tests").rglob("*.py"):
        text = path.read_text("utf-8")
        assert len(re.findall(r"(?<!\w)User\(", text)) == (path.name == "support.py"), path
        assert not re.findall(r"INSERT INTO users \(", text), path
        assert not re.findall(r'(USERS|/users"), json=\{"email"', text), path
