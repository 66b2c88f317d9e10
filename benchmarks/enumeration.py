"""Measure whether response times reveal which email addresses have an account.

    python benchmarks/enumeration.py [--addresses 1000] [--only reset,login] [--python python3.13]

Renders the service with and without the worker, and on SQLite, and starts each with its production
command and a mail server. Each operation is requested once for each of as many known as unknown
addresses, in random order. AUC is the probability that a known address takes longer than an unknown
one (Mann-Whitney); at 0.5 the times reveal nothing. Exits with status 1 if one differs from that by
more than 0.04, about three standard errors at 1,000 addresses of each kind.
"""

import argparse
import logging
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx2
from cache import render

from harness import (
    API,
    POSTGRES,
    REDIS,
    Server,
    environ,
    free_port,
    requirements,
    run,
    serve,
    shared_environment,
)

TOLERANCE = 0.04
ANSWERS: dict[str, dict[str, object]] = {
    "default": {"database": "postgresql"},
    "worker": {"database": "postgresql", "use_redis": True, "use_worker": True},
    "sqlite": {"database": "sqlite"},
}
SETTINGS = {
    "BCRYPT_ROUNDS": "4",  # a slow hash would hide small differences
    "LOG_FORMAT": "json",
    "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
    "RATE_LIMIT": "1000000000",
}
# Path and body of each operation, and its status for both kinds of address.
OPERATIONS: dict[str, tuple[str, dict[str, str], int]] = {
    "reset": ("/auth/password-reset", {}, 202),
    "verification": ("/auth/email-verification", {}, 202),
    "registration": ("/users", {"password": "analytical-engine-1843"}, 202),
    "login": ("/auth/session", {"password": "a wrong password"}, 401),
}
# Stores accounts with the email addresses in stdin, one a line.
STORE = """
import asyncio, sys
from {package}.auth.models import User
from {package}.auth.passwords import PasswordHasher
from {package}.database import Database
from {package}.settings import load_settings

async def store(settings):
    password_hash = await PasswordHasher(settings).hash("{password}", "benchmark")
    async with Database(settings) as database, database.write_session() as session:
        for email in sys.stdin.read().split():
            session.add(User(email=email, password_hash=password_hash))

asyncio.run(store(load_settings()))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--addresses", type=int, default=1000, help="of each kind, per operation")
    parser.add_argument("--only", default=",".join(OPERATIONS), help="operations, comma separated")
    parser.add_argument("--renders", default=",".join(ANSWERS), help="renders, comma separated")
    parser.add_argument("--python", default=sys.executable, help="which runs the services")
    options = parser.parse_args()
    logging.disable()
    differs = False
    print(f"{'':22}{'known ms':>10}{'unknown ms':>12}{'AUC':>8}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in options.renders.split(","):
            with ExitStack() as services:
                project = render(folder / name, **ANSWERS[name])
                client, env = started(services, name, project, options.python)
                for operation in options.only.split(","):
                    known, unknown = measure(client, project, env, operation, options.addresses)
                    area = auc(known, unknown)
                    differs |= abs(area - 0.5) > TOLERANCE
                    medians = [statistics.median(times) * 1000 for times in (known, unknown)]
                    print(f"{name:9}{operation:13}{medians[0]:10.2f}{medians[1]:12.2f}{area:8.3f}")
    sys.exit(differs)


def started(
    stack: ExitStack, name: str, project: Path, python: str
) -> tuple[httpx2.Client, dict[str, str]]:
    """A client of the service on a new database, and the environment of its commands."""
    environment = shared_environment(requirements(project), python)
    settings = {"SMTP_URL": f"smtp://127.0.0.1:{mail_server(stack, environment)}", **SETTINGS}
    if name == "sqlite":
        settings["DATABASE_URL"] = f"sqlite:///{project / 'benchmark.db'}"
    else:
        postgres = Server(environment, POSTGRES)
        stack.callback(postgres.close)
        settings["DATABASE_URL"] = postgres.database()
    if name == "worker":
        redis = Server(environment, REDIS)
        stack.callback(redis.close)
        settings["REDIS_URL"] = redis.database()
    env = environ(project, environment, SECRET_KEY=secrets.token_urlsafe(48), **settings)
    run([str(environment / "bin" / "alembic"), "upgrade", "head"], cwd=project, env=env)
    service = stack.enter_context(serve(project, env, project.parent / f"{name}.log"))
    return stack.enter_context(service.client()), env


def mail_server(stack: ExitStack, environment: Path) -> int:
    """Start a mail server that drops all messages; returns its port."""
    port = free_port()
    command = [str(environment / "bin" / "python"), "-m", "aiosmtpd", "--nosetuid"]
    command += ["--class", "aiosmtpd.handlers.Sink", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return port


def measure(
    client: httpx2.Client, project: Path, env: dict[str, str], operation: str, number: int
) -> tuple[list[float], list[float]]:
    """Seconds of the operation for known and for unknown addresses."""
    known = [f"known-{operation}-{n}@example.com" for n in range(number)]
    unknown = [f"other-{operation}-{n}@example.com" for n in range(number)]
    package = next((project / "src").iterdir()).name
    store = STORE.format(package=package, password=secrets.token_hex(16))
    run(["python", "-c", store], cwd=project, env=env, stdin="\n".join(known))
    times: dict[str, float] = {}
    for email in random.sample(known + unknown, 2 * number):
        times[email] = seconds(client, operation, email)
    return [times[email] for email in known], [times[email] for email in unknown]


def seconds(client: httpx2.Client, operation: str, email: str) -> float:
    """Seconds until the response to one request.

    Raises:
        RuntimeError: the response has another status.
    """
    path, body, status = OPERATIONS[operation]
    began = time.perf_counter()
    response = client.post(f"{API}{path}", json={"email": email, **body})
    taken = time.perf_counter() - began
    if response.status_code != status:
        raise RuntimeError(f"{operation}: {response.status_code} {response.text}")
    return taken


def auc(known: list[float], unknown: list[float]) -> float:
    """The probability that a known address takes longer than an unknown one."""
    ranked = sorted([(time, 1) for time in known] + [(time, 0) for time in unknown])
    ranks = sum(rank for rank, (_, is_known) in enumerate(ranked, 1) if is_known)
    return (ranks - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown))


if __name__ == "__main__":
    main()
