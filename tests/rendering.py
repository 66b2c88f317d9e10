"""Render the template: quickly in the process of the tests, or by the command line of a tool.

In the process of the tests, each file of the template is compiled once and hooks need no other
interpreter. Tests compare the result with that of the command line and of cruft.
"""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType
from typing import Any
from unittest import mock

from cookiecutter import generate, hooks
from cookiecutter.environment import StrictEnvironment
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config

from questions import PROJECT, QUESTIONS, TEMPLATE

APPLICATION_PATHS = ("src", "tests", "migrations", ".env.example", "dev.py")

# A folder in memory for temporary files, or None if there is none with enough room.
_SHARED = "/dev/shm"  # noqa: S108 - each use makes a folder that is only its own
_ROOMY = os.access(_SHARED, os.W_OK) and shutil.disk_usage(_SHARED).free > 4 * 2**30
RAM_DISK = _SHARED if _ROOMY else None
Files = dict[PurePosixPath, bytes]


def read(project: Path) -> Files:
    """Return every file of a render, and empty folders, without .git and the lock file."""
    files: Files = {}
    for place, folders, names in os.walk(project):
        folder = PurePosixPath(Path(place).relative_to(project).as_posix())
        if ".git" in folders:
            folders.remove(".git")
        if not folders and not names:
            files[folder] = b""
        files |= {folder / one: Path(place, one).read_bytes() for one in names if one != "uv.lock"}
    return files


def without_secrets(project: Path) -> Files:
    """Return every file of a render, with an empty `.env`, because its secrets are random."""
    return read(project) | {PurePosixPath(".env"): b""}


def application(files: Files) -> Files:
    """Return the files of the application, with its tests, migrations and settings."""
    return {path: data for path, data in files.items() if path.parts[0] in APPLICATION_PATHS}


_compile = StrictEnvironment.compile
_compiled: dict[tuple[Any, ...], CodeType] = {}
_is_binary = functools.cache(generate.is_binary)


def render(folder: Path, template: Path = TEMPLATE, **answers: Any) -> Path:
    """Render a project into a folder and return its path; other answers are the defaults.

    Raises:
        FailedHookException: the hook rejected an answer.
    """
    with (
        mock.patch.object(StrictEnvironment, "compile", _compile_once),
        mock.patch.object(generate, "is_binary", _is_binary),
        mock.patch.object(hooks, "run_script", _run_here),
    ):
        project = cookiecutter(
            str(template), no_input=True, extra_context=answers, output_dir=str(folder)
        )
    return Path(project)


def render_privately(folder: Path, **answers: Any) -> Path:
    """Render with umask 077 from a copy of the template with private modes."""
    template = folder / "template"
    before = os.umask(0o077)
    try:
        template.mkdir()
        shutil.copyfile(TEMPLATE / "cookiecutter.json", template / "cookiecutter.json")
        for source in (TEMPLATE / "hooks", PROJECT):
            shutil.copytree(source, template / source.name)
        for path in template.rglob("*"):
            path.chmod(path.stat().st_mode & 0o700)
        return render(folder, template, **answers)
    finally:
        os.umask(before)


def rendered(**answers: Any) -> Files:
    """Render and return the files; delete the project."""
    try:
        return read(render(Path(_scratch().name), **answers))
    finally:
        for project in Path(_scratch().name).iterdir():
            shutil.rmtree(project)


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Return one folder for all renders, because its name is part of compiled templates."""
    return tempfile.TemporaryDirectory(dir=RAM_DISK)


def _compile_once(environment: StrictEnvironment, source: str, *names: Any) -> CodeType:
    key = (source, *names)
    if key not in _compiled:
        _compiled[key] = _compile(environment, source, *names)
    return _compiled[key]


def _run_here(script: str, cwd: Path | str = ".") -> None:
    with chdir(cwd):
        try:
            exec(compile(Path(script).read_bytes(), script, "exec"), {"__name__": "__main__"})  # noqa: S102
        except SystemExit as end:
            if end.code:
                raise FailedHookException(str(end.code)) from None
        finally:
            Path(script).unlink()  # cookiecutter does not delete it


def default_answers(**answers: str) -> dict[str, Any]:
    """Return the whole context of a render with these answers and the defaults for the rest."""
    context = generate.generate_context(str(TEMPLATE / "cookiecutter.json"), extra_context=answers)
    derived: dict[str, Any] = prompt_for_config(context, no_input=True)
    return derived


def load_hook(name: str) -> ModuleType:
    """Render a hook with the default answers and import it without running it."""
    environment = StrictEnvironment(context={"cookiecutter": {}})
    source = (TEMPLATE / "hooks" / f"{name}.py").read_text("utf-8")
    path = Path(_scratch().name, f"{name}.py")
    path.write_text(environment.from_string(source).render(cookiecutter=default_answers()), "utf-8")
    try:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        path.unlink()
    return module


def command_line(
    *arguments: str | Path, tool: str = "cookiecutter", python: str = sys.executable, **env: Any
) -> subprocess.CompletedProcess[str]:
    """Run `cookiecutter` or another tool by its command line."""
    return subprocess.run(
        [python, "-m", tool, *arguments],
        env={**os.environ, **{name: str(value) for name, value in env.items()}},
        capture_output=True,
        check=False,
        text=True,
    )


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return its stdout."""
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True).stdout


def commit(folder: Path) -> None:
    """Commit all files of a folder, in a new repository if it has none."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Change")


def hook_messages(output: str) -> list[str]:
    """Return the lines of the hook in the output of cookiecutter."""
    return [line for line in output.splitlines() if line.startswith(tuple(QUESTIONS))]
