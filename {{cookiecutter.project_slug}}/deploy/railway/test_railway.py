"""Check the files for Railway against the application.

Keys and values: https://docs.railway.com/config-as-code/reference
"""

import json
import re
from pathlib import Path
from typing import Any

from deployment_checks import COMMANDS, ROOT, Process, problems, read_image

FOLDER = ROOT / "deploy" / "railway"
CONFIGURATIONS = {
    "web": ROOT / "railway.json",
{%- if cookiecutter.use_worker %}
    "worker": FOLDER / "worker.json",
{%- endif %}
}
PORT = "8080"  # Railway chooses one
DEPLOY = {
    "preDeployCommand": list,
    "startCommand": str,
    "healthcheckPath": str,
    "healthcheckTimeout": int,
    "overlapSeconds": int,
    "drainingSeconds": int,
    "restartPolicyType": str,
}


def read(path: Path) -> dict[str, Any]:
    """Read a configuration."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def variables() -> dict[str, str | None]:
    """Return the variables of variables.env; None for a reference to another service."""
    lines = (FOLDER / "variables.env").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines]
    return {name: None if value.startswith("${{ '{{' }}") else value for name, value in pairs}


def secrets() -> dict[str, None]:
    """Return the secrets that the commands of the README set."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    [values] = re.findall(r"railway variable set (?:\\\n|.)+", readme)
    return dict.fromkeys(re.findall(r"([A-Z_]+)=", values))


def processes() -> list[Process]:
    """Return every service, and the migration before it."""
    found = []
    for name, path in CONFIGURATIONS.items():
        deploy = read(path)["deploy"]
        given = {**read_image().variables, **variables(), **secrets(), "PORT": PORT}
        start = deploy.get("startCommand")
        health = deploy.get("healthcheckPath")
        [migrate] = deploy["preDeployCommand"]
        found += [
            Process(
                name=name,
                variables=given,
                command=tuple(start.split()) if start else read_image().command,
                health=f"{health}:{PORT}" if health else None,
                stop_seconds=deploy["drainingSeconds"],
            ),
            Process(name="migrate", variables=given, command=tuple(migrate.split())),
        ]
    return found


def test_processes_match_the_application() -> None:
    assert [problem for one in processes() for problem in problems(one)] == []
    assert {one.name for one in processes()} == {"migrate", *COMMANDS}


def test_configurations_have_keys_that_railway_knows() -> None:
    for name, path in CONFIGURATIONS.items():
        content = read(path)
        assert set(content) == {"$schema", "build", "deploy"}
        assert content["$schema"] == "https://railway.com/railway.schema.json"
        assert content["build"] == {"builder": "DOCKERFILE"}
        assert {key: type(value) for key, value in content["deploy"].items()}.items() <= (
            DEPLOY.items()
        )
        assert content["deploy"]["restartPolicyType"] == "ALWAYS"
        assert ("healthcheckPath" in content["deploy"]) is (name == "web")
    # Without an overlap, requests would reach a server that is shutting down.
    assert read(CONFIGURATIONS["web"])["deploy"]["overlapSeconds"] > 0


def test_references_are_to_services_that_the_readme_adds() -> None:
    text = (FOLDER / "variables.env").read_text(encoding="utf-8")
    assert dict(re.findall(r"^(\w+)=\$\{\{(.+)}}$", text, re.MULTILINE)) == {
        "DATABASE_URL": "Postgres.DATABASE_URL",
{%- if cookiecutter.use_redis %}
        "REDIS_URL": "Redis.REDIS_URL",
{%- endif %}
    }


def test_railway_can_build_the_image() -> None:
    # Railway rejects cache mounts whose id does not begin with that of the service.
    assert "type=cache" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
