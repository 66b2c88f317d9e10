"""The image and compose.yaml: what validators find, and how the containers run.

Tests that need a container engine are skipped where `docker info` fails. .ci/run starts the one in
tests/containers if the machine has none.
"""

import asyncio
import contextlib
import functools
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
import yaml

from conftest import Render
from harness import answers_to, free_port, run, uv, wait_for
from questions import Answers
from rendering import render_privately

API = "/api/v1"
VARIANTS: dict[str, Answers] = {
    "standard": {},
    "everything": {
        "use_redis": True,
        "use_worker": True,
        "use_admin": True,
        "use_prometheus": True,
        "use_opentelemetry": True,
        "use_sentry": True,
    },
    "sqlite": {"database": "sqlite"},
}
# Takes e-mail as Mailpit does, and prints it.
MAIL_SINK = """
import asyncio
async def serve(reader, writer):
    writer.write(b"220 sink\\r\\n")
    data = False
    while line := await reader.readline():
        print(line.decode().rstrip(), flush=True)
        if data and line != b".\\r\\n":
            continue
        data = line.upper().startswith(b"DATA")
        writer.write(b"354 go\\r\\n" if data else b"250 ok\\r\\n")
async def main():
    async with await asyncio.start_server(serve, "0.0.0.0", 1025) as server:
        await server.serve_forever()
asyncio.run(main())
"""
LOOK_AROUND = """
import importlib.util, os, shutil, sys
print([tool for tool in ("uv", "gcc", "cc", "make", "git", "curl") if shutil.which(tool)])
print([path for path in ("/root/.cache", "/app/src", "/app/.env") if os.path.exists(path)])
print("site-packages" in importlib.util.find_spec(sys.argv[1]).origin)
"""


# What validators say


def test_files_are_valid(configuration: Answers, render: Render) -> None:
    project = render(**configuration, use_elk=True)
    tools = Path(sys.executable).parent
    schema = ["--builtin-schema", "vendor.compose-spec"]

    run([str(tools / "hadolint"), "Dockerfile"], cwd=project)
    run([str(tools / "check-jsonschema"), *schema, "compose.yaml"], cwd=project)
    if answers_to("docker", "compose", "version"):
        run(["docker", "compose", "--profile", "*", "config", "--quiet"], cwd=project)


# What an engine makes of them


@dataclass
class Stack:
    """A render whose containers are built and run under a name of their own.

    Attributes:
        name: of image, command and compose project.
        port: of the first web container.
    """

    project: Path
    name: str
    port: int
    env: dict[str, str] = field(default_factory=dict)

    def docker(self, *arguments: str) -> str:
        """Run a command of the engine; what it printed."""
        return run(["docker", *arguments], cwd=self.project, env=self.env, timeout=900)

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine that may fail."""
        return subprocess.run(
            [shutil.which("docker") or "docker", *arguments],
            cwd=self.project,
            env=self.env,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def compose(self, *arguments: str) -> str:
        """Run a command of compose; what it printed."""
        return self.docker("compose", *arguments)

    def inspect(self, container: str, template: str) -> str:
        """Return a value of a container's description."""
        return self.docker("inspect", "--format", "{{" + template + "}}", container).strip()

    def ids(self, *arguments: str) -> list[str]:
        """Containers of services."""
        return self.compose("ps", "--quiet", *arguments).split()


def override(name: str) -> dict[str, Any]:
    """Replace the mail server, which has no stand-in, by a sink in the render's own image."""
    sink = {"image": name, "command": ["python", "-c", MAIL_SINK], "healthcheck": {"disable": True}}
    return {"services": {"mailpit": sink}}


@contextlib.contextmanager
def stack(render: Render, folder: Path, answers: Answers) -> Iterator[Stack]:
    """Lock a copy of a render; remove its containers, volumes and image at the end."""
    name = f"c{secrets.token_hex(4)}"
    project = shutil.copytree(render(**answers, project_slug=name), folder / name)
    (project / ".env").unlink()
    run([uv(), "lock", "--quiet", "--python", sys.executable], cwd=project)
    extra = folder / "override.yaml"
    extra.write_text(yaml.safe_dump(override(name)), "utf-8")
    port = free_port()
    env = os.environ | {
        "COMPOSE_FILE": f"compose.yaml{os.pathsep}{extra}",
        "MAILPIT_PORT": str(free_port()),
        "WEB_PORT": str(port),
    }
    made = Stack(project, name, port, env)
    try:
        yield made
    finally:
        for command in (
            ["compose", "--profile", "*", "down", "--volumes", "--timeout", "1"],
            ["rm", "--force", "--volumes", f"{name}-alone"],
            ["rmi", "--force", name],
        ):
            made.attempt(*command)


@pytest.mark.thorough
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("answers", VARIANTS.values(), ids=VARIANTS)
def test_service_runs_in_containers(answers: Answers, render: Render, tmp_path: Path) -> None:
    with stack(render, tmp_path, answers) as it:
        began = time.monotonic()
        it.docker("build", "--tag", it.name, ".")
        built = time.monotonic()
        check_image(it)
        check_image_alone(it)
        (it.project / ".env").write_text("RATE_LIMIT=1000000\nLOGIN_ATTEMPTS_PER_ADDRESS=1000\n")
        starting = time.monotonic()
        it.compose("up", "--detach", "--wait")
        print(f"build {built - began:.1f} s, up {time.monotonic() - starting:.1f} s")  # noqa: T201
        token = check_http(it)
        wait_for(lambda: "Confirm your email address" in it.compose("logs", "mailpit"))
        check_backup(it, token)
        check_release(it, token)
        check_stop(it)


def check_image(it: Stack) -> None:
    """Check the content of the image, and that a rebuilt image has a change of the source."""
    run_it = ("run", "--rm", it.name, "python", "-c")
    assert it.docker(*run_it, LOOK_AROUND, it.name).splitlines() == ["[]", "[]", "True"]
    labels = json.loads(it.inspect(it.name, "json .Config.Labels"))
    assert labels["org.opencontainers.image.title"] == "Orders"

    package = it.project / "src" / it.name / "__init__.py"
    package.write_text(package.read_text("utf-8") + "\nCHANGED = True\n", "utf-8")
    began = time.monotonic()
    it.docker("build", "--tag", it.name, ".")
    print(f"build after a change of the source {time.monotonic() - began:.1f} s")  # noqa: T201
    assert it.docker(*run_it, f"import {it.name}; print({it.name}.CHANGED)") == "True\n"


def check_image_alone(it: Stack) -> None:
    """Under all restrictions, as process 1: it gets healthy, and ends on SIGTERM with 0."""
    name = f"{it.name}-alone"
    settings = {
        "ENVIRONMENT": "local",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    if "asyncpg" in (it.project / "pyproject.toml").read_text("utf-8"):
        settings["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    variables = [word for pair in settings.items() for word in ("--env", "=".join(pair))]
    restrictions = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]  # noqa: S108
    restrictions += ["--user", "10001:10001", "--security-opt", "no-new-privileges"]
    it.docker("run", "--detach", "--name", name, *restrictions, *variables, it.name)
    wait_for(lambda: it.inspect(name, ".State.Health.Status") == "healthy")
    it.docker("stop", "--time", "40", name)
    assert it.inspect(name, ".State.ExitCode") == "0"


def check_http(it: Stack) -> str:
    """Register, log in, create an item and list it; return the access token."""
    account = {"email": "ada@example.com", "password": secrets.token_hex(12)}
    with httpx2.Client(base_url=f"http://127.0.0.1:{it.port}", timeout=60) as client:
        assert client.get("/health/ready").json()["status"] == "ok"
        assert client.post(f"{API}/users", json=account).status_code == 202
        form = {"username": account["email"], "password": account["password"]}
        answer = client.post(f"{API}/auth/token", data={"grant_type": "password", **form})
        token: str = answer.json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.post(f"{API}/items", json={"title": "Tea"}).status_code == 201
        assert [one["title"] for one in client.get(f"{API}/items").json()["items"]] == ["Tea"]
    return token


def check_backup(it: Stack, token: str) -> None:
    """Back up and restore the database with the commands of deploy/README.md."""
    page = (it.project / "deploy" / "README.md").read_text("utf-8")
    section = page.partition("### Backups")[2].partition("\n## ")[0]
    backup, restore = re.findall(r"```sh\n(.+?)```", section, re.DOTALL)
    shell(it, backup)
    create_table = ("psql", "--username=postgres", it.name, "--command=CREATE TABLE later ()")
    postgres = "postgres" in it.compose("config", "--services").split()
    with httpx2.Client(base_url=f"http://127.0.0.1:{it.port}", timeout=60) as client:
        account = {"email": "later@example.com", "password": secrets.token_hex(12)}
        assert client.post(f"{API}/users", json=account).status_code == 202
        if postgres:
            it.compose("exec", "-T", "postgres", *create_table)
        shell(it, restore)
        if postgres:  # a migration could create the table again
            it.compose("exec", "-T", "postgres", *create_table)
        bearer = {"Authorization": f"Bearer {token}"}
        assert client.get(f"{API}/users/me", headers=bearer).status_code == 200
        assert client.post(f"{API}/users", json=account).status_code == 202


def check_release(it: Stack, token: str) -> None:
    """Replace the web container with the commands of deploy/README.md without losing a request."""
    page = (it.project / "deploy" / "README.md").read_text("utf-8")
    [commands] = re.findall(r"```sh\n(old=.+?)```", page, re.DOTALL)
    port = free_port()
    before, after = commands.replace("8001", str(port)).split("# Now take", 1)
    with Proxy([it.port]) as proxy, Load(proxy.port, token) as load:
        print(shell(it, before))  # noqa: T201
        [old] = [one for one in it.ids("web") if str(it.port) in it.docker("port", one)]
        proxy.upstreams = [it.port, port]
        load.wait_for(200)
        proxy.upstreams = [port]
        shell(it, f"old={old}\n" + after.partition("\n")[2])
        load.wait_for(200)
    assert len(it.ids("web")) == 1
    assert load.lost == []
    print(f"{load.done} requests during the release, {len(load.lost)} lost")  # noqa: T201


def shell(it: Stack, commands: str) -> str:
    """Run commands in bash."""
    return run(["bash", "-euc", commands], cwd=it.project, env=it.env, timeout=900)


def check_stop(it: Stack) -> None:
    """Check that every process exits with 0 on SIGTERM and logged only JSON lines."""
    services = set(it.compose("config", "--services").split()) & {"web", "worker"}
    containers = it.ids(*sorted(services))
    assert len(containers) == len(services)
    # The release has replaced the worker; a signal during their imports ends with 143.
    wait_for(lambda: all("started" in it.docker("logs", one).lower() for one in containers))
    it.compose("stop")
    for container in containers:
        assert it.inspect(container, ".State.ExitCode") == "0"
        lines = it.docker("logs", container).splitlines()
        assert lines
        assert {"message", "@timestamp"} <= set.intersection(*(set(json.loads(x)) for x in lines))
    it.compose("down", "--volumes")
    assert it.ids("--all") == []


@pytest.mark.thorough
@pytest.mark.usefixtures("engine")
def test_containers_read_files_written_with_umask_077(tmp_path: Path) -> None:
    def render(**answers: Any) -> Path:
        return render_privately(tmp_path, **answers)

    with stack(render, tmp_path / "stack", {"database": "sqlite", "use_prometheus": True}) as it:
        ports = {"prometheus": free_port(), "alertmanager": free_port()}
        it.env |= {f"{name.upper()}_PORT": str(port) for name, port in ports.items()}
        it.docker("build", "--tag", it.name, ".")
        it.compose("up", "--detach", "--wait")
        it.compose("--profile", "monitoring", "up", "--detach", "--no-deps", *ports)

        with httpx2.Client() as client:
            for port in ports.values():
                wait_for(functools.partial(answers, client, f"http://127.0.0.1:{port}/-/ready"))


def answers(client: httpx2.Client, url: str) -> bool:
    """Return whether a URL answers with 200."""
    with contextlib.suppress(httpx2.TransportError):
        return client.get(url).status_code == 200
    return False


@pytest.mark.thorough
@pytest.mark.usefixtures("engine")
def test_build_with_a_stale_lock_explains_what_to_do(render: Render, tmp_path: Path) -> None:
    with stack(render, tmp_path, {}) as it:
        pyproject = it.project / "pyproject.toml"
        pyproject.write_text(pyproject.read_text("utf-8").replace('"click>=8.3', '"click>=8.1'))
        stale = it.attempt("build", "--tag", it.name, ".")
        (it.project / "uv.lock").unlink()
        missing = it.attempt("build", "--tag", it.name, ".")

        for done in (stale, missing):
            assert done.returncode != 0
            assert "run 'uv lock' and commit it" in done.stdout


class Proxy:
    """A load balancer on loopback that keeps client connections and rotates upstreams."""

    def __init__(self, upstreams: list[int]) -> None:
        """Set the upstreams; entering the context starts the server."""
        self.upstreams = upstreams
        self.port = 0
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        self._started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                self._turn += 1
                port = self.upstreams[self._turn % len(self.upstreams)]
                source, target = await asyncio.open_connection("127.0.0.1", port)
                target.write(head[:-2] + b"X-Once: 1\r\n\r\n" + body)
                answer = await source.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
                rest = await source.readexactly(int(length[1])) if length else b""
                target.close()
                writer.write(re.sub(rb"(?i)connection: close\r\n", b"", answer) + rest)
        writer.close()


class Load:
    """Clients that read and write on persistent connections until they are stopped."""

    def __init__(self, port: int, token: str) -> None:
        """Set the target; entering the context starts the clients."""
        self.done = 0
        self.lost: list[str] = []
        self._stop = threading.Event()
        self._url = f"http://127.0.0.1:{port}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clients after their current requests."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, requests: int) -> None:
        """Wait for a number of further requests."""
        goal = self.done + requests
        wait_for(lambda: self.done >= goal)

    def _ask(self) -> None:
        with httpx2.Client(base_url=self._url, headers=self._headers, timeout=60) as client:
            while not self._stop.wait(0.01):
                for method, status in (("GET", 200), ("POST", 201)):
                    try:
                        json = {"title": "Load"} if method == "POST" else None
                        answer = client.request(method, f"{API}/items", json=json)
                        if answer.status_code != status:
                            self.lost.append(f"{method}: {answer.status_code} {answer.text}")
                    except httpx2.HTTPError as error:
                        self.lost.append(f"{method}: {error!r}")
                    self.done += 1
