"""What every target of a deployment owes the application: its variables, commands and probes.

The tests beside the files of a target read them into `Process`es and ask for their `problems`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from fastapi.routing import APIRoute
from pydantic import ValidationError

from {{ cookiecutter.package_name }}.cli import main as program
from {{ cookiecutter.package_name }}.health import router as health
from {{ cookiecutter.package_name }}.settings import Settings

ROOT = Path(__file__).parent.parent
PROGRAM = "{{ cookiecutter.project_slug }}"
MIGRATE = ("alembic", "upgrade", "head")
{%- if cookiecutter.use_worker %}
COMMANDS = {"web": "run", "worker": "worker", "scheduler": "scheduler"}
{%- else %}
COMMANDS = {"web": "run"}
{%- endif %}
# What stands for a value that a target keeps secret or gets from a service of its own.
SAMPLES: Mapping[str, str] = {
{%- if cookiecutter.database == "postgresql" %}
    "database_url": "postgresql://user:password@host:5432/name?sslmode=require",
{%- endif %}
{%- if cookiecutter.use_redis %}
    "redis_url": "rediss://user:password@host:6379/0",
{%- endif %}
{%- if cookiecutter.use_worker %}
    "smtp_url": "smtps://user:password@host:465",
{%- endif %}
    "secret_key": "ODrzPqpWkW1WqmTXhpc0Bn5JQxZLbXrWn0sVSi3Hr6E",
}


@dataclass(frozen=True)
class Process:
    """One process of a target, as the target's files describe it.

    Attributes:
        name: web, {% if cookiecutter.use_worker %}worker, scheduler, {% endif %}or migrate.
        variables: those that are set, the image's included where it runs the image; None for a
            value that is a secret, or that the platform gives.
        command: what runs; that of the image where it is left to it.
        health: path and port that the target asks for, in the form "/path:port"; None for none.
        stop_seconds: from SIGTERM to SIGKILL; None where nothing has to be finished.
    """

    name: str
    variables: Mapping[str, str | None]
    command: tuple[str, ...]
    health: str | None = None
    stop_seconds: float | None = None


@dataclass(frozen=True)
class Image:
    """What the Dockerfile says of the image that is built.

    Attributes:
        variables: those it sets.
        command: what it runs when nothing else is asked for.
        user: id of the user and, behind a colon, of the group.
        python: version, major and minor.
    """

    variables: Mapping[str, str]
    command: tuple[str, ...]
    user: str
    python: str


def image() -> Image:
    """Read the Dockerfile's last stage."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    stage = text.rpartition("\nFROM ")[2]
    variables = {
        name: value.strip('"')
        for line in re.findall(r"^ENV (.+)$", stage, re.MULTILINE)
        for name, value in re.findall(r"(\w+)=(\"[^\"]*\"|\S+)", line)
    }
    [command] = re.findall(r"^CMD (\[.+\])$", stage, re.MULTILINE)
    [user] = re.findall(r"^USER (\S+)$", stage, re.MULTILINE)
    return Image(variables, tuple(json.loads(command)), user, arguments["PYTHON_VERSION"])


def problems(process: Process) -> list[str]:
    """One sentence for each way in which a process and the application do not fit."""
    known = {name.upper() for name in Settings.model_fields}
    found = [
        f"the application reads no {name}"
        for name in process.variables
        if name not in known and not name.startswith(("PYTHON", "UV_"{% if cookiecutter.use_opentelemetry %}, "OTEL_"{% endif %})) and name != "PATH"
    ]
    try:
        settings = Settings.model_validate(_values(process))
    except ValidationError as error:
        found += [f"{detail['loc'][0]}: {detail['msg']}" for detail in error.errors()]
    else:
        found += _problems_with_command(process)
        if process.stop_seconds is not None and process.stop_seconds <= settings.graceful_timeout:
            found.append("is killed before GRACEFUL_TIMEOUT has passed")
        if process.name == "web":
            found += _problems_with_network(process, settings)
    return [f"{process.name}: {problem}" for problem in found]


def _values(process: Process) -> dict[str, object]:
    # Every field is given, so that the environment of the tests does not count.
    fields = Settings.model_fields
    values = {name: None if one.is_required() else one.default for name, one in fields.items()}
    for name, value in process.variables.items():
        field = name.lower()
        if field in fields and (value is not None or field in SAMPLES):
            values[field] = SAMPLES[field] if value is None else value
    return values


def _problems_with_command(process: Process) -> list[str]:
    expected = MIGRATE if process.name == "migrate" else (PROGRAM, COMMANDS[process.name])
    if process.command != expected:
        return [f"runs {process.command}, not {expected}"]
    if expected[0] == PROGRAM and expected[1] not in program.list_commands(click.Context(program)):
        return [f"{PROGRAM} has no command {expected[1]}"]
    return []


def _problems_with_network(process: Process, settings: Settings) -> list[str]:
    found = []
    if settings.host != "0.0.0.0":  # noqa: S104 - the network of a container
        found.append("is out of reach, as HOST is not 0.0.0.0")
    paths = {route.path for route in health.routes if isinstance(route, APIRoute)}
    path, _, port = (process.health or f"/health/live:{settings.port}").partition(":")
    if path not in paths or port != str(settings.port):
        found.append(f"does not say how it is on {process.health}")
    return found
