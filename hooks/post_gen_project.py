"""Finish a rendered project: remove the files of unused features, make secrets, lock, commit.

Cookiecutter deletes a project whose hook fails. So if a step fails, the hook prints one line with
the reason and the commands to run by hand, and exits with 0.

`cruft update` and `cruft diff` compare renders in temporary folders named by `tempfile.mkdtemp`.
There, the hook only removes files, and exits with 1 if that fails. It prints a line on stderr,
because a `cruft create` into such a folder looks the same.

Environment:
    TEMPLATE_SKIP: steps to skip, separated by commas: `lock`, which needs a package registry, and
        `git`. For jobs that render projects without working on them.
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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ANSWERS = json.loads({{cookiecutter | jsonify | tojson}})  # type: ignore[arg-type, name-defined]  # noqa: F821
PROJECT = Path.cwd().resolve()  # Windows has short names in TEMP
PLACEHOLDER = "change-me"
TIMEOUT = 60  # seconds, for each command
# Set in a git hook or alias that runs cookiecutter: git would commit into that other repository.
GIT_VARIABLES = {
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
}
# Files that desktops create when a person opens the template's folder.
DESKTOP_FILES = ("._*", ".DS_Store", "Thumbs.db", "desktop.ini")


class StepError(Exception):
    """A step failed, with a short reason.

    Attributes:
        by_hand: the commands to run instead, if they differ from the usual ones of the step.
    """

    def __init__(self, reason: str, by_hand: str = "") -> None:
        """Set both."""
        super().__init__(reason)
        self.by_hand = by_hand


def say(text: str) -> None:
    """Print lines, and ignore a closed stdout."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(*command: str) -> str:
    """Run a command and return its stdout.

    Raises:
        StepError: the command failed, or took longer than TIMEOUT.
    """
    try:
        done = subprocess.run(
            command,
            env={name: value for name, value in os.environ.items() if name not in GIT_VARIABLES},
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
    """Return the template's folder and manifest, or None if the folder is unknown.

    cruft does not pass the folder. A relative path is resolved against PWD, which may be stale: a
    folder without a manifest is another template.
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
    """Return the path of every file of the template in this render."""
    [project] = template.glob("[{]{cookiecutter.project_slug}}")
    package = re.compile(r"\{\{ ?cookiecutter\.package_name ?\}\}")
    return {
        Path(package.sub(ANSWERS["package_name"], str(path.relative_to(project))))
        for path in project.rglob("*")
        if path.is_file()
    }


def rendered_to_compare() -> bool:
    """Return whether `cruft update` or `cruft diff` renders into a temporary folder.

    They apply the difference of two renders to the project. Secrets, locks and commits differ in
    each render and would be conflicts.
    """
    if "_commit" not in ANSWERS:
        return False
    from tempfile import gettempdir  # noqa: PLC0415 - only needed for cruft

    folder = PROJECT.parent
    in_temporary = folder.parent == Path(gettempdir()).resolve()
    return in_temporary and re.fullmatch(r"tmp\w{8}", folder.name) is not None


def is_on(feature: dict[str, Any]) -> bool:
    """Whether the answers ask for a feature, whose `when` may be a list of alternatives.

    cookiecutter before 2.7.1 has the word `yes` of the command line here, not True.
    """
    when = feature["when"]
    return any(
        all(
            bool(ANSWERS[name]) if answer is True else ANSWERS[name] == answer
            for name, answer in alternative.items()
        )
        for alternative in (when if isinstance(when, list) else [when])
    )


def paths_to_remove(features: dict[str, Any]) -> Iterator[Path]:
    """Yield the paths of each feature that is off, and desktop files."""
    off = [pattern for one in features.values() if not is_on(one) for pattern in one["paths"]]
    for pattern in [*off, *(f"**/{name}" for name in DESKTOP_FILES)]:
        yield from list(PROJECT.glob(pattern))


def prune() -> None:
    """Remove the files of each feature that is off, and folders that become empty.

    Keep files that the template does not have: in a project that is rendered again, they are the
    owner's. Use the template's present manifest, because a replay file contains an older one; the
    answers of cruft contain the present one.
    """
    template = find_template()
    features = template[1] if template else ANSWERS["_features"]
    if template is None and any((PROJECT / own).exists() for own in (".git", ".cruft.json")):
        raise StepError("the project existed before and may contain other files")
    try:
        rendered = paths_in(template[0]) if template else None
        for path in paths_to_remove(features):
            remove(path, rendered)
    except (OSError, ValueError) as error:
        left = [shlex.quote(str(path.relative_to(PROJECT))) for path in paths_to_remove(features)]
        raise StepError(str(error), f"rm -r {' '.join(left)}") from None


def remove(top: Path, rendered: set[Path] | None) -> None:
    """Remove the rendered files (None: all files) at a path, and folders that become empty."""
    for path in sorted([top, *top.rglob("*")], reverse=True):  # files before their folder
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
    """Copy `.env.example` to `.env`, readable by its owner only, with generated secrets."""
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


def share_mounts() -> None:
    """Let everyone read the files that compose.yaml mounts: containers run as other users."""
    compose = (PROJECT / "compose.yaml").read_text(encoding="utf-8")
    for name in re.findall(r"^ +- \./([^:\n]+):", compose, re.MULTILINE):
        for path in [PROJECT / name, *(PROJECT / name).rglob("*")]:
            of_owner = path.stat().st_mode & 0o500
            path.chmod(path.stat().st_mode | of_owner >> 3 | of_owner >> 6)


def find_uv() -> str | None:
    """Return the path of uv: on PATH, or installed beside cookiecutter."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def lock() -> None:
    """Resolve the dependencies into `uv.lock`."""
    uv = find_uv()
    if uv is None:
        raise StepError("uv is not installed")
    supported = sys.version_info >= (3, 11)
    run(uv, "lock", "--quiet", *(("--python", sys.executable) if supported else ()))
    if not (PROJECT / "uv.lock").exists():
        # In a uv workspace with this project as a member, uv locks the workspace instead.
        for workspace in PROJECT.parents:
            if (workspace / "uv.lock").exists():
                member = json.dumps(PROJECT.relative_to(workspace).as_posix())
                raise StepError(
                    f"the project is a member of the uv workspace in {workspace}, which has one "
                    "lock for all members, but the image needs a lock of this project",
                    f"add exclude = [{member}] to [tool.uv.workspace] there, then uv lock",
                )
        raise StepError("uv wrote no lock")


def in_repository() -> bool:
    """Return whether the project is in a git repository."""
    return any((folder / ".git").exists() for folder in (PROJECT, *PROJECT.parents))


def commit() -> None:
    """Create a repository with one commit, by the author's name unless git is configured."""
    add = f"git add . && git commit -m {shlex.quote('Add ' + ANSWERS['project_name'])} ."
    git = shutil.which("git")
    if in_repository():
        raise StepError("the folder is already inside a repository", add)
    if git is None:
        raise StepError("git is not installed")
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
    if not run(git, "for-each-ref", "--count=1"):  # a git hook may undo it
        raise StepError("git created no commit")


def next_steps(committed: bool) -> str:  # noqa: FBT001
    """Return the next commands for the chosen options."""
    data = {"postgresql": "PostgreSQL with its data in .local/", "sqlite": "data in data/app.db"}
    pipelines = {"github": "GitHub Actions", "gitlab": "GitLab CI/CD"}
    email = shlex.quote(ANSWERS["author_email"])
    commands = [
        ("uv run poe dev", f"http://127.0.0.1:8000/docs, {data[ANSWERS['database']]}"),
        ("uv run poe check", "format, lint, types, tests"),
        (f"uv run poe create-admin {email}", "create the first administrator"),
    ]
    if shutil.which("docker"):
        commands.insert(1, ("docker compose up", "the same in containers"))
    if shutil.which("uv") is None:
        beside = Path(sys.executable).parent
        commands.insert(0, (f'export PATH="$PATH":{shlex.quote(str(beside))}', "to find uv"))
    if find_uv() is None:
        install = f"{shlex.quote(sys.executable)} -m pip install uv"
        commands.insert(0, (install, "or see https://docs.astral.sh/uv/"))
    if "_commit" in ANSWERS and in_repository():
        record = "git add .cruft.json && git commit -m 'Add .cruft.json'"
        commands.append((record, "cruft needs it committed"))
    if ANSWERS["ci"] in pipelines and committed:
        push = "git remote add origin URL && git push -u origin main"
        commands.append((push, f"{pipelines[ANSWERS['ci']]} checks each push"))
    width = max(len(command) for command, _ in commands)
    lines = [f"  {command:{width}}  # {comment}" for command, comment in commands]
    title = f"{ANSWERS['project_name']} is in {PROJECT}"
    return "\n".join(["", title, "", f"  cd {shlex.quote(str(PROJECT))}", *lines])


# Each step with the message when it fails, the commands to run by hand, and its TEMPLATE_SKIP word.
PRUNE_BY_HAND = "delete the files of each feature that is off, as cookiecutter.json lists them"
COMMIT_BY_HAND = "git init -b main && git add -A && git commit -m 'Initial commit'"
STEPS: tuple[tuple[Callable[[], None], str, str, str], ...] = (
    (prune, "Not pruned", PRUNE_BY_HAND, ""),
    (write_env, "No new .env", "cp .env.example .env, with a secret for each change-me", ""),
    (share_mounts, "Not readable in containers", "chmod -R a+rX deploy", ""),
    (lock, "No uv.lock", "uv lock", "lock"),
    (commit, "No first commit", COMMIT_BY_HAND, "git"),
)


def run_steps(steps: Iterable[tuple[Callable[[], None], str, str, str]]) -> set[Callable[[], None]]:
    """Run every step, report each failure, and return the completed steps.

    Do not lock or commit a project with files of features that are off.
    """
    skipped = os.environ.get("TEMPLATE_SKIP", "").split(",")
    completed: set[Callable[[], None]] = set()
    for step, outcome, by_hand, word in steps:
        if word and word in skipped:
            continue
        if step in {lock, commit} and prune not in completed:
            say(f"{outcome}: the project is not pruned yet. By hand, in the project: {by_hand}")
            continue
        try:
            step()
            completed.add(step)
        except Exception as problem:  # noqa: BLE001 - or cookiecutter deletes the project
            command = getattr(problem, "by_hand", "") or by_hand
            say(f"{outcome}: {problem}. By hand, in the project: {command}")
    return completed


def main() -> int:
    """Finish the project and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal may lack letters of a name
    if rendered_to_compare():
        with contextlib.suppress(OSError):
            # `cruft diff` writes its patch to stdout.
            print("In a temporary folder, as for cruft update: no .env, no lock.", file=sys.stderr)
        return 0 if run_steps(STEPS[:1]) else 1
    completed = run_steps(STEPS)
    try:
        say(next_steps(committed=commit in completed))
    except Exception as problem:  # noqa: BLE001 - as above
        say(f"No next steps: {problem}. By hand: see README.md in {PROJECT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
