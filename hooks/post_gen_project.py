"""Finish a rendered project: prune what was not asked for, make secrets, lock, commit.

Cookiecutter deletes a project whose hook fails, so nothing here is fatal: a step that could not be
done is one line that says why and what to run by hand, and the exit code stays 0.

Environment:
    TEMPLATE_SKIP: steps to leave out, separated by commas: `lock`, which asks a package registry,
        and `git`. For jobs that render projects only to look at them.
"""

import io
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ANSWERS = json.loads({{cookiecutter | jsonify | tojson}})  # type: ignore[arg-type, name-defined]  # noqa: F821
PROJECT = Path.cwd()
PLACEHOLDER = "change-me"
TIMEOUT = 60  # seconds, for each command


class StepError(Exception):
    """A step was left out; the message says why in a few words."""


def say(text: str) -> None:
    """Print lines; a reader who has gone away is no reason to fail."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(*command: str) -> str:
    """Run a command and return what it printed.

    Raises:
        StepError: it failed, or took longer than TIMEOUT.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise StepError(f"no answer within {TIMEOUT} seconds") from None
    except subprocess.CalledProcessError as error:
        words = (
            error.stderr.removeprefix("error:").strip(" \u00d7\n")
            or f"exit code {error.returncode}"
        )
        raise StepError(words.splitlines()[0]) from None
    return done.stdout


def current_features() -> dict[str, Any]:
    """The manifest as the template has it now; a replay file brings the one it was recorded with.

    cruft, which does not say where the template is, always brings the present one. A relative path
    starts where the command was given.
    """
    features: dict[str, Any] = ANSWERS["_features"]
    if "_repo_dir" in ANSWERS:
        path = Path(os.environ.get("PWD", ""), ANSWERS["_repo_dir"], "cookiecutter.json")
        if path.is_file():
            features = json.loads(path.read_text(encoding="utf-8"))["_features"]
    return features


def rendered_to_compare() -> bool:
    """Whether `cruft update` or `cruft diff` renders into a temporary folder of its own.

    They compare two renders and apply the difference to the project, where secrets, locks and
    commits that differ by chance would be conflicts.
    """
    place = PROJECT.parent
    return (
        "_commit" in ANSWERS
        and place.parent == Path(tempfile.gettempdir()).resolve()
        and re.fullmatch(r"tmp\w{8}", place.name) is not None
    )


def prune() -> None:
    """Remove the paths of each feature that is off, and the folders that this empties."""
    for feature in current_features().values():
        if feature["when"].items() <= ANSWERS.items():
            continue
        for pattern in feature["paths"]:
            for path in list(PROJECT.glob(pattern)):
                remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, and the folders around it that this empties."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    parent = path.parent
    while parent != PROJECT and not any(parent.iterdir()):
        parent.rmdir()
        parent = parent.parent


def write_env() -> None:
    """Copy `.env.example` to `.env`, readable by its owner only, with fresh secrets."""
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(rf"\w+={PLACEHOLDER}", line):
            lines[number] = line.replace(PLACEHOLDER, secrets.token_urlsafe(48))
    env = PROJECT / ".env"
    try:
        env.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise StepError("the one that is there was kept") from None
    env.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")


def find_uv() -> str | None:
    """The uv on PATH, or the one installed beside cookiecutter."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def lock() -> None:
    """Resolve the dependencies into `uv.lock`."""
    uv = find_uv()
    if uv is None:
        raise StepError("uv is not installed")
    run(uv, "lock", "--quiet", "--python", sys.executable)


def commit() -> None:
    """Make a repository with one commit, by the author's name where git knows no other."""
    git = shutil.which("git")
    if git is None:
        raise StepError("git is not installed")
    if any((folder / ".git").exists() for folder in (PROJECT, *PROJECT.parents)):
        raise StepError("the folder is inside a repository already")
    run(git, "init", "--quiet", "--initial-branch=main")
    run(git, "add", "--all")
    try:
        known = run(git, "config", "--get-regexp", r"^user\.(name|email)$")
    except StepError:
        known = ""
    identity = []
    for key in ("name", "email"):
        if f"user.{key} " not in known:
            identity += ["-c", f"user.{key}={ANSWERS[f'author_{key}']}"]
    run(git, *identity, "commit", "--quiet", "--message", "Initial commit")


def next_steps() -> str:
    """The commands that come next, for exactly the chosen options."""
    data = {"postgresql": "PostgreSQL with its data in .local/", "sqlite": "data in data/app.db"}
    pipelines = {"github": "GitHub Actions", "gitlab": "GitLab CI/CD"}
    email = shlex.quote(ANSWERS["author_email"])
    commands = [
        ("uv run poe dev", f"http://127.0.0.1:8000/docs, {data[ANSWERS['database']]}"),
        ("uv run poe check", "format, lint, types, tests"),
        (f"uv run poe create-admin {email}", "nobody is one by being first"),
    ]
    if find_uv() is None:
        commands.insert(0, ("pipx install uv", "https://docs.astral.sh/uv/"))
    if "_commit" in ANSWERS:
        commands.append(("git add .cruft.json", "cruft updates only what is committed"))
    if ANSWERS["ci"] in pipelines:
        push = "git remote add origin URL && git push -u origin main"
        commands.append((push, f"{pipelines[ANSWERS['ci']]} checks each push"))
    width = max(len(command) for command, _ in commands)
    lines = [f"  {command:{width}}  # {comment}" for command, comment in commands]
    title = f"{ANSWERS['project_name']} is in {PROJECT}"
    return "\n".join(["", title, "", f"  cd {shlex.quote(str(PROJECT))}", *lines])


# What each step is for, how to do it by hand, and the word in TEMPLATE_SKIP that leaves it out.
BY_HAND = "git init -b main && git add -A && git commit -m 'Initial commit'"
STEPS: tuple[tuple[Callable[[], None], str, str, str], ...] = (
    (prune, "Not pruned", "remove what the answers leave out", ""),
    (write_env, "No new .env", "cp .env.example .env, with a secret for each change-me", ""),
    (lock, "No uv.lock", "uv lock", "lock"),
    (commit, "No first commit", BY_HAND, "git"),
)


def main() -> None:
    """Take every step that can be taken, and report those that cannot."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name may have letters that the terminal lacks
    skipped = os.environ.get("TEMPLATE_SKIP", "").split(",")
    steps = STEPS[:1] if rendered_to_compare() else STEPS
    for step, outcome, by_hand, word in steps:
        if word and word in skipped:
            continue
        try:
            step()
        except (StepError, OSError) as problem:
            say(f"{outcome}: {problem}. By hand: {by_hand}")
    if steps is STEPS:
        say(next_steps())


if __name__ == "__main__":
    main()
