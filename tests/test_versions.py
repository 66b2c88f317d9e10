"""A project works with the oldest versions of its dependencies that it allows.

All other tests run with the newest versions, because nothing is locked.
"""

from pathlib import Path

import pytest

from conftest import Render
from harness import Application, environ, pythons, requirements, run, shared_environment, uv
from questions import Answers, label, min_max_configurations

# Newer versions of Python need newer versions of what is compiled for them.
OLDEST_PYTHON = "3.11"
MAX = [min_max_configurations(database)[1] for database in ("postgresql", "sqlite")]


def oldest(project: Path, folder: Path) -> list[str]:
    """Return the requirements of a project with the oldest versions that it allows."""
    lines = folder / "requirements.in"
    lines.write_text("\n".join(sorted(requirements(project))), "utf-8")
    options = ("--resolution", "lowest-direct", "--python-version", OLDEST_PYTHON)
    plain = ("--quiet", "--no-header", "--no-annotate")
    return run([uv(), "pip", "compile", *options, *plain, str(lines)], cwd=folder).splitlines()


@pytest.mark.thorough
def test_oldest_versions_of_every_application_resolve(
    configurations: list[Answers], render: Render, tmp_path: Path
) -> None:
    for answers in configurations:
        assert oldest(render(**answers), tmp_path), label(answers)


@pytest.mark.thorough
@pytest.mark.skipif(OLDEST_PYTHON not in pythons(), reason=f"there is no Python {OLDEST_PYTHON}")
@pytest.mark.parametrize("answers", MAX, ids=label)
def test_own_checks_pass_with_the_oldest_versions(
    answers: Answers, render: Render, tmp_path: Path
) -> None:
    project = render(**answers)
    environment = shared_environment(oldest(project, tmp_path), pythons()[OLDEST_PYTHON])
    application = Application(project, {}, environ(project, environment))

    for task in ("lint", "types"):
        application.run("poe", "--executor", "simple", task)
    application.run("pytest")
