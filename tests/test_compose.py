"""Check compose.yaml and the Dockerfile of renders against each other and the application."""

import re
from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from questions import Answers
from rendering import Files, rendered

EVERYTHING: Answers = {
    "use_redis": True,
    "use_worker": True,
    "use_prometheus": True,
    "use_opentelemetry": True,
    "use_sentry": True,
    "use_elk": True,
}
VARIANTS: dict[str, Answers] = {
    "standard": {},
    "sqlite": {"database": "sqlite"},
    "everything": EVERYTHING | {"use_kubernetes": True, "cloud": "render"},
    "everything-sqlite": EVERYTHING | {"database": "sqlite", "use_worker": False},
    "everything-gitlab": EVERYTHING | {"use_kubernetes": True, "ci": "gitlab"},
}
# Processes that write configuration into their own root when they start.
WRITABLE = {"alertmanager", "elasticsearch", "kibana"}
COMMANDS = {
    "web": ["orders", "run"],
    "worker": ["orders", "worker"],
    "migrate": ["alembic", "upgrade", "head"],
}


@pytest.fixture(scope="module", params=list(VARIANTS.values()), ids=list(VARIANTS))
def files(request: pytest.FixtureRequest) -> Files:
    """Each variant of a render in turn."""
    return rendered(**request.param)


@pytest.fixture(scope="module")
def compose(files: Files) -> dict[str, Any]:
    """compose.yaml with the defaults of its variables."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text_of(files, "compose.yaml"))
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@pytest.fixture(scope="module")
def processes(compose: dict[str, Any]) -> dict[str, Any]:
    """The services that run the image of the application."""
    return {name: one for name, one in compose["services"].items() if "build" in one}


@pytest.fixture(scope="module")
def dockerfile(files: Files) -> str:
    """The Dockerfile, with continued lines joined."""
    return re.sub(r"\\\n\s*", "", text_of(files, "Dockerfile"))


def text_of(files: Files, name: str) -> str:
    """Return the text of a file."""
    return files[PurePosixPath(name)].decode()


def yaml_texts(files: Files) -> list[str]:
    """Return the text of every YAML file, including those of pipelines."""
    return [content.decode() for path, content in files.items() if path.suffix in {".yaml", ".yml"}]


def test_processes_run_commands_of_the_same_image(
    processes: dict[str, Any], dockerfile: str
) -> None:
    [default] = re.findall(r"^CMD (.+)$", dockerfile, re.MULTILINE)

    assert {"web", "migrate"} <= processes.keys() <= COMMANDS.keys()
    assert len({(one["build"], one["image"]) for one in processes.values()}) == 1
    for name, process in processes.items():
        assert process.get("command", yaml.safe_load(default)) == COMMANDS[name]


def test_variables_are_settings(files: Files, processes: dict[str, Any], dockerfile: str) -> None:
    settings = set(re.findall(r"^\| `(\w+)` \|", text_of(files, "README.md"), re.MULTILINE))
    final = dockerfile.rpartition("\nFROM ")[2]
    image = set(re.findall(r"(\w+)=", " ".join(re.findall(r"^ENV (.+)$", final, re.MULTILINE))))

    assert {"HOST", "PORT"} <= image
    assert {one for one in image if not one.startswith("PYTHON")} - {"PATH"} <= settings
    for process in processes.values():
        assert process["environment"].keys() <= settings


def test_processes_wait_for_migrations(processes: dict[str, Any]) -> None:
    for name in processes.keys() - {"migrate"}:
        migrate = processes[name]["depends_on"]["migrate"]
        assert migrate["condition"] == "service_completed_successfully"
    assert processes["migrate"]["restart"] == "no"


def test_processes_stop_gracefully(processes: dict[str, Any]) -> None:
    for process in processes.values():
        assert int(process["stop_grace_period"].removesuffix("s")) > 30


def test_services_are_restricted(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is (name not in WRITABLE)
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
        assert "privileged" not in service
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_copies_no_file_into_a_read_only_root(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for config in service.get("configs", []):
            assert "file" in compose["configs"][config["source"]] or not service["read_only"]


def test_processes_run_as_an_unprivileged_user(processes: dict[str, Any], dockerfile: str) -> None:
    assert re.search(r"^USER [1-9]\d{3,}:[1-9]\d{3,}$", dockerfile, re.MULTILINE)
    for process in processes.values():
        assert not {"user", "cap_add"} & process.keys()


def test_web_is_published_and_probed_on_its_port(compose: dict[str, Any], dockerfile: str) -> None:
    web = compose["services"]["web"]

    assert [port.rpartition(":")[2] for port in web["ports"]] == ["8000"]
    assert web["environment"]["PORT"] == 8000
    assert "'127.0.0.1', 8000" in web["healthcheck"]["test"]
    assert "'/health/ready'" in web["healthcheck"]["test"]
    assert "EXPOSE 8000\n" in dockerfile
    assert "os.environ['PORT']" in dockerfile
    assert "/health/live" in dockerfile


def test_sqlite_database_is_in_the_volume(
    files: Files, processes: dict[str, Any], dockerfile: str
) -> None:
    if "aiosqlite" not in text_of(files, "pyproject.toml"):
        assert "VOLUME" not in dockerfile
        return
    [(user, group)] = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)

    assert "VOLUME /app/data\n" in dockerfile
    assert f"--owner={user} --group={group} data\n" in dockerfile
    for process in processes.values():
        assert process["volumes"] == ["data:/app/data"]
        assert process["environment"]["DATABASE_URL"].startswith("sqlite:////app/data/")


def test_build_context_has_every_copied_file(files: Files, dockerfile: str) -> None:
    allowed = text_of(files, ".dockerignore").splitlines()

    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", dockerfile, re.MULTILINE):
        for source in line.split():
            assert f"!{source.rstrip('*')}" in allowed


def test_copied_files_are_readable_whatever_their_modes(dockerfile: str) -> None:
    final = dockerfile.rpartition("\nFROM ")[2]

    assert re.findall(r"^COPY (?!--from)(?!--chmod=)(.+)$", final, re.MULTILINE) == []


def test_servers_have_the_same_major_version_in_every_file(files: Files) -> None:
    versions = defaultdict(set)
    for text in yaml_texts(files):
        for name, major in re.findall(r"\b(?:image|name): *[\"']?([\w./-]+):v?(\d+)", text):
            versions[name].add(major)

    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_python_and_uv_have_the_same_version_in_every_file(files: Files, dockerfile: str) -> None:
    [python] = re.findall(r"^ARG PYTHON_VERSION=(\S+)$", dockerfile, re.MULTILINE)
    [uv] = re.findall(r"^ARG UV_VERSION=(\S+)$", dockerfile, re.MULTILINE)
    text = "\n".join(yaml_texts(files))

    assert set(re.findall(r"(?:UV_PYTHON: *[\"']?|uv:\S+-python)(\d+\.\d+)", text)) <= {python}
    assert set(re.findall(r"astral-sh/uv:(\d+\.\d+)", text)) <= {uv}
