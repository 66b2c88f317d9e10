"""Rendering in the process of the tests: as the command line does it, but sooner.

Each template is compiled once, and the hooks need no interpreter of their own. A test compares the
bytes with those of the command line.
"""

import tempfile
from contextlib import chdir
from pathlib import Path
from types import CodeType
from typing import Any
from unittest import mock

from cookiecutter import hooks
from cookiecutter.environment import StrictEnvironment
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

from support import TEMPLATE, Files, read

_compile = StrictEnvironment.compile
_compiled: dict[tuple[Any, ...], CodeType] = {}


def render(folder: Path, **answers: Any) -> Path:
    """Render a project into a folder and return where it is; answers not given are the defaults.

    Raises:
        FailedHookException: the hook has refused an answer.
    """
    with (
        mock.patch.object(StrictEnvironment, "compile", _compile_once),
        mock.patch.object(hooks, "run_script", _run_here),
    ):
        project = cookiecutter(
            str(TEMPLATE), no_input=True, extra_context=answers, output_dir=str(folder)
        )
    return Path(project)


def rendered(**answers: Any) -> Files:
    """The files of a render that is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        return read(render(Path(folder), **answers))


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
