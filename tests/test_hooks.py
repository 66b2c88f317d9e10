"""The hooks reject invalid answers and finish a project."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

from conftest import Render
from harness import uv
from questions import FEATURES, PROJECT, QUESTIONS, TEMPLATE, Answers, label, product
from render_checks import is_on
from rendering import command_line, git, hook_messages, render_privately, without_secrets

WORD = "is empty: write at least one word."
SLUG = ": use lowercase letters and digits, with single hyphens between."
PACKAGE = ": use lowercase letters, digits and _, a letter first."
WORKER = "on with database=sqlite, but jobs are queued in PostgreSQL: take postgresql, or no here."
EMAIL = ": write an address such as 'team@example.com'."
NO = "is 'no': leave it out, since only cookiecutter 2.7.1 and later read that word."
REJECTED = [
    ("project_name", "", WORD),
    ("project_name", " \t", WORD),
    ("project_name", "A\nB", r"'A\nB': leave out the invisible character U+000A."),
    ("project_name", "A\u202eB", r"'A\u202eB': leave out the invisible character U+202E."),
    ("project_name", " A", ": leave out the space at its beginning or end."),
    ("project_name", 'A "B"', """'A "B"': leave out " which would break files."""),
    ("project_name", '"""', ': leave out " which would break files.'),
    ("project_name", "`A` for $1", ": leave out ` $ which would break files."),
    ("project_name", "a" * 61, " with 61 characters: shorten it to 60."),
    ("description", "", WORD),
    ("description", "<b>", ": leave out < > which would break files."),
    ("description", "a" * 121, " with 121 characters: shorten it to 120."),
    ("author_name", "", WORD),
    ("author_name", "A\\B", ": leave out \\ which would break files."),
    ("author_name", "a" * 81, f"'{'a' * 75}...' with 81 characters: shorten it to 80."),
    ("use_worker", True, WORKER),
    ("use_kubernetes", True, "which replicas cannot share: take postgresql, or no here."),
    ("cloud", "heroku", "whose file is lost there: take postgresql, or none."),
    ("project_slug", "Orders", SLUG),
    ("project_slug", "my_orders", SLUG),
    ("project_slug", "-orders", SLUG),
    ("project_slug", "orders-", SLUG),
    ("project_slug", "my--orders", SLUG),
    ("project_slug", "órdenes", SLUG),
    ("project_slug", "my.orders", SLUG),
    ("project_slug", "../orders", SLUG),
    ("project_slug", "a" * 51, " with 51 characters: shorten it to 50."),
    ("project_slug", "pip-audit", ", which the project installs or has: try 'pip-audit-service'."),
    ("package_name", "my-orders", PACKAGE),
    ("package_name", "3d", PACKAGE),
    ("package_name", "_orders", PACKAGE),
    ("package_name", "Orders", PACKAGE),
    ("package_name", "órdenes", PACKAGE),
    ("package_name", "", PACKAGE),
    ("package_name", "a" * 55, " with 55 characters: shorten it to 54."),
    ("package_name", "import", ", a keyword of Python: try 'import_service'."),
    ("package_name", "match", ", a keyword of Python: try 'match_service'."),
    ("package_name", "queue", ", a module of Python's own library: try 'queue_service'."),
    ("package_name", "compression", "a module of Python's own library: try 'compression_service'."),
    ("package_name", "profiling", "a module of Python's own library: try 'profiling_service'."),
    ("package_name", "distutils", "a module of Python's own library: try 'distutils_service'."),
    ("package_name", "conftest", ", which the project installs or has: try 'conftest_service'."),
    ("package_name", "urllib3", ", which the project installs or has: try 'urllib3_service'."),
    ("package_name", "jwt", ", which the project installs or has: try 'jwt_service'."),
    ("package_name", "tests", ", which the project installs or has: try 'tests_service'."),
    ("author_email", "", EMAIL),
    ("author_email", "ada", EMAIL),
    ("author_email", "ada@", EMAIL),
    ("author_email", "ada@localhost", EMAIL),
    ("author_email", "a da@example.com", EMAIL),
    ("author_email", "ada@-x.com", EMAIL),
    ("author_email", "ada@x.-com", EMAIL),
    ("author_email", "-x@example.com", EMAIL),
    ("author_email", "ada@é.fr", EMAIL),
    ("author_email", f"{'a' * 250}@b.cd", EMAIL),
    ("author_email", "ada@corp.local", "but .local is reserved and receives no email" + EMAIL),
    ("author_email", "ada@shop.test", "but .test is reserved and receives no email" + EMAIL),
    ("author_email", "ada@x.LOCALHOST", "but .localhost is reserved and receives no email" + EMAIL),
    ("author_email", "ada@10.0.0.1", EMAIL),
    ("author_email", "ada@ab--c.com", EMAIL),
    ("author_email", f"ada@{'a' * 64}.com", EMAIL),
    ("package_name", "template0", ", which the project installs or has: try 'template0_service'."),
]  # fmt: skip


def generate(folder: Path, *arguments: str | Path, **options: Any) -> str:
    """Render the template by command line into a folder; return its stdout."""
    done = command_line(TEMPLATE, "--no-input", "--output-dir", folder, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Rejected answers


@pytest.mark.parametrize(("question", "answer", "end"), REJECTED)
def test_invalid_answer_is_rejected_in_one_sentence(
    question: str, answer: object, end: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = {"project_slug": "orders", "package_name": "orders"}
    database = "sqlite" if question in {"use_worker", "use_kubernetes", "cloud"} else "postgresql"
    answers = {**names, "database": database, question: answer}
    (tmp_path / "out").mkdir()
    with pytest.raises(FailedHookException):
        cookiecutter(
            str(TEMPLATE), no_input=True, extra_context=answers, output_dir=str(tmp_path / "out")
        )

    [sentence] = hook_messages(capfd.readouterr().err)
    assert sentence.startswith(f"{question} is ")
    assert sentence.endswith(end)
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_every_invalid_answer_is_named(tmp_path: Path) -> None:
    done = command_line(
        TEMPLATE, "--no-input", "--output-dir", tmp_path, "project_name= ", "author_email=ada"
    )

    assert done.returncode == 1
    assert [line.split()[0] for line in hook_messages(done.stderr)] == [
        "project_name",
        "author_email",
    ]
    assert list(tmp_path.iterdir()) == []


def test_rejected_answers_keep_an_existing_project(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "mine").touch()

    done = command_line(TEMPLATE, "--no-input", "-f", "-o", tmp_path, "author_email=ada")

    assert done.returncode == 1
    assert [path.name for path in (tmp_path / "orders").iterdir()] == ["mine"]


def recorded(**answers: Any) -> dict[str, Any]:
    """Return the content of a replay file with these answers and the defaults for the rest."""
    return {
        "cookiecutter": {
            **{name: default[0] if isinstance(default, list) else default
               for name, default in QUESTIONS.items()},
            "project_slug": "orders",
            "package_name": "orders",
            "_features": FEATURES,
            **answers,
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("question", "answer", "sentence"),
    [
        ("database", "mysql", "is 'mysql': choose one of postgresql, sqlite."),
        ("author_name", None, "is None: answer with text."),
        ("use_redis", "maybe", "is 'maybe': answer yes or no."),
        ("use_redis", None, "is None: answer yes or no."),
        ("use_redis", "no", NO),
    ],
)
def test_invalid_answer_of_a_replay_file_is_rejected(
    question: str, answer: Any, sentence: str, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(recorded(**{question: answer})))

    done = command_line(TEMPLATE, "--replay-file", answers, "-o", tmp_path)

    assert done.returncode == 1
    assert hook_messages(done.stderr) == [f"{question} {sentence}"]


# Versions of the tools


def older(version: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Render with an older cookiecutter, in an environment of its own."""
    config = folder / "config.yaml"
    config.write_text(f"replay_dir: {folder / 'replay'}\n")
    tool = [uv(), "tool", "run", "--quiet", "--python", sys.executable]
    tool += ["--from", f"cookiecutter=={version}", "--with", "setuptools<81", "cookiecutter"]
    return subprocess.run(
        [*tool, TEMPLATE, "--no-input", "--output-dir", folder, *arguments],
        env={**os.environ, "COOKIECUTTER_CONFIG": str(config)},
        capture_output=True,
        check=False,
        text=True,
    )


@pytest.mark.thorough
@pytest.mark.parametrize("version", ["2.2.3", "2.6.0"])
def test_older_cookiecutter_renders_the_same_project(
    version: str, render: Render, tmp_path: Path
) -> None:
    done = older(version, tmp_path, "use_redis=yes", "use_admin=True", "database=sqlite")

    assert done.returncode == 0, done.stderr
    expected = without_secrets(render(use_redis=True, use_admin=True, database="sqlite"))
    assert without_secrets(tmp_path / "orders") == expected


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("1.7.3", "cookiecutter is too old: install version 2.7.1 or later."),
        ("2.1.1", "cookiecutter is too old: install version 2.7.1 or later."),
        ("2.6.0", f"use_redis {NO}"),
    ],
)
def test_unsupported_cookiecutter_is_rejected(version: str, sentence: str, tmp_path: Path) -> None:
    done = older(version, tmp_path, "use_redis=no")

    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()
    assert not (tmp_path / "orders").exists()


def test_unsupported_python_is_rejected(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))

    with pytest.raises(
        FailedHookException, match=r"is too old: run cookiecutter with 3\.11 or later\.$"
    ):
        render()


# A finished project


def test_env_has_generated_secrets_and_is_private(render: Render) -> None:
    secrets: list[str] = []
    for project in (render(), render()):
        assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600
        example = (project / ".env.example").read_text("utf-8").splitlines()
        lines = (project / ".env").read_text("utf-8").splitlines()
        for expected, line in zip(example, lines, strict=True):
            if expected.endswith("=change-me"):
                name, _, secret = line.partition("=")
                assert expected == f"{name}=change-me"
                secrets.append(secret)
            else:
                assert line == expected

    assert len(set(secrets)) == len(secrets) > 1
    assert all(len(secret) >= 64 for secret in secrets)


def test_rendering_again_keeps_env(tmp_path: Path) -> None:
    generate(tmp_path)
    (tmp_path / "orders" / ".env").write_text("SECRET_KEY=mine\n")

    said = generate(tmp_path, "--overwrite-if-exists")

    assert "Kept your .env; compare it with .env.example.\n" in said
    assert (tmp_path / "orders" / ".env").read_text() == "SECRET_KEY=mine\n"


def test_rendering_again_keeps_files_of_the_owner(tmp_path: Path) -> None:
    mine = tmp_path / "orders" / ".github" / "workflows" / "mine.yml"
    mine.parent.mkdir(parents=True)
    mine.touch()

    generate(tmp_path, "--overwrite-if-exists", "ci=none")

    files = [path for path in (tmp_path / "orders" / ".github").rglob("*") if path.is_file()]
    assert files == [mine]


@pytest.mark.slow
def test_project_is_locked_and_committed_once_on_main(tmp_path: Path) -> None:
    generate(tmp_path, TEMPLATE_SKIP="")
    project = tmp_path / "orders"

    assert git(project, "log", "--all", "--format=%D|%an <%ae>|%s") == (
        "HEAD -> main|Example Team <team@example.com>|Initial commit\n"
    )
    assert git(project, "status", "--porcelain") == ""
    committed = git(project, "ls-files").splitlines()
    assert "uv.lock" in committed
    assert ".env" not in committed


def test_commit_has_the_configured_author(tmp_path: Path) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\nname = Ada\nemail = ada@example.org\n")

    generate(tmp_path, TEMPLATE_SKIP="lock", GIT_CONFIG_GLOBAL=config)

    assert git(tmp_path / "orders", "log", "--format=%an <%ae>") == "Ada <ada@example.org>\n"


def test_commit_ignores_the_git_variables_of_another_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "other")
    other = tmp_path / "other" / ".git"

    generate(
        tmp_path,
        TEMPLATE_SKIP="lock",
        GIT_DIR=other,
        GIT_INDEX_FILE=other / "index",
        GIT_WORK_TREE=tmp_path / "other",
    )

    assert git(tmp_path / "orders", "log", "--format=%s") == "Initial commit\n"
    assert list((other / "refs" / "heads").iterdir()) == []


def test_project_inside_a_repository_gets_no_repository(tmp_path: Path) -> None:
    git(tmp_path, "init")

    said = generate(tmp_path, TEMPLATE_SKIP="lock")

    problem = "No first commit: the folder is already inside a repository."
    [command] = re.findall(rf"^{problem} By hand, in the project: (.+)$", said, re.MULTILINE)
    assert not (tmp_path / "orders" / ".git").exists()
    assert "git push" not in said
    env = os.environ | {
        f"GIT_{who}_{what}": "ada@example.com"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path / "orders", env=env, check=True)
    assert git(tmp_path, "log", "--format=%s") == "Add Orders\n"
    assert "orders/pyproject.toml" in git(tmp_path, "ls-files").splitlines()


def test_undone_commit_is_reported(tmp_path: Path) -> None:
    undo = tmp_path / "git-hooks" / "post-commit"
    undo.parent.mkdir()
    undo.write_text("#!/bin/sh\ngit update-ref -d HEAD\n")
    undo.chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\nhooksPath = {undo.parent}\n")

    said = generate(tmp_path, TEMPLATE_SKIP="lock", GIT_CONFIG_GLOBAL=config)

    assert "No first commit: git created no commit. By hand, in the project: git init" in said
    assert "git push" not in said


@pytest.mark.slow
def test_member_of_a_uv_workspace_learns_how_to_lock(tmp_path: Path) -> None:
    workspace = tmp_path / "pyproject.toml"
    workspace.write_text('[tool.uv.workspace]\nmembers = ["*"]\n')

    said = generate(tmp_path, "ci=none", TEMPLATE_SKIP="git")

    [line] = re.findall(r"^No uv\.lock: .+$", said, re.MULTILINE)
    assert f"a member of the uv workspace in {tmp_path}, " in line
    [exclude] = re.findall(r"By hand, in the project: add (.+) to \[tool\.uv\.workspace\]", line)
    workspace.write_text(f"{workspace.read_text()}{exclude}\n")
    lock = [uv(), "lock", "--quiet", "--python", sys.executable]
    subprocess.run(lock, cwd=tmp_path / "orders", check=True)
    assert (tmp_path / "orders" / "uv.lock").exists()


def test_project_is_rendered_without_uv_and_git(tmp_path: Path) -> None:
    # A Python without uv in its folder, with the packages of this one.
    venv.create(tmp_path / "bare", symlinks=True)

    said = generate(
        tmp_path,
        python=str(tmp_path / "bare" / "bin" / "python"),
        PYTHONPATH=sysconfig.get_path("purelib"),
        PATH=tmp_path,
        TEMPLATE_SKIP="",
    )

    by_hand = "By hand, in the project:"
    assert f"No uv.lock: uv is not installed. {by_hand} uv lock\n" in said
    assert f"No first commit: git is not installed. {by_hand} git init -b main && " in said
    assert f"  {tmp_path}/bare/bin/python -m pip install uv " in said
    assert f'  export PATH="$PATH":{tmp_path}/bare/bin ' in said
    assert (tmp_path / "orders" / "pyproject.toml").exists()


def test_project_is_rendered_without_a_package_registry(tmp_path: Path) -> None:
    said = generate(tmp_path, TEMPLATE_SKIP="", UV_OFFLINE="1", UV_CACHE_DIR=tmp_path / "cold")

    assert re.search(r"^No uv\.lock: .+\. By hand, in the project: uv lock$", said, re.MULTILINE)
    assert git(tmp_path / "orders", "log", "--format=%s") == "Initial commit\n"


def test_project_is_rendered_when_stdout_is_closed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "cookiecutter", TEMPLATE, "--no-input", "-o", tmp_path],
            stdout=closed,
            check=False,
        )

    assert done.returncode == 0
    assert (tmp_path / "orders" / ".env").exists()


def test_project_is_rendered_when_the_terminal_lacks_letters(tmp_path: Path) -> None:
    said = generate(tmp_path, "project_name=Заказы 🚀", PYTHONIOENCODING="ascii")

    assert "? is in " in said
    assert (tmp_path / "zakazy" / ".env").exists()


def test_uv_beside_cookiecutter_is_added_to_path(tmp_path: Path) -> None:
    said = generate(tmp_path, PATH=tmp_path)

    [line] = re.findall(r"^  (export .+?) +#", said, re.MULTILINE)
    found = subprocess.run(
        ["/bin/sh", "-c", f"{line}; command -v uv"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert found.stdout == f"{Path(sys.executable).parent / 'uv'}\n"


def test_only_mounted_files_are_readable_by_containers(tmp_path: Path) -> None:
    project = render_privately(tmp_path, use_prometheus=True, use_elk=True)

    services = yaml.safe_load((project / "compose.yaml").read_text("utf-8"))["services"]
    volumes = [volume for service in services.values() for volume in service.get("volumes", ())]
    tops = {project / volume.split(":")[0] for volume in volumes if volume.startswith("./")}
    mounted = tops.union(*(top.rglob("*") for top in tops))
    assert {"prometheus.yml", "service.json", "setup.sh"} <= {path.name for path in mounted}
    for path in project.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        expected = 0o755 if path.is_dir() or path.suffix == ".sh" else 0o644
        assert mode == (expected if path in mounted else expected & 0o700), path


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A copy of the template."""
    folder = tmp_path / "template"
    folder.mkdir()
    shutil.copy(TEMPLATE / "cookiecutter.json", folder)
    for source in (TEMPLATE / "hooks", PROJECT):
        shutil.copytree(source, folder / source.name)
    return folder


def test_project_with_unused_files_is_not_locked_or_committed(
    template: Path, tmp_path: Path
) -> None:
    context = json.loads((template / "cookiecutter.json").read_text("utf-8"))
    (template / "cookiecutter.json").write_text(
        json.dumps({**context, "_features": {"broken": {}}})
    )

    done = command_line(
        template, "--no-input", "--output-dir", tmp_path, TEMPLATE_SKIP="", UV_OFFLINE="1"
    )

    assert done.returncode == 0
    assert [line.partition(" By hand, ")[0] for line in done.stdout.splitlines()[:3]] == [
        "Not pruned: 'when'.",
        "No uv.lock: the project is not pruned yet.",
        "No first commit: the project is not pruned yet.",
    ]
    assert (tmp_path / "orders" / ".env").exists()
    assert not (tmp_path / "orders" / ".git").exists()


def test_files_that_cannot_be_removed_are_named(
    render: Render,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    unlink = Path.unlink

    def fail(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "ci.yml":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)

    render(ci="none")

    said = capfd.readouterr().out
    assert "Permission denied" in said
    [command] = re.findall(r"^Not pruned: .+ By hand, in the project: (.+)$", said, re.MULTILINE)
    assert command == "rm -r .github .gitlab-ci.yml"


def test_desktop_files_in_the_template_are_not_rendered(
    template: Path, render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = without_secrets(render())
    project = template / PROJECT.name
    junk = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"
    for path in [*template.iterdir(), *project.iterdir(), *(project / "src").iterdir()]:
        (path.parent / f"._{path.name}").write_bytes(junk)
    (project / "tests" / ".DS_Store").write_bytes(junk)
    # cookiecutter takes either of the two, in the order of the directory.
    monkeypatch.setattr("cookiecutter.generate.find_template", lambda *_: project)

    cookiecutter(str(template), no_input=True, output_dir=str(tmp_path))

    assert without_secrets(tmp_path / "orders") == expected


def test_desktop_file_read_as_template_is_explained(
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    junk = template / f"._{PROJECT.name}"
    junk.touch()
    monkeypatch.setattr("cookiecutter.generate.find_template", lambda *_: junk)

    with pytest.raises(FailedHookException):
        cookiecutter(str(template), no_input=True, output_dir=str(tmp_path))

    sentence = "The template's folder has files of macOS named ._*: delete them and render again."
    assert sentence in capfd.readouterr().err.splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["template"]


@pytest.mark.parametrize("answers", product(["database", "ci"]), ids=label)
def test_next_steps_match_the_answers(
    answers: Answers,
    render: Render,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPLATE_SKIP", "lock")
    project = render(**answers)
    said = capfd.readouterr().out

    assert f"  cd {project}\n" in said
    for name, feature in FEATURES.items():
        named = any(re.search(mark, said.lower()) for mark in feature["forbidden_patterns"])
        assert not named or is_on(name, answers)
    assert ("postgres" in said.lower()) == (answers["database"] == "postgresql")
    assert ("git push" in said) == (answers["ci"] != "none")


def test_next_steps_without_a_repository_do_not_push(tmp_path: Path) -> None:
    assert "git push" not in generate(tmp_path)


def test_next_steps_name_existing_tasks(render: Render, capfd: pytest.CaptureFixture[str]) -> None:
    pyproject = (render() / "pyproject.toml").read_text("utf-8")

    tasks = re.findall(r"uv run poe ([\w-]+)", capfd.readouterr().out)
    assert tasks
    for task in tasks:
        assert re.search(rf"^{task} = ", pyproject, re.MULTILINE)


# The ways to render


def test_replay_renders_the_same_project(render: Render, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"replay_dir: {tmp_path / 'replay'}\n")
    generate(tmp_path / "first", "--config-file", config, "database=sqlite", "ci=none")

    done = command_line(
        TEMPLATE, "--replay", "--config-file", config, "--output-dir", tmp_path / "second"
    )

    assert done.returncode == 0
    expected = without_secrets(render(database="sqlite", ci="none"))
    assert without_secrets(tmp_path / "second" / "orders") == expected


def test_replay_of_older_answers_uses_the_present_manifest(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(recorded(ci="none", _features={})))

    done = command_line(TEMPLATE, "--replay-file", answers, "--output-dir", tmp_path)

    assert done.returncode == 0
    assert not (tmp_path / "orders" / ".github").exists()


def test_stale_pwd_with_another_template_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cookiecutter.json").write_text('{"colour": ["red", "blue"]}')
    # Resolved against this folder, the relative path of the template leads to the other one.
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "other").symlink_to(TEMPLATE)

    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "other", "--no-input", "-o", "out", "ci=none"],
        cwd=tmp_path / "place",
        env={**os.environ, "PWD": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "Not pruned" not in done.stdout
    assert not (tmp_path / "place" / "out" / "orders" / ".github").exists()


def test_config_file_provides_answers(render: Render, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("default_context: {database: sqlite, author_name: 'Zoë O''Hara'}\n")

    generate(tmp_path, "--config-file", config)

    expected = without_secrets(render(database="sqlite", author_name="Zoë O'Hara"))
    assert without_secrets(tmp_path / "orders") == expected
