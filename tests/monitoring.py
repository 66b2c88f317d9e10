"""A render under load, watched by a real Prometheus and Alertmanager on loopback."""

import contextlib
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import yaml

from harness import (
    Service,
    free_port,
    program,
    python_of,
    run,
    serve,
    wait_for,
    wait_until_ready,
)

PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
}
API = "/api/v1"


def tool(name: str) -> str:
    """Return the path of a program of Prometheus."""
    return program(name, PACKAGES[name])


@dataclass
class Webhook:
    """The requests that Alertmanager sent to a webhook."""

    port: int = 0
    bodies: list[str] = field(default_factory=list)


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """Listen on a free port."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            hook.bodies.append(self.rfile.read(length).decode())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hook
    server.shutdown()
    server.server_close()


@dataclass
class Watched:
    """A running service and the Prometheus that reads it."""

    service: Service
    url: str
    hook: Webhook

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of Prometheus's response."""
        answer = httpx2.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the present series of an expression."""
        result: list[Any] = self.ask("query", query=expression.replace("$__rate_interval", "10s"))[
            "result"
        ]
        return result


@contextlib.contextmanager
def watch(
    project: Path, settings: Mapping[str, str], processes: list[str], folder: Path
) -> Iterator[Watched]:
    """Start the processes of a project, Alertmanager and Prometheus with short intervals.

    Args:
        project: a render.
        settings: the environment of its processes.
        processes: those besides web, by their command.
        folder: for data, changed configuration and logs.
    """
    with ExitStack() as stack:
        ports = {name: free_port() for name in ("web", *processes)}
        hook = stack.enter_context(webhook())
        env = {**settings, "METRICS_PORT": str(ports["web"]), "WEB_CONCURRENCY": "2"}
        service = stack.enter_context(serve(project, env, folder / "web.log"))
        python = python_of(settings)
        for name in processes:
            command = [python, "-m", "orders.cli", name]
            own = {**settings, "METRICS_PORT": str(ports[name])}
            stack.enter_context(started(command, folder / f"{name}.log", own, project))
        alerts, queries = free_port(), free_port()
        monitoring = shutil.copytree(project / "deploy" / "monitoring", folder / "monitoring")
        shorten(monitoring, ports, alerts, hook.port)
        listen = f"--web.listen-address=127.0.0.1:{alerts}"
        command = [tool("prometheus-alertmanager"), "--config.file=alertmanager.yml", listen]
        command += [f"--storage.path={folder / 'alerts'}", "--cluster.listen-address="]
        stack.enter_context(started(command, folder / "alertmanager.log", None, monitoring))
        listen = f"--web.listen-address=127.0.0.1:{queries}"
        command = [tool("prometheus"), "--config.file=prometheus.yml", listen]
        command += [f"--storage.tsdb.path={folder / 'series'}"]
        stack.enter_context(started(command, folder / "prometheus.log", None, monitoring))
        url = f"http://127.0.0.1:{queries}"
        watched = Watched(service, url, hook)

        def answers() -> bool:
            with contextlib.suppress(httpx2.TransportError):
                return httpx2.get(f"{url}/-/ready", timeout=60).is_success
            return False

        wait_until_ready(service)
        wait_for(answers)  # while it loads its data it listens and refuses
        wait_for(lambda: len(watched.query("up == 1")) == len(ports))
        yield watched


def shorten(monitoring: Path, ports: Mapping[str, int], alerts: int, hook: int) -> None:
    """Change the ports in the configuration, and shorten intervals and delays."""
    config = yaml.safe_load((monitoring / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"] = [
        {"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}
    ]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
    (monitoring / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = (monitoring / "rules.yml").read_text("utf-8")
    (monitoring / "rules.yml").write_text(re.sub(r"for: \d+m", "for: 1s", rules))
    (monitoring / "url").write_text(f"http://127.0.0.1:{hook}")
    routes = (monitoring / "alertmanager.yml").read_text("utf-8")
    routes = re.sub(r"/etc/alertmanager/\w+_url", str(monitoring / "url"), routes)
    routes = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", routes)
    (monitoring / "alertmanager.yml").write_text(routes)


@contextlib.contextmanager
def started(
    command: list[str], log: Path, env: Mapping[str, str] | None, cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def load(service: Service, seconds: float, enough: threading.Event | None = None) -> None:
    """Send requests of all kinds, including invalid ones, for some seconds or until an event."""
    end = time.monotonic() + seconds
    with service.client() as client:
        account = {
            "email": f"{secrets.token_hex(8)}@example.com",
            "password": secrets.token_hex(12),
        }
        assert client.post(f"{API}/users", json=account).status_code == 202
        form = {"grant_type": "password", "username": account["email"]}
        while time.monotonic() < end and not (enough and enough.is_set()):
            form["password"] = account["password"]
            tokens = client.post(f"{API}/auth/token", data=form).json()
            client.post(f"{API}/auth/token", data=form | {"password": "wrong"})
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            for number in range(10):
                item = {"title": f"Item {number}", "tags": ["work"]}
                key = {"Idempotency-Key": secrets.token_hex(8)}
                made = client.post(f"{API}/items", json=item, headers=bearer | key)
                client.get(made.headers["Location"], headers=bearer)
                client.get(f"{API}/items", headers=bearer)
                client.get(f"{API}/users/me", headers=bearer)
            other = {"email": f"{secrets.token_hex(8)}@example.com"}
            client.post(f"{API}/users", json=account | other)
            client.get("/nowhere")
            spent = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            for _ in range(2):
                client.post(f"{API}/auth/token", data=spent)


def migrate(project: Path, settings: Mapping[str, str]) -> None:
    """Apply the migrations."""
    python = python_of(settings)
    run([python, "-m", "alembic", "upgrade", "head"], cwd=project, env=settings)
