"""The how-to pages about code: their edits and commands work, and the project passes its checks."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import Render
from harness import CACHE, clean_environ, environ, uv
from questions import TEMPLATE, Answers
from walkthrough import reader

# The features that a page needs.
PAGES: dict[str, Answers] = {
    "add-a-field": {},
    "add-a-setting": {},
    "add-an-endpoint": {},
    "add-a-task": {"use_worker": True},
    "send-an-email": {"use_worker": True},
    "run-work-without-a-worker": {"database": "sqlite"},
    "add-a-metric-and-an-alert": {"use_prometheus": True},
    "make-a-hot-endpoint-faster": {"use_redis": True},
    "send-server-sent-events": {},
    "add-an-admin-view": {"use_admin": True},
}

CHECKS = "uv run poe lint\nuv run poe types"
# Pages that add packages.
PAGES_WITH_PACKAGES = ["upload-files-to-s3"]


def page(name: str) -> str:
    """Return the text of a page."""
    return (TEMPLATE / "docs" / "how-to" / f"{name}.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "answers"), PAGES.items(), ids=PAGES)
def test_page_works(
    name: str, answers: Answers, render: Render, environment: Path, tmp_path: Path
) -> None:
    project = shutil.copytree(render(**answers), tmp_path / "orders")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    env = environ(project, environment) | {
        "MYPY_CACHE_DIR": str(CACHE / f"types-{worker}"),
        "PYTEST_XDIST_AUTO_NUM_WORKERS": "0",
        "UV_NO_SYNC": "1",
        "UV_PROJECT_ENVIRONMENT": str(environment),
    }
    env["PATH"] += f"{os.pathsep}{Path(uv()).parent}"

    with reader(project, env) as one:
        one.follow(page(name))
        one.run(CHECKS)


@pytest.mark.thorough
@pytest.mark.parametrize("name", PAGES_WITH_PACKAGES)
def test_page_with_packages_works(name: str, render: Render) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        # As root, PostgreSQL runs as another user, which needs access to its programs in .venv.
        Path(temporary).chmod(0o755)
        project = shutil.copytree(render(), Path(temporary) / "orders")
        env = clean_environ(project) | {"UV_PYTHON": sys.executable}
        env["PATH"] += f"{os.pathsep}{Path(uv()).parent}"
        with reader(project, env) as one:
            one.follow(page(name))
            one.run(CHECKS)
