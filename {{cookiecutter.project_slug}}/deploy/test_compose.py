"""The image and compose.yaml fit the application, and all files agree about versions."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract import COMMANDS, ROOT, Process, image, problems

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IMAGE = image()
PROCESSES = {*COMMANDS, "migrate"}
NOT_OURS = {".git", ".local", ".venv", "node_modules"}


def compose() -> dict[str, Any]:
    """What compose reads where neither the shell nor `.env` changes anything."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return content


COMPOSE = compose()
SERVICES: dict[str, Any] = COMPOSE["services"]


def process(name: str) -> Process:
    """A service that runs the image."""
    service = SERVICES[name]
    probe = re.search(
        r"'127\.0\.0\.1', (\d+).*'GET', '([^']+)'",
        str(service.get("healthcheck", {}).get("test", "")),
    )
    return Process(
        name,
        {**IMAGE.variables, **{key: str(one) for key, one in service["environment"].items()}},
        tuple(service.get("command", IMAGE.command)),
        f"{probe[2]}:{probe[1]}" if probe else None,
        float(service["stop_grace_period"].removesuffix("s")),
    )


def yaml_files() -> Iterator[str]:
    """The text of every YAML file of the project, pipelines and all."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        for name in names:
            if name.endswith((".yaml", ".yml")):
                yield Path(folder, name).read_text(encoding="utf-8")


def named(pattern: str) -> set[str]:
    """What the group of a pattern matches in YAML files."""
    return {found for text in yaml_files() for found in re.findall(pattern, text)}


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_process_fits_the_application(name: str) -> None:
    assert problems(process(name)) == []


def test_every_process_runs_the_same_image() -> None:
    own = {name: service for name, service in SERVICES.items() if "build" in service}

    assert set(own) == PROCESSES
    assert len({(service["build"], service["image"]) for service in own.values()}) == 1


def test_processes_wait_until_the_schema_is_new() -> None:
    for name in COMMANDS:
        migrate = SERVICES[name]["depends_on"]["migrate"]
        assert migrate["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["restart"] == "no"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_service_may_do_little(name: str) -> None:
    service = SERVICES[name]
{%- set written = (["alertmanager"] if cookiecutter.use_prometheus else []) + (["elasticsearch", "kibana"] if cookiecutter.use_elk else []) %}
{% if written %}
    # What these get or make at the start is among their own files.
    written = {"{{ written | join('", "') }}"}
    assert service["read_only"] is (name not in written)
{%- else %}
    assert service["read_only"] is True
{%- endif %}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
{%- if cookiecutter.use_prometheus %}


def test_nothing_is_copied_into_a_read_only_root() -> None:
    for name, service in SERVICES.items():
        for config in service.get("configs", []):
            # A file is mounted; anything else compose copies, which it refuses there.
            mounted = "file" in COMPOSE["configs"][config["source"]]
            assert mounted or not service["read_only"], name
{%- endif %}


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_process_is_a_user_without_rights(name: str) -> None:
    user = SERVICES[name].get("user", IMAGE.user)

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert "cap_add" not in SERVICES[name]


def test_web_is_published_and_probed_where_it_listens() -> None:
    port = IMAGE.variables["PORT"]

    assert [one.rpartition(":")[2] for one in SERVICES["web"]["ports"]] == [port]
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert "os.environ['PORT']" in DOCKERFILE
    assert "/health/live" in DOCKERFILE
{%- if cookiecutter.database == "sqlite" %}


def test_database_is_in_the_volume() -> None:
    [user, group] = IMAGE.user.split(":")

    assert "VOLUME /app/data\n" in DOCKERFILE
    assert f"--owner={user} --group={group} data\n" in DOCKERFILE
    for name in PROCESSES:
        assert SERVICES[name]["volumes"] == ["data:/app/data"]
        assert SERVICES[name]["environment"]["DATABASE_URL"].startswith("sqlite:////app/data/")
{%- endif %}


def test_what_the_image_copies_is_sent_to_the_build() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert f"!{source.rstrip('*')}" in allowed


def test_what_the_user_reads_is_copied_with_modes_of_its_own() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]

    assert re.findall(r"^COPY (?!--from)(?!--chmod=)(.+)$", final, re.MULTILINE) == []


def test_servers_are_of_the_same_major_version_everywhere() -> None:
    versions = defaultdict(set)
    for text in yaml_files():
        for name, major in re.findall(r"\b(?:image|name): *[\"']?([\w./-]+):v?(\d+)", text):
            versions[name].add(major)

    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_python_and_uv_are_of_the_same_version_everywhere() -> None:
    [uv] = re.findall(r"^ARG UV_VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)

    assert named(r"(?:UV_PYTHON: *[\"']?|uv:\S+-python)(\d+\.\d+)") <= {IMAGE.python}
    assert named(r"astral-sh/uv:(\d+\.\d+)") <= {uv}
