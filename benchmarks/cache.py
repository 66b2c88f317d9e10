"""Requests a second for a list of items, with and without the cache, and what an outage costs.

    python benchmarks/cache.py [--seconds 5] [--rounds 3] [--clients 16]

Renders the PostgreSQL service with and without Redis, starts each with its production command, and
loads them in turn, so that both see the same machine.
"""

import argparse
import asyncio
import logging
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from cookiecutter.main import cookiecutter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from harness import POSTGRES, REDIS, Server, environ, requirements, run, serve, shared_environment
from questions import TEMPLATE

ITEMS = "/api/v1/items"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each service")
    parser.add_argument("--clients", type=int, default=16, help="connections at the same time")
    options = parser.parse_args()
    logging.disable()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        renders = {
            "without": render(folder / "without", use_redis=False),
            "with": render(folder / "with", use_redis=True),
        }
        environment = shared_environment(set().union(*map(requirements, renders.values())))
        postgres, redis = Server(environment, POSTGRES), Server(environment, REDIS)
        stack.callback(postgres.close)
        stack.callback(redis.close)
        redis_url = redis.database()
        targets = {}
        for name, project in renders.items():
            settings = {"DATABASE_URL": postgres.database(), "REDIS_URL": redis_url}
            targets[name] = stack.enter_context(
                running(project, environment, folder / f"{name}.log", settings)
            )
        rates: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(options.rounds):
            for name, (url, token, _) in targets.items():
                rates[name].append(asyncio.run(load(url, token, options.seconds, options.clients)))
        for name, measured in rates.items():
            print(f"{name:8} Redis: {statistics.median(measured):7.0f} requests/s")
        ratios = [w / wo for w, wo in zip(rates["with"], rates["without"], strict=True)]
        print(f"ratio {statistics.median(ratios):.2f} (median of {len(ratios)} rounds)")

        url, token, _ = targets["with"]
        with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
            before = [latency(client) for _ in range(50)]
            tell(redis_url, "CLIENT PAUSE 60000 ALL")
            first, *after = [latency(client) for _ in range(50)]
        print(
            f"latency {statistics.median(before) * 1000:.1f} ms; Redis silent: first request "
            f"{first * 1000:.1f} ms, then {statistics.median(after) * 1000:.1f} ms"
        )


def render(folder: Path, **answers: object) -> Path:
    """Render a project with these answers."""
    with tempfile.TemporaryDirectory() as home:
        config = Path(home) / "config.yaml"
        config.write_text(f"replay_dir: {home}\ncookiecutters_dir: {home}\n")
        project = cookiecutter(
            str(TEMPLATE),
            no_input=True,
            extra_context=answers,
            output_dir=str(folder),
            config_file=str(config),
        )
    return Path(project)


@contextmanager
def running(
    project: Path, environment: Path, log: Path, settings: dict[str, str]
) -> Iterator[tuple[str, str, int]]:
    """The URL of a service with 20 items, a token of their owner, and the id of its process."""
    env = environ(project, environment, **settings) | {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "BCRYPT_ROUNDS": "10",
        "RATE_LIMIT": "1000000000",
        "LOG_FORMAT": "json",
    }
    run([str(environment / "bin" / "alembic"), "upgrade", "head"], cwd=project, env=env)
    with serve(project, env, log) as service, service.client() as client:
        account = {"email": "ada@example.com", "password": secrets.token_hex(12)}
        client.post("/api/v1/users", json=account)
        form = {"username": account["email"], "password": account["password"]}
        answer = client.post("/api/v1/auth/token", data={"grant_type": "password", **form})
        token = answer.json()["access_token"]
        for number in range(20):
            item = {"title": f"Item {number}", "tags": ["work", "home"]}
            client.post(ITEMS, json=item, headers={"Authorization": f"Bearer {token}"})
        yield service.url, token, service.process.pid


async def load(url: str, token: str, seconds: float, clients: int, path: str = ITEMS) -> float:
    """Requests a second that a path stands, over connections that are kept."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    end = time.monotonic() + seconds

    async def client() -> int:
        reader, writer = await asyncio.open_connection(host, port)
        count = 0
        while time.monotonic() < end:
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(client() for _ in range(clients)))) / seconds


def tell(redis_url: str, command: str) -> None:
    """Give Redis a command."""
    url = urlsplit(redis_url)
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall(f"{command}\r\n".encode())
        connection.recv(100)


def latency(client: httpx2.Client) -> float:
    """Seconds that a list of items takes."""
    started = time.perf_counter()
    client.get(ITEMS).raise_for_status()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
