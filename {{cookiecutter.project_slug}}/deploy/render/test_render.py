"""Check the blueprint for Render against the application.

Keys and values: https://render.com/docs/blueprint-spec
"""

from typing import Any

import yaml

from deployment_checks import COMMANDS, PROGRAM, ROOT, Process, problems, read_image

BLUEPRINT: dict[str, Any] = yaml.safe_load((ROOT / "render.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = {one["name"]: one for one in BLUEPRINT["services"]}
DATABASES: dict[str, Any] = {one["name"]: one for one in BLUEPRINT["databases"]}
GROUPS: dict[str, Any] = {one["name"]: one["envVars"] for one in BLUEPRINT["envVarGroups"]}
PORT = "10000"  # unless told otherwise
TYPES = {name: "web" if name == "web" else "worker" for name in COMMANDS}
PROCESS_KEYS = {
    "type",
    "name",
    "runtime",
    "plan",
    "autoDeployTrigger",
    "preDeployCommand",
    "maxShutdownDelaySeconds",
    "envVars",
}
{%- if cookiecutter.use_redis %}
STORE_KEYS = {"type", "name", "plan", "maxmemoryPolicy", "ipAllowList"}
{%- endif %}
DATABASE_KEYS = {"name", "plan", "postgresMajorVersion", "ipAllowList"}


def service(process: str) -> dict[str, Any]:
    """Return the service that runs a process."""
    found: dict[str, Any] = SERVICES[f"{PROGRAM}-{process}"]
    return found


def variables(listed: list[dict[str, Any]]) -> dict[str, str | None]:
    """Return the variables of a list; None for a secret or a reference to another service."""
    found: dict[str, str | None] = {}
    for one in listed:
        match one:
            case {"fromGroup": group, **rest} if not rest:
                found |= variables(GROUPS[group])
            case {"key": key, "value": str(value), **rest} if not rest:
                found[key] = value
            case {"key": key, "generateValue": True, **rest} if not rest:
                found[key] = None
            case {"key": key, "sync": False, **rest} if not rest:
                found[key] = None
            case {"key": key, "fromDatabase": {"name": name, "property": "connectionString"}}:
                assert name in DATABASES
                found[key] = None
            case {"key": key, "fromService": {"type": kind, "name": name, **value}}:
                assert SERVICES[name]["type"] == kind
                if kind == "keyvalue":
                    assert value == {"property": "connectionString"}
                else:
                    assert value == {"envVarKey": key}
                    assert key in variables(SERVICES[name]["envVars"])
                found[key] = None
            case _:
                raise AssertionError(one)
    return found


def processes() -> list[Process]:
    """Return every service that runs the image, and the migration before it."""
    found = []
    for name in COMMANDS:
        one = service(name)
        given = {**read_image().variables, **variables(one["envVars"]), "PORT": PORT}
        command = one.get("dockerCommand")
        health = one.get("healthCheckPath")
        found += [
            Process(
                name=name,
                variables=given,
                command=tuple(command.split()) if command else read_image().command,
                health=f"{health}:{PORT}" if health else None,
                stop_seconds=one["maxShutdownDelaySeconds"],
            ),
            Process("migrate", given, tuple(one["preDeployCommand"].split())),
        ]
    return found


def test_processes_match_the_application() -> None:
    assert [problem for one in processes() for problem in problems(one)] == []


def test_blueprint_has_keys_that_render_knows() -> None:
    assert set(BLUEPRINT) == {"services", "databases", "envVarGroups"}
{%- if cookiecutter.use_redis %}
    store = SERVICES[f"{PROGRAM}-keyvalue"]
    assert len(SERVICES) == len(COMMANDS) + 1
    assert set(store) == STORE_KEYS
    assert (store["plan"], store["maxmemoryPolicy"]) == ("starter", "allkeys-lru")
    assert store["ipAllowList"] == []
{%- else %}
    assert len(SERVICES) == len(COMMANDS)
{%- endif %}
    for name, kind in TYPES.items():
        one = service(name)
        own = {"healthCheckPath"} if kind == "web" else {"dockerCommand"}
        assert set(one) == PROCESS_KEYS | own
        assert (one["type"], one["runtime"], one["plan"]) == (kind, "docker", "starter")
        assert one["autoDeployTrigger"] in {"commit", "checksPass", "off"}
        assert 1 <= one["maxShutdownDelaySeconds"] <= 300


def test_database_is_private_and_has_the_version_of_compose() -> None:
    [database] = DATABASES.values()
    assert set(database) == DATABASE_KEYS
    assert database["plan"] == "basic-256mb"
    assert database["ipAllowList"] == []
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    version = database["postgresMajorVersion"]
    assert compose["services"]["postgres"]["image"] == f"postgres:{version}"
