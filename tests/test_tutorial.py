"""The tutorial: its commands and files work to the letter, and print what it says."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Render
from harness import clean_environ, pythons, quick_coverage, uv
from questions import TEMPLATE
from walkthrough import Reader, reader

PAGE = (TEMPLATE / "docs" / "tutorial.md").read_text("utf-8")
BUILD, REST = PAGE.split("\n## 9. ")
CHECK, DEPLOY = REST.split("\n## 10. ")
DOCKER = shutil.which("docker") or "docker"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tutorial")]


@pytest.fixture(scope="module")
def member(render: Render) -> Iterator[Reader]:
    """A reader who has followed the tutorial until the service is complete."""
    project = render(project_name="Readers", use_worker=True)
    [*_, python] = pythons().values()
    env = clean_environ(project) | {"UV_PYTHON": python}
    env["PATH"] = f"{Path(uv()).parent}:{env['PATH']}"
    if python != sys.executable:
        env["COVERAGE_RCFILE"] = str(quick_coverage(project))
    del env["TEMPLATE_SKIP"]
    with tempfile.TemporaryDirectory() as temporary:
        # As root, PostgreSQL runs as another user, which needs access to its programs in .venv.
        Path(temporary).chmod(0o755)
        with reader(Path(temporary), env) as one:
            one.follow(BUILD)
            one.stop_server()
            yield one


def test_tutorial_ends_with_a_service_that_passes_its_checks(member: Reader) -> None:
    member.follow(CHECK)


@pytest.mark.thorough
@pytest.mark.usefixtures("engine")
def test_service_of_the_tutorial_is_deployed_with_compose(member: Reader) -> None:
    try:
        member.follow(DEPLOY)
    finally:
        for command in (
            ["compose", "--project-name", "readers", "down", "--volumes", "--timeout", "1"],
            ["rmi", "--force", "readers"],
        ):
            subprocess.run([DOCKER, *command], check=False)
