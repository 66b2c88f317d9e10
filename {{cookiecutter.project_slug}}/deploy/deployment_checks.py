"""Check that the files of a deployment target match the application.

The tests of each target describe its processes as `Process` objects and pass them to `problems`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import ValidationError

from {{ cookiecutter.package_name }} import health
from {{ cookiecutter.package_name }}.cli import main as program
from {{ cookiecutter.package_name }}.settings import Settings

ROOT = Path(__file__).parent.parent
PROGRAM = "{{ cookiecutter.project_slug }}"
MIGRATE = ("alembic", "upgrade", "head")
{%- if cookiecutter.use_worker %}
COMMANDS = {"web": "run", "worker": "worker"}
{%- else %}
COMMANDS = {"web": "run"}
{%- endif %}
# Used for variables whose value is a secret, or comes from a service of the platform.
SAMPLE_VALUES: Mapping[str, str] = {
    "database_url": "postgresql://user:password@host:5432/name?sslmode=require",
{%- if cookiecutter.use_redis %}
    "redis_url": "rediss://user:password@host:6379/0",
{%- endif %}
    "smtp_url": "smtps://user:password@host:465",
    "app_url": "https://app.example.com",
    "secret_key": "ODrzPqpWkW1WqmTXhpc0Bn5JQxZLbXrWn0sVSi3Hr6E",
}
# Variables that Python, uv and other libraries read.
{%- if cookiecutter.use_opentelemetry %}
OTHER_VARIABLES = ("PATH", "PYTHON", "UV_", "OTEL_")
{%- else %}
OTHER_VARIABLES = ("PATH", "PYTHON", "UV_")
{%- endif %}


@dataclass(frozen=True)
class Process:
    """A process as the files of a target describe it.

    Attributes:
        name: a key of COMMANDS, or migrate.
        variables: its environment variables, including those of the image; None for a secret, and
            for a value that the platform provides.
        command: the command that the process runs.
        health: path and port of the readiness probe, as "/path:port"; None without a probe.
        stop_seconds: from SIGTERM to SIGKILL; None for a process that serves no requests or jobs.
    """

    name: str
    variables: Mapping[str, str | None]
    command: tuple[str, ...]
    health: str | None = None
    stop_seconds: float | None = None


@dataclass(frozen=True)
class Image:
    """The image that the Dockerfile builds.

    Attributes:
        variables: the environment variables that it sets.
        command: its default command.
        user: user id and group id, separated by a colon.
        python: major and minor version.
    """

    variables: Mapping[str, str]
    command: tuple[str, ...]
    user: str
    python: str


def read_image() -> Image:
    """Read the last stage of the Dockerfile."""
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
    """Return one sentence for each mismatch between a process and the application."""
    settings_names = {name.upper() for name in Settings.model_fields}
    found = [
        f"the application reads no {name}"
        for name in process.variables
        if name not in settings_names and not name.startswith(OTHER_VARIABLES)
    ]
    try:
        settings = Settings.model_validate(_settings_values(process))
    except ValidationError as error:
        found += [f"{detail['loc'][0]}: {detail['msg']}" for detail in error.errors()]
    else:
        found += _command_problems(process)
        if process.stop_seconds is not None and process.stop_seconds <= settings.graceful_timeout:
            found.append("is killed before GRACEFUL_TIMEOUT has passed")
        if process.name == "web":
            found += _network_problems(process, settings)
    return [f"{process.name}: {problem}" for problem in found]


def _settings_values(process: Process) -> dict[str, object]:
    # Every field has a value here, so that the environment of the tests is not read.
    fields = Settings.model_fields
    values = {
        name: None if field.is_required() else field.default for name, field in fields.items()
    }
    for variable, value in process.variables.items():
        name = variable.lower()
        if name in fields and (value is not None or name in SAMPLE_VALUES):
            values[name] = SAMPLE_VALUES[name] if value is None else value
    return values


def _command_problems(process: Process) -> list[str]:
    expected = MIGRATE if process.name == "migrate" else (PROGRAM, COMMANDS[process.name])
    if process.command != expected:
        return [f"runs {process.command}, not {expected}"]
    if expected[0] == PROGRAM and expected[1] not in program.list_commands(click.Context(program)):
        return [f"{PROGRAM} has no command {expected[1]}"]
    return []


def _network_problems(process: Process, settings: Settings) -> list[str]:
    found = []
    if settings.host != "0.0.0.0":  # noqa: S104 - the network of a container
        found.append("cannot be reached, because HOST is not 0.0.0.0")
    app = FastAPI()
    health.setup(app)
    paths = {route.path for route in app.routes if isinstance(route, APIRoute)}
    path, _, port = (process.health or f"/health/live:{settings.port}").partition(":")
    if path not in paths or port != str(settings.port):
        found.append(f"has no readiness probe at {process.health}")
    return found
