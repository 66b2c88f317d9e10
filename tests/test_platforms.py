"""Heroku, Railway and Render: the commands in their files run, and their tests find typos."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
import yaml

from conftest import Render
from harness import (
    API,
    Service,
    clean_environ,
    environ,
    free_port,
    log_in,
    python_of,
    ready,
    register,
    run,
)
from questions import Answers

PLATFORMS = ("heroku", "railway", "render")
APPLICATIONS: dict[str, Answers] = {
    "small": {},
    "large": {"use_redis": True, "use_worker": True},
}
# The address that a platform's proxy connects from, its X-Forwarded-For, and whose request it is.
# Seen on the platforms; what the client has written itself comes first, where it is kept.
FORWARDED = {
    "heroku": ("10.1.45.23", "6.6.6.6, 99.61.165.29", "99.61.165.29"),
    "railway": ("100.64.0.3", "91.157.105.204, 152.233.33.1", "91.157.105.204"),
    "render": ("10.21.157.68", "6.6.6.6,1.1.1.1, 172.71.95.118, 10.19.64.237", "1.1.1.1"),
}
# It kills what does not end within 5 seconds, where platforms wait for half a minute and longer.
HONCHO = "from honcho import command, manager; manager.KILL_WAIT = 60; command.main()"
CLIENT = """
import asyncio, sys
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
trusted, peer, forwarded = sys.argv[1:]
scope = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]}
async def app(scope, receive, send):
    print(scope["client"][0])
asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, None, None))
"""
# Runs the deployment tests, and then again with each typo, in a process that has all imported.
MUTATE = """
import json, os, pathlib, sys, pytest
COMMAND = ["-q", "-x", "-p", "no:cacheprovider", "deploy"]
if pytest.main(COMMAND) != 0:
    sys.exit("the files as they are do not pass")
missed = []
for file, old, new in json.loads(sys.argv[1]):
    path = pathlib.Path(file)
    text = path.read_text("utf-8")
    path.write_text(text.replace(old, new, 1), "utf-8")
    child = os.fork()
    if child == 0:
        for module in [name for name in sys.modules if ".test_" in name]:
            del sys.modules[module]
        os._exit(pytest.main(COMMAND))
    if old not in text or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 1:
        missed.append((file, old, new))
    path.write_text(text, "utf-8")
print(json.dumps(missed), flush=True)
"""
# A typo in each file of a platform; the tests in deploy must fail.
TYPOS = {
    "heroku": [
        ("Procfile", "orders run", "orders rum"),
        ("Procfile", "orders worker", "orders work"),
        ("Procfile", "worker: ", "works: "),
        ("Procfile", "upgrade head", "upgrade heads"),
        ("app.json", "SECRET_KEY", "SECRET_KEYS"),
        ("app.json", "ALLOWED_HOSTS", "ALLOWED_HOST"),
        ("app.json", "SMTP_URL", "SMPT_URL"),
        ("app.json", "APP_URL", "API_URL"),
        ("app.json", "generator", "generate"),
        ("app.json", '"worker": {', '"works": {'),
        ("app.json", "standard-1x", "standart-1x"),
        ("app.json", "heroku-redis", "redis"),
        (".profile", "HOST=0.0.0.0", "HOST=127.0.0.1"),
        (".profile", "GRACEFUL_TIMEOUT:-25", "GRACEFUL_TIMEOUT:-30"),
        (".profile", "export GRACEFUL", "export GRACE"),
        (".profile", "PGSSLMODE:-require", "PGSSLMODE:-prefer"),
        (".profile", "ssl_cert_reqs", "ssl_cert_req"),
        (".profile", "10.0.0.0/8", "*"),
        (".python-version", "3.13", "3.12"),
        ("deploy/heroku/README.md", "SMTP_URL=", "MAIL_URL="),
    ],
    "railway": [
        ("railway.json", "/health/ready", "/health/read"),
        ("railway.json", "healthcheckPath", "healthCheckPath"),
        ("railway.json", "alembic upgrade", "alembic up"),
        ("railway.json", '"drainingSeconds": 40', '"drainingSeconds": 20'),
        ("railway.json", '"overlapSeconds": 10', '"overlapSeconds": "10"'),
        ("railway.json", "DOCKERFILE", "DOCKER"),
        ("railway.json", "ALWAYS", "always"),
        ("deploy/railway/worker.json", "orders worker", "order worker"),
        ("deploy/railway/worker.json", "startCommand", "startComand"),
        ("deploy/railway/variables.env", "Redis.REDIS_URL", "Redis.URL"),
        ("deploy/railway/variables.env", "MAIL_FROM", "MAILFROM"),
        ("deploy/railway/variables.env", "ALLOWED_HOSTS", "ALLOWED_HOST"),
        ("deploy/railway/README.md", "SECRET_KEY=", "SECRET="),
        ("deploy/railway/README.md", "APP_URL=", "API_URL="),
        ("Dockerfile", "COPY src src", "RUN --mount=type=cache,target=/root/.cache true"),
    ],
    "render": [
        ("render.yaml", "/health/live", "/healthz"),
        ("render.yaml", "maxShutdownDelaySeconds: 40", "maxShutdownDelaySeconds: 30"),
        ("render.yaml", "preDeployCommand: alembic upgrade", "preDeployCommand: alembic upgrde"),
        ("render.yaml", "dockerCommand: ", "startCommand: "),
        ("render.yaml", 'dockerCommand: "orders worker"', 'dockerCommand: "orders works"'),
        ("render.yaml", 'name: "orders-postgres"', 'name: "orders-db"'),
        ("render.yaml", "type: keyvalue", "type: redis"),
        ("render.yaml", "envVarKey: SMTP_URL", "envVarKey: SMTP"),
        ("render.yaml", "envVarKey: APP_URL", "envVarKey: API_URL"),
        ("render.yaml", "generateValue: true", "generate: true"),
        ("render.yaml", 'fromGroup: "orders"', 'fromGroup: "order"'),
        ("render.yaml", "key: REDIS_URL", "key: REDIS"),
        ("render.yaml", "key: ALLOWED_HOSTS", "key: ALLOWED_HOST"),
        ("render.yaml", 'postgresMajorVersion: "18"', 'postgresMajorVersion: "17"'),
        ("render.yaml", "ipAllowList: []", "ipAllowList: [{source: 0.0.0.0/0}]"),
        ("render.yaml", "allkeys-lru", "allkeys-lur"),
    ],
}


@dataclass
class Platform:
    """How a platform runs a render.

    Attributes:
        commands: what is run, by the names of the processes; `release` before all the others.
        variables: the image's, and those that are set openly.
        trusted: the proxies whose headers count.
        killed_after: seconds from SIGTERM to SIGKILL.
    """

    commands: dict[str, str]
    variables: dict[str, str]
    trusted: str
    killed_after: float


def heroku(project: Path) -> Platform:
    """Read the Procfile, app.json and .profile."""
    lines = (project / "Procfile").read_text("utf-8").splitlines()
    config = json.loads((project / "app.json").read_text("utf-8"))["env"]
    profile = (project / ".profile").read_text("utf-8")
    return Platform(
        commands=dict(line.split(": ", 1) for line in lines),
        variables={name: one["value"] for name, one in config.items() if "value" in one},
        trusted=re.findall(r"FORWARDED_ALLOW_IPS=(\S+)", profile)[0],
        killed_after=30,
    )


def railway(project: Path) -> Platform:
    """Read the configuration of each service, and the variables."""
    files = {"web": project / "railway.json"}
    files |= {path.stem: path for path in (project / "deploy" / "railway").glob("*.json")}
    services = {name: json.loads(path.read_text("utf-8"))["deploy"] for name, path in files.items()}
    lines = (project / "deploy" / "railway" / "variables.env").read_text("utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines]
    variables = {name: value for name, value in pairs if not value.startswith("$")}
    return Platform(
        commands={
            "release": services["web"]["preDeployCommand"][0],
            **{name: one.get("startCommand", command(project)) for name, one in services.items()},
        },
        variables={"HOST": "0.0.0.0", **variables},  # noqa: S104
        trusted=variables["FORWARDED_ALLOW_IPS"],
        killed_after=services["web"]["drainingSeconds"],
    )


def render_com(project: Path) -> Platform:
    """Read the blueprint."""
    blueprint = yaml.safe_load((project / "render.yaml").read_text("utf-8"))
    services = {
        one["name"].rpartition("-")[2]: one for one in blueprint["services"] if "runtime" in one
    }
    listed = services["web"]["envVars"] + blueprint["envVarGroups"][0]["envVars"]
    variables = {one["key"]: one["value"] for one in listed if "value" in one}
    return Platform(
        commands={
            "release": services["web"]["preDeployCommand"],
            **{name: one.get("dockerCommand", command(project)) for name, one in services.items()},
        },
        variables={"HOST": "0.0.0.0", **variables},  # noqa: S104
        trusted=variables["FORWARDED_ALLOW_IPS"],
        killed_after=services["web"]["maxShutdownDelaySeconds"],
    )


def command(project: Path) -> str:
    """Return the command of the image."""
    text = (project / "Dockerfile").read_text("utf-8")
    return shlex.join(json.loads(re.findall(r"^CMD (\[.+\])$", text, re.MULTILINE)[0]))


READERS: dict[str, Callable[[Path], Platform]] = {
    "heroku": heroku,
    "railway": railway,
    "render": render_com,
}


@contextlib.contextmanager
def behind_tls(url: str) -> Iterator[str]:
    """Serve a Redis server with a certificate of an unknown authority, as Heroku does."""
    upstream = httpx2.URL(url)
    certificate = trustme.CA().issue_cert("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(upstream.host, upstream.port)
        await asyncio.gather(pipe(reader, behind[1]), pipe(behind[0], writer))

    loop = asyncio.new_event_loop()
    port = free_port()
    loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", port, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"rediss://:password@127.0.0.1:{port}{upstream.path}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@contextlib.contextmanager
def mail_server(env: dict[str, str], log: Path) -> Iterator[str]:
    """Run an SMTP server that writes each message to a file."""
    port = free_port()
    handler = ["-c", "aiosmtpd.handlers.Debugging", "stdout"]
    python = python_of(env)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-u", "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}", *handler],
            env=env,
            stdout=output,
        )
    yield f"smtp://127.0.0.1:{port}"
    process.kill()
    process.wait(timeout=60)


def honcho(project: Path, *processes: str, port: int = 5000) -> list[str]:
    """Return the command that reads .profile and starts these processes of the Procfile."""
    start = [sys.executable, "-c", HONCHO, "--env", "none", "start", *processes]
    profile = ". ./.profile; " if (project / ".profile").exists() else ""
    return ["bash", "-c", f"{profile}exec {shlex.join([*start, '--port', str(port)])}"]


def until(happens: Callable[[], Any], log: Path) -> None:
    """Return when it does; fail the test with the log if it does not."""
    deadline = time.monotonic() + 120
    while not happens():
        if time.monotonic() > deadline:
            pytest.fail(log.read_text("utf-8"))
        time.sleep(0.05)


@contextlib.contextmanager
def started(project: Path, processes: list[str], env: dict[str, str]) -> Iterator[Service]:
    """Run these processes of the Procfile, from the moment that the web server is ready."""
    port = free_port()
    command = honcho(project, *processes, port=port)
    with ready(command, project, env, port, project.with_name("log")) as service:
        yield service


def installed(project: Path, environment: Path) -> dict[str, str]:
    """Return the environment of a machine with the project installed."""
    program = project.with_name("bin") / "orders"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nexec python -m orders.cli "$@"\n', "utf-8")
    program.chmod(0o755)
    env = environ(project, environment)
    return {**env, "PATH": f"{program.parent}{os.pathsep}{env['PATH']}"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "size"), [("heroku", "small"), *((name, "large") for name in PLATFORMS)]
)
def test_platform_migrates_serves_runs_jobs_and_stops(
    name: str, size: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    answers = APPLICATIONS[size]
    made = request.getfixturevalue("render")(cloud=name, **answers)
    # Without .env, which git does not know either.
    project = shutil.copytree(made, tmp_path / "app", ignore=shutil.ignore_patterns(".env"))
    platform = READERS[name](project)
    # The shell gives way to the command, as bash does on Heroku, so that its exit code is seen.
    lines = [f"{process}: exec {line}\n" for process, line in platform.commands.items()]
    (project / "Procfile").write_text("".join(lines), "utf-8")
    database = request.getfixturevalue("postgres").database()
    env = {
        **installed(project, request.getfixturevalue("environment")),
        **platform.variables,
        "DATABASE_URL": database.replace("postgresql://", "postgres://"),
        "SECRET_KEY": secrets.token_urlsafe(32),
        "WEB_CONCURRENCY": "2" if name == "heroku" else "1",
    }
    mails = tmp_path / "mails"
    with contextlib.ExitStack() as stack:
        if answers:
            url = request.getfixturevalue("redis").database()
            env["REDIS_URL"] = stack.enter_context(behind_tls(url)) if name == "heroku" else url
            env["REDIS_TIMEOUT"] = "60"
            env["SMTP_URL"] = stack.enter_context(mail_server(env, mails))
            env["APP_URL"] = "https://app.example.com"

        run(honcho(project, "release"), cwd=project, env=env)
        processes = [process for process in platform.commands if process != "release"]
        service = stack.enter_context(started(project, processes, env))

        with service.client() as client:
            client.headers["Host"] = platform.variables["ALLOWED_HOSTS"].replace("*", "orders")
            assert client.get("/health/ready").json()["status"] == "ok"
            account = register(client)
            token = log_in(client, account).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            item = client.post(f"{API}/items", json={"title": "Tea"})
            assert item.status_code == 201
            assert client.get(item.headers["Location"]).json()["title"] == "Tea"
        if answers:
            until(lambda: account["email"] in mails.read_text("utf-8"), service.log)
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(timeout=platform.killed_after)
        log = service.log.read_text("utf-8")
    assert [one for one in processes if f"{one}.1 stopped (rc=0)" not in log] == [], log


@pytest.mark.parametrize("name", PLATFORMS)
def test_client_address_comes_from_the_platform_and_cannot_be_forged(
    name: str, render: Render, environment: Path
) -> None:
    peer, forwarded, client = FORWARDED[name]
    trusted = READERS[name](render(cloud=name)).trusted

    python = str(environment / "bin" / "python")
    found = run([python, "-c", CLIENT, trusted, peer, forwarded], cwd=environment)
    assert found.strip() == client


@pytest.mark.thorough
@pytest.mark.parametrize("name", PLATFORMS)
def test_contract_holds_and_finds_every_typo(
    name: str, render: Render, environment: Path, tmp_path: Path
) -> None:
    made = render(cloud=name, **APPLICATIONS["large"])
    project = shutil.copytree(made, tmp_path / "project")
    python, typos = str(environment / "bin" / "python"), json.dumps(TYPOS[name])

    found = run([python, "-c", MUTATE, typos], cwd=project, env=clean_environ(made))
    assert json.loads(found.splitlines()[-1]) == []
