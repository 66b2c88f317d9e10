"""Finish a rendered project: prune what was not asked for, make secrets, lock, commit.

Cookiecutter deletes a project whose hook fails, so nothing here is fatal: a step that could not be
done is one line that says why and what to run by hand, and the exit code stays 0.

`cruft update` and `cruft diff` render into a temporary folder, named as `tempfile.mkdtemp` does,
where all but pruning is left out. A `cruft create` into such a folder cannot be told from them:
stderr has one line that says so.

Environment:
    TEMPLATE_SKIP: steps to leave out, separated by commas: `lock`, which asks a package registry,
        and `git`. For jobs that render projects only to look at them.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ANSWERS = json.loads({{cookiecutter | jsonify | tojson}})  # type: ignore[arg-type, name-defined]  # noqa: F821
PROJECT = Path.cwd().resolve()  # Windows has short names in TEMP
PLACEHOLDER = "change-me"
TIMEOUT = 60  # seconds, for each command
# Set where cookiecutter runs in a git hook or alias: git would commit into that other repository.
GIT_PLACES = {
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
}


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
            env={name: value for name, value in os.environ.items() if name not in GIT_PLACES},
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


def find_template() -> tuple[Path, dict[str, Any]] | None:
    """The template's folder and its manifest, or nothing where it is out of sight.

    cruft does not say where it is. A relative path starts where the command was given, which a
    stale PWD does not tell: another template, without a manifest, may be there.
    """
    if "_repo_dir" not in ANSWERS:
        return None
    folder = Path(os.environ.get("PWD", ""), ANSWERS["_repo_dir"])
    try:
        context = json.loads((folder / "cookiecutter.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (folder, context["_features"]) if "_features" in context else None


def paths_in(template: Path) -> set[Path]:
    """Every file of the template, named as this render names it."""
    [project] = template.glob("*cookiecutter.project_slug*")
    package = re.compile(r"\{\{ ?cookiecutter\.package_name ?\}\}")
    return {
        Path(package.sub(ANSWERS["package_name"], str(path.relative_to(project))))
        for path in project.rglob("*")
        if path.is_file()
    }


def rendered_to_compare() -> bool:
    """Whether `cruft update` or `cruft diff` renders into a temporary folder of its own.

    They compare two renders and apply the difference to the project, where secrets, locks and
    commits that differ by chance would be conflicts.
    """
    if "_commit" not in ANSWERS:
        return False
    from tempfile import gettempdir  # noqa: PLC0415 - only cruft needs to wait for it

    place = PROJECT.parent
    in_temporary = place.parent == Path(gettempdir()).resolve()
    return in_temporary and re.fullmatch(r"tmp\w{8}", place.name) is not None


def prune() -> None:
    """Remove the paths of each feature that is off, and the folders that this empties.

    Files that the template does not have stay: they are someone's own, in a project that is
    rendered over. The manifest is the template's present one, where a replay file brings the one
    it was recorded with; cruft brings the present one.
    """
    template = find_template()
    if template:
        rendered, features = paths_in(template[0]), template[1]
    elif (PROJECT / ".git").exists() or (PROJECT / ".cruft.json").exists():
        raise StepError("the project was there before, and may have files of its own")
    else:
        rendered, features = None, ANSWERS["_features"]
    for feature in features.values():
        if feature["when"].items() <= ANSWERS.items():
            continue
        for pattern in feature["paths"]:
            for path in list(PROJECT.glob(pattern)):
                remove(path, rendered)


def remove(top: Path, rendered: set[Path] | None) -> None:
    """Remove the rendered files (if not told which, all) at a path, and the folders emptied."""
    for path in sorted([top, *top.rglob("*")], reverse=True):  # what a folder holds comes first
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif rendered is None or path.relative_to(PROJECT) in rendered:
            path.unlink()
    parent = top.parent
    while parent != PROJECT and not any(parent.iterdir()):
        parent.rmdir()
        parent = parent.parent


def write_env() -> None:
    """Copy `.env.example` to `.env`, readable by its owner only, with fresh secrets."""
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(rf"\w+={PLACEHOLDER}", line):
            lines[number] = line.replace(PLACEHOLDER, os.urandom(32).hex())
    env = PROJECT / ".env"
    try:
        env.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        say("Kept your .env; compare it with .env.example.")
        return
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


def in_repository() -> bool:
    """Whether the project is a git repository or inside one."""
    return any((folder / ".git").exists() for folder in (PROJECT, *PROJECT.parents))


def commit() -> None:
    """Make a repository with one commit, by the author's name where git knows no other."""
    git = shutil.which("git")
    if git is None:
        raise StepError("git is not installed")
    if in_repository():
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
    if shutil.which("docker"):
        commands.insert(1, ("docker compose up", "or the same in containers"))
    if shutil.which("uv") is None:
        beside = Path(sys.executable).parent
        commands.insert(0, (f'export PATH="$PATH":{shlex.quote(str(beside))}', "uv is there"))
    if find_uv() is None:
        install = f"{shlex.quote(sys.executable)} -m pip install uv"
        commands.insert(0, (install, "or as https://docs.astral.sh/uv/ says"))
    if "_commit" in ANSWERS and in_repository():
        record = "git add .cruft.json && git commit -m 'Add .cruft.json'"
        commands.append((record, "cruft updates only what is committed"))
    if ANSWERS["ci"] in pipelines and (PROJECT / ".git").exists():
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
    if steps is not STEPS:
        with contextlib.suppress(OSError):
            # `cruft diff` has its patch on stdout.
            print("In a temporary folder, only pruned, as cruft compares it.", file=sys.stderr)
    for step, outcome, by_hand, word in steps:
        if word and word in skipped:
            continue
        try:
            step()
        except Exception as problem:  # noqa: BLE001 - or cookiecutter deletes the project
            say(f"{outcome}: {problem}. By hand: {by_hand}")
    if steps is STEPS:
        try:
            say(next_steps())
        except Exception as problem:  # noqa: BLE001 - as above
            say(f"No next steps: {problem}. By hand: see README.md in {PROJECT}")


if __name__ == "__main__":
    main()
