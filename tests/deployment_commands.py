"""Stand in for `docker compose`, `heroku` and `railway` when a test follows a page.

What would run in a container runs on this machine, with the variables that the page has set. What
only a platform can do, such as creating an add-on, does nothing.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

VARIABLES = Path(os.environ["DEPLOYMENT"])  # a file with the variables as JSON


def docker(arguments: list[str]) -> None:
    """Run a command of Docker."""
    match arguments:
        case ["compose", "exec", "-T", _, *command] | ["compose", "exec", _, *command]:
            run(command)
        case ["compose", "run", "--rm", "--no-deps", "-T", _, *command]:
            run(command)
        case ["compose", "cp", source, target]:
            shutil.copy(source.removeprefix("web:/app/"), target)
        case ["compose", "stop" | "up", *_]:
            pass
        case ["network", "inspect", "orders_default", "--format", _]:
            sys.stdout.write("172.18.0.1\n")
        case _:
            sys.exit(f"unknown: docker {' '.join(arguments)}")


def heroku(arguments: list[str]) -> None:
    """Run a command of Heroku."""
    match arguments:
        case ["create", "--buildpack", "heroku/python"]:
            git = shutil.which("git") or "git"
            subprocess.run([git, "init", "--quiet", "--bare", "../heroku.git"], check=True)
            subprocess.run([git, "remote", "add", "heroku", "../heroku.git"], check=True)
        case ["config:set", *variables]:
            store(variables)
        case ["run", *command]:
            run(command)
        case ["addons:create" | "ps:scale" | "redis:maxmemory", *_]:
            pass
        case _:
            sys.exit(f"unknown: heroku {' '.join(arguments)}")


def railway(arguments: list[str]) -> None:
    """Run a command of Railway."""
    match arguments:
        case ["variable", "set", "--service", "web", "--skip-deploys", *variables]:
            store(variables)
        case ["ssh", "--service", "web", *command]:
            run(command)
        case ["init" | "add" | "up" | "domain", *_]:
            pass
        case _:
            sys.exit(f"unknown: railway {' '.join(arguments)}")


def stored() -> dict[str, str]:
    """Return the variables that have been set."""
    return json.loads(VARIABLES.read_text("utf-8")) if VARIABLES.exists() else {}


def store(variables: list[str]) -> None:
    """Set variables, each NAME=VALUE."""
    pairs = (variable.split("=", 1) for variable in variables)
    VARIABLES.write_text(json.dumps({**stored(), **dict(pairs)}), "utf-8")


def run(command: list[str]) -> None:
    """Run a command in place of this process. The platform sets references such as ${{...}}."""
    variables = {name: value for name, value in stored().items() if "${{" not in value}
    if command[1:2] == ["create-admin"]:
        command = [*command, "--password", "analytical-engine-1843"]  # instead of a prompt
    os.execvpe(command[0], command, {**os.environ, **variables})  # noqa: S606


if __name__ == "__main__":
    {"docker": docker, "heroku": heroku, "railway": railway}[sys.argv[1]](sys.argv[2:])
