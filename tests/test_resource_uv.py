"""`poe resource` in projects with their own environment: uv fetches its command once."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from harness import clean_environ, run, uv
from questions import PROJECT, TEMPLATE
from rendering import command_line, commit, git

OFFLINE = dict.fromkeys(("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"), "http://127.0.0.1:9")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The template as a repository that pins its own generator."""
    folder = tmp_path / "template"
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for source in (TEMPLATE / "hooks", TEMPLATE / "resource", PROJECT):
        shutil.copytree(source, folder / source.name, ignore=ignored)
    commit(folder)
    pin = git(folder, "rev-parse", "HEAD").strip()
    context = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))
    context["_resource"] = f"git+file://{folder}@{pin}#subdirectory=resource"
    (folder / "cookiecutter.json").write_text(json.dumps(context), "utf-8")
    commit(folder)
    return folder


def environ(project: Path) -> dict[str, str]:
    """Return the environment variables of a terminal with uv on PATH."""
    env = clean_environ(project)
    path = f"{env['PATH']}{os.pathsep}{Path(uv()).parent}"
    return env | {"PATH": path, "UV_PYTHON": sys.executable}


@pytest.mark.thorough
@pytest.mark.parametrize("tool", ["cookiecutter", "cruft"])
def test_generator_needs_no_network_after_its_first_use(
    template: Path, tmp_path: Path, tool: str
) -> None:
    create = ("create",) if tool == "cruft" else ()
    answers = ("--extra-context", '{"database": "sqlite"}') if create else ("database=sqlite",)
    options = ("--no-input", "--output-dir", tmp_path / "my projects")
    command_line(
        *create, template, *options, *answers, tool=tool, TEMPLATE_SKIP=""
    ).check_returncode()
    project = tmp_path / "my projects" / "orders"
    if create:
        commit(project)  # .cruft.json
    env = environ(project)

    def resource(*arguments: str, **settings: str) -> str:
        command = [uv(), "run", "poe", "resource", *arguments, "--no-check"]
        return run(command, cwd=project, env=env | settings)

    first = resource("customers", "name:str")
    commit(project)
    shutil.rmtree(template)
    second = resource("invoices", "customer:ref:customers", "due:date?", **OFFLINE)

    assert "_add_customers.py" in first
    assert "_add_invoices.py" in second
    commit(project)
    remove = [uv(), "run", "poe", "remove-resource", "invoices", "--no-check"]
    run(remove, cwd=project, env=env | OFFLINE)
    assert not (project / "src" / "orders" / "invoices").exists()
    run([uv(), "run", "--offline", "poe", "lint"], cwd=project, env=env)


@pytest.mark.thorough
def test_changed_copy_of_the_generator_is_noticed(template: Path, tmp_path: Path) -> None:
    command_line(
        template, "--no-input", "--output-dir", tmp_path, TEMPLATE_SKIP=""
    ).check_returncode()
    project = tmp_path / "orders"
    env = environ(project)
    generator = template.rename(tmp_path / "my generator") / "resource"
    env["RESOURCE_TEMPLATE"] = str(generator)
    command = [uv(), "run", "poe", "resource", "books", "title:str", "--no-check", "--no-migration"]
    run(command, cwd=project, env=env)
    [models] = generator.rglob("models.py.j2")
    models.write_text(f"{models.read_text('utf-8')}\n\nCHANGED = True\n", "utf-8")
    commit(project)

    run([word.replace("books", "shops") for word in command], cwd=project, env=env)

    assert "CHANGED = True" in (project / "src/orders/shops/models.py").read_text("utf-8")
