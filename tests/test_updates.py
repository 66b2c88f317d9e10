"""cruft brings later versions of the template, and later answers, into a project."""

import json
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from textwrap import dedent, indent
from typing import Any

import pytest

from conftest import Render
from harness import (
    API,
    Application,
    Server,
    environ,
    log_in,
    run,
    serve,
    wait_for,
)
from questions import PROJECT, QUESTIONS, TEMPLATE, Answers, choices, label
from rendering import Files, command_line, commit, git, hook_messages, without_secrets

RECORD = PurePosixPath(".cruft.json")
EVERYTHING = {name: True for name, answer in QUESTIONS.items() if answer is False}
# The last version whose accounts could not be recovered, and whose routes required no scope.
EARLIER = "ce66545c3471ccc6d0c329cf184e3ddb40d34115"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The template as a git repository, which cruft needs."""
    folder = tmp_path / "template"
    folder.mkdir()
    shutil.copy(TEMPLATE / "cookiecutter.json", folder)
    for source in (TEMPLATE / "hooks", PROJECT):
        shutil.copytree(
            source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
        )
    git(folder, "init", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--message", "Present")
    return folder


@pytest.fixture
def older(repository: Path) -> Path:
    """The repository with an earlier version, tagged v1, with other files and questions."""
    project = repository / PROJECT.name
    package = project / "src" / "{{cookiecutter.package_name}}"
    context = json.loads((repository / "cookiecutter.json").read_text("utf-8"))
    context["use_graphql"] = True
    context["cloud"].remove("railway")
    del context["_features"]["railway"]
    (repository / "cookiecutter.json").write_text(json.dumps(context))
    shutil.rmtree(project / "deploy" / "railway")
    (project / "railway.json").unlink()
    (package / "health.py").unlink()
    (package / "docs.py").write_text("# older\n")
    (package / "graphql.py").write_text("# gone\n")
    readme = (project / "README.md").read_text("utf-8")
    (project / "README.md").write_text(readme.replace("## Start", "## Begin"), "utf-8")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "Older")
    git(repository, "tag", "v1")
    git(repository, "revert", "--no-edit", "HEAD")
    return repository


@pytest.fixture
def earlier(repository: Path) -> Path:
    """The repository with the version EARLIER, tagged v0, before the present one."""
    archive = repository.with_suffix(".tar")
    command = ["git", "archive", f"--output={archive}", EARLIER]
    if subprocess.run(command, cwd=TEMPLATE, check=False, capture_output=True).returncode:
        pytest.skip(f"this clone of the template has no commit {EARLIER}")
    git(repository, "rm", "-r", "--quiet", ".")
    shutil.unpack_archive(archive, repository, filter="data")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "Before")
    git(repository, "tag", "v0")
    git(repository, "revert", "--no-edit", "HEAD")
    return repository


def cruft(*arguments: str | Path) -> str:
    """Run cruft with hooks that skip the lock, and return its stdout."""
    done = command_line(*arguments, tool="cruft", TEMPLATE_SKIP="lock")
    assert done.returncode == 0, done.stderr
    return done.stdout


def create(template: Path, folder: Path, *options: str, **answers: Any) -> Path:
    """Create a project with its record committed, as the next steps say."""
    given = ("--no-input", "--extra-context", json.dumps(answers), "--output-dir", folder)
    cruft("create", template, *given, *options)
    commit(folder / "orders")
    return folder / "orders"


def update(project: Path, **answers: Any) -> None:
    """Update a project to the present template, and change these answers."""
    given = ("--variables-to-update", json.dumps(answers)) if answers else ()
    cruft("update", "--skip-apply-ask", "--project-dir", project, *given)


def contents(project: Path) -> Files:
    """Return the files of a project without .cruft.json."""
    return {path: data for path, data in without_secrets(project).items() if path != RECORD}


def test_cruft_creates_and_updates_a_project(
    render: Render, repository: Path, tmp_path: Path
) -> None:
    said = cruft("create", repository, "--no-input", "--output-dir", tmp_path)
    project = tmp_path / "orders"
    assert "git add .cruft.json && git commit -m 'Add .cruft.json'" in said
    assert contents(project) == without_secrets(render())
    secret = (project / ".env").read_bytes()
    commit(project)
    assert cruft("diff", "--project-dir", project) == ""

    (repository / PROJECT.name / ".editorconfig").open("a").write("# newer\n")
    git(repository, "commit", "--all", "--message", "Second")
    update(project)

    changed = [line.split()[-1] for line in git(project, "status", "--porcelain").splitlines()]
    assert changed == [".cruft.json", ".editorconfig"]
    assert (project / ".env").read_bytes() == secret


def scripts(project: Path) -> list[Path]:
    """Return the executable files."""
    files = (project / path for path in contents(project))
    return sorted(path.relative_to(project) for path in files if path.stat().st_mode & 0o111)


@pytest.mark.thorough
def test_update_adds_changes_and_keeps_own_files(
    render: Render, older: Path, environment: Path, tmp_path: Path
) -> None:
    project = create(older, tmp_path, "--checkout", "v1", database="sqlite")
    assert not (project / "src" / "orders" / "health.py").exists()
    secret = (project / ".env").read_bytes()
    with (project / "README.md").open("a", encoding="utf-8") as readme:
        readme.write("\n## Ours\n\nA word to each other.\n")
    (project / "src" / "orders" / "invoices.py").write_text('"""Invoices."""\n', "utf-8")
    (project / "AGENTS.md").unlink()
    commit(project)

    update(project)

    expected = without_secrets(render(database="sqlite"))
    expected[PurePosixPath("README.md")] += b"\n## Ours\n\nA word to each other.\n"
    expected[PurePosixPath("src/orders/invoices.py")] = b'"""Invoices."""\n'
    del expected[PurePosixPath("AGENTS.md")]
    assert contents(project) == expected
    assert (project / ".env").read_bytes() == secret
    application = Application(project, {}, environ(project, environment))
    for task in ("lint", "test"):
        application.run("poe", "--executor", "simple", task)


@pytest.mark.thorough
def test_project_made_with_cookiecutter_is_linked_and_updated(
    render: Render, older: Path, tmp_path: Path
) -> None:
    git(older, "checkout", "v1")
    given = ("--no-input", "--output-dir", tmp_path, "database=sqlite")
    done = command_line(older, *given, TEMPLATE_SKIP="lock")
    assert done.returncode == 0, done.stderr
    git(older, "checkout", "main")
    project = tmp_path / "orders"

    answers = ("--extra-context", '{"database": "sqlite"}')
    cruft("link", older, "--checkout", "v1", "--no-input", *answers, "--project-dir", project)
    commit(project)
    assert cruft("diff", "--project-dir", project) == ""
    update(project)

    assert contents(project) == without_secrets(render(database="sqlite"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "answers",
    [
        {**EVERYTHING, "cloud": "aws-ecs", "ci": "gitlab"},
        {"database": "sqlite", "use_admin": True, "ci": "none"},
    ],
    ids=label,
)
def test_feature_is_added_and_removed_later(
    answers: Answers, render: Render, repository: Path, tmp_path: Path
) -> None:
    project = create(repository, tmp_path)

    for later in (answers, {name: choices(name)[0] for name in answers}):
        update(project, **later)

        fresh = render(**later)
        assert contents(project) == contents(fresh)
        assert scripts(project) == scripts(fresh)
        commit(project)


def test_cruft_prints_the_problem_of_an_answer(repository: Path, tmp_path: Path) -> None:
    extra = '{"description": null}'

    done = command_line(
        *("create", repository, "--no-input", "--extra-context", extra, "--output-dir", tmp_path),
        tool="cruft",
    )

    assert hook_messages(done.stderr) == ["description is None: answer with text."]
    assert not (tmp_path / "orders").exists()


def test_cruft_in_a_temporary_folder_names_skipped_steps(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "tmp12345678"
    folder.mkdir()

    done = command_line("create", repository, "--no-input", "--output-dir", folder, tool="cruft")

    assert done.returncode == 0, done.stderr
    assert "In a temporary folder, as for cruft update: no .env, no lock.\n" in done.stderr
    assert not (folder / "orders" / ".env").exists()


def test_impossible_later_answer_changes_nothing(repository: Path, tmp_path: Path) -> None:
    project = create(repository, tmp_path)

    given = ("--variables-to-update", '{"database": "sqlite", "use_worker": true}')
    done = command_line(
        "update", "--project-dir", project, "--skip-apply-ask", *given, tool="cruft"
    )

    assert done.returncode == 1
    [sentence] = hook_messages(done.stderr)
    assert sentence.startswith("use_worker is on with database=sqlite")
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "answers",
    [{}, {"database": "sqlite"}, {"use_redis": True, "use_worker": True, "use_admin": True}],
    ids=label,
)
def test_accounts_logins_and_items_survive_updates(
    answers: Answers,
    earlier: Path,
    environment: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    project = create(earlier, tmp_path, "--checkout", "v0", **answers)
    env = environ(
        project,
        environment,
        DATABASE_URL=f"sqlite:///{tmp_path / 'app.db'}",
        ENVIRONMENT="local",
        SECRET_KEY="0123456789-abcdefghijklmnopqrstuvwxyz",
    )
    if answers.get("database") != "sqlite":
        env["DATABASE_URL"] = request.getfixturevalue("postgres").database()
    if "use_redis" in answers:
        env["REDIS_URL"] = request.getfixturevalue("redis").database()
    application, log = Application(project, {}, env), tmp_path / "log"
    account = {"email": "ada@example.com", "password": "analytical-engine-1843"}

    application.run("alembic", "upgrade", "head")
    with serve(project, env, log) as service, service.client() as client:
        client.post(f"{API}/users", json=account).raise_for_status()
        tokens = log_in(client, account).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        item = client.post(f"{API}/items", json={"title": "Tea"}, headers=headers).json()
    update(project)
    commit(project)
    application.run("alembic", "upgrade", "head")

    assert "No new upgrade operations" in application.run("alembic", "check")
    with serve(project, env, log) as service, service.client() as client:
        refreshed = client.post(
            f"{API}/auth/token",
            data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        )
        for token in (tokens, refreshed.json(), log_in(client, account).json()):
            headers = {"Authorization": f"Bearer {token['access_token']}"}
            me = client.get(f"{API}/users/me", headers=headers).json()
            assert me["email"] == account["email"]
            assert (me["email_verified_at"], me["mfa_enabled"]) == (None, False)
            assert client.get(f"{API}/items", headers=headers).json()["items"] == [item]
            changed = client.patch(f"{API}/items/{item['id']}", json={}, headers=headers)
            assert changed.status_code == 200
            item = changed.json()


# Jobs of projects that were rendered with taskiq

TASKIQ_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "a41f6b0c92d7"
down_revision = "ce0a23dcbf68"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("task", sa.String(100), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
"""
# The service had the task send_welcome; send_verification stands for a task of the team.
TASKIQ_JOBS = """
    INSERT INTO jobs (id, task, arguments, state, request_id, user_id, created_at)
    SELECT gen_random_uuid(), task, json_build_object('user_id', gen_random_uuid()),
        state, 'the-request', CASE state WHEN 'queued' THEN gen_random_uuid() END, now()
    FROM unnest(ARRAY['send_welcome', 'send_verification']) AS task,
        unnest(ARRAY['queued', 'running', 'done', 'failed']) AS state
"""
RUN_SQL = """
import asyncio, asyncpg, json, os, sys
async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    rows = await connection.fetch(sys.argv[1])
    print(json.dumps([list(row.values()) for row in rows], default=str))
asyncio.run(main())
"""


def test_documented_migration_moves_the_jobs_of_taskiq(
    render: Render, environment: Path, postgres: Server
) -> None:
    project = render(use_worker=True)
    versions = project / "migrations" / "versions"
    (versions / "a41f6b0c92d7_jobs.py").write_text(TASKIQ_MIGRATION, "utf-8")
    page = (TEMPLATE / "docs" / "how-to" / "move-jobs-from-taskiq.md").read_text("utf-8")
    [move] = re.findall(r"^ {4}```python\n(.*?)^ {4}```$", page, re.DOTALL | re.MULTILINE)
    [migration] = versions.glob("*_b7d20e5f4c18_jobs.py")
    text = migration.read_text("utf-8").replace('"ce0a23dcbf68"', '"a41f6b0c92d7"')
    statement = "        op.execute(statement)\n"
    text = text.replace(statement, f"{statement}{indent(dedent(move), '    ')}", 1)
    migration.write_text(text, "utf-8")
    settings = environ(project, environment, DATABASE_URL=postgres.database(), SMTP_URL="")
    settings["ENVIRONMENT"] = "local"

    def python(*arguments: str) -> str:
        return run([str(environment / "bin" / "python"), *arguments], cwd=project, env=settings)

    python("-m", "alembic", "upgrade", "a41f6b0c92d7")
    python("-c", RUN_SQL, TASKIQ_JOBS)
    python("-m", "alembic", "upgrade", "head")
    moved = "SELECT entrypoint, status, headers ->> 'request_id' FROM pgqueuer"
    jobs = json.loads(python("-c", RUN_SQL, moved))
    command = [str(environment / "bin" / "python"), "-m", "orders.cli", "worker"]
    done = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
    with subprocess.Popen(command, cwd=project, env=settings) as worker:

        def are_done() -> bool:
            assert worker.poll() is None
            return bool(json.loads(python("-c", RUN_SQL, done)) == [[2]])

        try:
            wait_for(are_done)
        finally:
            worker.terminate()

    assert jobs == [["send_verification", "queued", "the-request"]] * 2
    assert json.loads(python("-c", RUN_SQL, "SELECT to_regclass('jobs')")) == [[None]]
