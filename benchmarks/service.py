"""How fast the service is, beside bare FastAPI with SQLAlchemy's ORM on the same rows.

    python benchmarks/service.py [--rounds 3] [--seconds 6] [--only user,list] [--peers] [--more]
                                 [--python python3.13]

Renders the PostgreSQL service with nothing and with everything, starts both with their production
command (one process, access log, all middleware, bcrypt 12) and `reference/bare.py` beside them,
all on one server and with pools of the same size, and loads them in turn with wrk (Linux; Debian's
package is installed where that may be). The service has a processor of its own; load, database and
all else share the other. Ratios to the reference in the same round are what counts. `pat` is `user`
with a personal access token, which the reference does not have. `--peers` adds what Flask, Django,
fastify (npm) and Go (Debian's packages) do. `--more` goes on with the default service alone: two
processes, 200 clients, a locked table, 200,000 requests, a million items.
"""

import argparse
import base64
import contextlib
import functools
import json
import logging
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from cache import render
from observability import cpu_seconds, sink

from harness import (
    API,
    CACHE,
    POSTGRES,
    REDIS,
    STARTUP,
    Server,
    environ,
    free_port,
    program,
    requirements,
    run,
    serve_command,
    shared_environment,
)
from questions import APPLICATION_QUESTIONS, QUESTIONS

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0))
ACCOUNT = {"email": "ada@example.com", "password": "analytical-engine-1843"}
SETTINGS = {
    "DATABASE_POOL_SIZE": "10",
    "LOG_FORMAT": "json",
    # What is measured is not whether one client may do all this.
    "LOGIN_ATTEMPTS": "1000000",
    "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
    "RATE_LIMIT": "1000000000",
    "ACCESS_TOKEN_TTL": "86400",
}
EXECUTE = """
import asyncio, asyncpg, bcrypt, sys
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    password_hash = bcrypt.hashpw(sys.argv[2].encode(), bcrypt.gensalt(12)).decode()
    await connection.execute(sys.stdin.read().replace("HASH", password_hash))
    await connection.execute("VACUUM ANALYZE")
asyncio.run(main())
"""
# 100 accounts with 100 items each; each item has two of three tags.
ROWS = """
INSERT INTO users (id, email, password_hash, role, is_active, created_at, updated_at)
SELECT gen_random_uuid(), CASE n WHEN 1 THEN 'ada' ELSE 'user' || n END || '@example.com', 'HASH',
       'user', true, now(), now()
FROM generate_series(1, 100) n;
INSERT INTO tags (id, name, created_at, updated_at)
SELECT gen_random_uuid(), name, now(), now() FROM unnest(ARRAY['home', 'someday', 'work']) name;
INSERT INTO items (id, owner_id, title, description, version, created_at, updated_at)
SELECT gen_random_uuid(), users.id, 'Item ' || n, repeat('About eighty characters. ', 3), 1,
       now() - n * interval '1 minute', now()
FROM users, generate_series(1, 100) n;
INSERT INTO item_tags (item_id, tag_id)
SELECT items.id, tags.id FROM items JOIN tags ON tags.name <> 'home' OR length(items.title) > 6;
"""


ITEMS = """
INSERT INTO items (id, owner_id, title, description, version, created_at, updated_at)
SELECT gen_random_uuid(), users.id, 'Item ' || n, repeat('About eighty characters. ', 3), 1,
       now() - n * interval '1 minute', now()
FROM users, generate_series({}, {}) n WHERE email = 'ada@example.com'
"""
SOAK = 200_000
STARTS = 9  # of each, in turn, with no other running
SHARE = 0.4  # of a processor for each of two processes: one is left for database and load
LOCK = "BEGIN; LOCK TABLE users; SELECT pg_sleep(8); COMMIT"


@dataclass
class Request:
    """What is asked for, again and again."""

    path: str
    method: str = "GET"
    body: str = ""
    content_type: str = ""
    by_program: bool = False  # with the personal access token of the account, if there are any


@dataclass
class Target:
    """A service, and once it runs the process that answers and the tokens of its account."""

    url: str
    requests: Mapping[str, Request]
    database: str
    command: list[str]
    project: Path
    env: Mapping[str, str]
    log: Path
    process: int = 0
    token: str = ""
    personal_token: str = ""
    cold: list[float] = field(default_factory=list)


BODY = json.dumps({"title": "Item", "description": "About eighty characters. " * 3})
FORM = f"grant_type=password&username={ACCOUNT['email']}&password={ACCOUNT['password']}"
FORM_TYPE = "application/x-www-form-urlencoded"


def requests(health: str, token: str, prefix: str) -> dict[str, Request]:
    """The same six requests by the paths of a service."""
    return {
        "health": Request(health),
        "user": Request(f"{prefix}/users/me"),
        "pat": Request(f"{prefix}/users/me", by_program=True),
        "list": Request(f"{prefix}/items?limit=20"),
        "create": Request(f"{prefix}/items", "POST", BODY, "application/json"),
        "login": Request(token, "POST", FORM, FORM_TYPE),
    }


PEERS = ("flask", "django", "fastify", "go")
PEER_REQUIREMENTS = ("django", "flask", "gunicorn", "psycopg[binary,pool]", "pyjwt", "sqlalchemy")
RENDERED = requests("/health/live", f"{API}/auth/token", API)
BARE = requests("/health", "/token", "")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each request")
    parser.add_argument("--seconds", type=int, default=6, help="length of a round")
    parser.add_argument("--clients", type=int, default=32, help="connections at the same time")
    parser.add_argument("--only", default=",".join(RENDERED), help="requests, comma separated")
    parser.add_argument("--python", default=sys.executable, help="which runs the services")
    parser.add_argument("--peers", action="store_true", help="other frameworks, too")
    parser.add_argument("--more", action="store_true", help="overload, memory, growth")
    parser.add_argument("--json", type=Path, help="a file for the numbers of every round")
    options = parser.parse_args()
    logging.disable()
    with ExitStack() as stack:
        peers = PEERS if options.peers else ()
        environment, targets = started(stack, peers, options.python)
        results: dict[str, dict[str, list[dict[str, float]]]] = {}
        for name in options.only.split(","):
            measured: dict[str, list[dict[str, float]]] = defaultdict(list)
            seconds, clients = options.seconds, options.clients
            if name == "login":  # a quarter of a second each, by design
                seconds, clients = max(seconds, 6), min(clients, 4)
            asked = {key: target for key, target in targets.items() if name in target.requests}
            for target in asked.values():
                load(target, name, 2, clients)
            for _ in range(options.rounds):
                for key, target in asked.items():
                    measured[key].append(load(target, name, seconds, clients))
            results[name] = measured
            show(name, measured)
        print(f"\n{'':12}{'RSS MiB':>10}{'cold start s':>14}")
        for key, target in targets.items():
            print(f"{key:12}{memory(target.process):10.0f}{statistics.median(target.cold):14.2f}")
        if options.more:
            more(environment, targets["default"])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def started(stack: ExitStack, peers: Iterable[str], python: str) -> tuple[Path, dict[str, Target]]:
    """An environment, and the services with their rows, each on a database of its own."""
    os.sched_setaffinity(0, CORES[1:] or CORES)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    everything = {name: True for name in APPLICATION_QUESTIONS if QUESTIONS[name] is False}
    renders = {
        "default": render(folder / "default"),
        "everything": render(folder / "everything", **everything),
    }
    # As in the image: libraries import others where they find them, such as structlog rich.
    environments = {
        name: shared_environment(requirements(project, only_to_run=True), python)
        for name, project in renders.items()
    }
    tools = shared_environment(requirements(renders["everything"]), python)
    postgres, redis = Server(tools, POSTGRES), Server(tools, REDIS)
    stack.callback(postgres.close)
    stack.callback(redis.close)
    collector = stack.enter_context(sink())
    redis_url = redis.database()
    settings = {
        "REDIS_URL": redis_url,
        "SMTP_URL": "smtp://127.0.0.1:25",
        "METRICS_PORT": str(free_port()),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
        "SENTRY_DSN": collector.replace("://", "://public@") + "/1",
    }
    targets: dict[str, Target] = {}
    for name in ("bare", *peers, *renders):
        project = renders.get(name, renders["default"])
        environment = environments.get(name, environments["default"])
        if name not in peers:  # those use what the reference before them does
            database = postgres.database()
            env = environ(project, environment, DATABASE_URL=database, **SETTINGS, **settings)
            env["SECRET_KEY"] = secrets.token_urlsafe(48)
            run([str(environment / "bin" / "alembic"), "upgrade", "head"], cwd=project, env=env)
            execute(environment, database, ROWS)
        port = free_port()
        env = env | {"HOST": "127.0.0.1", "PORT": str(port)}
        if name in peers:
            command = peer(name, port, python)
            asked = {key: request for key, request in BARE.items() if key != "login"}
        elif name == "bare":
            command = [str(environment / "bin" / "uvicorn"), "bare:app", "--no-access-log"]
            command += ["--port", str(port), "--app-dir", str(HERE / "reference")]
            asked = BARE
        else:
            command, asked = serve_command(project, env), RENDERED
        targets[name] = Target(
            f"http://127.0.0.1:{port}",
            asked,
            database,
            command,
            project,
            env,
            folder / f"{name}.log",
        )
    for _ in range(STARTS):
        for target in targets.values():
            process, seconds = start(target)
            stop(process)
            target.cold.append(seconds)
    for name, target in targets.items():
        process, _ = start(target)
        stack.callback(stop, process)
        if "login" in target.requests:
            login = httpx2.post(
                target.url + target.requests["login"].path,
                content=FORM,
                headers={"Content-Type": FORM_TYPE},
            )
            token = login.raise_for_status().json()["access_token"]
        if name in renders:
            target.personal_token = create_personal_token(target.url, token)
        target.token = token  # peers have that of the reference before them
        target.process = workers(process.pid)[0]
    return environments["default"], targets


def create_personal_token(url: str, token: str) -> str:
    """A personal access token that may read the account."""
    expires_at = datetime.now(UTC) + timedelta(days=1)
    body = {"name": "wrk", "scopes": ["account:read"], "expires_at": expires_at.isoformat()}
    headers = {"Authorization": f"Bearer {token}"}
    created = httpx2.post(f"{url}{API}/auth/tokens", json=body, headers=headers)
    personal_token: str = created.raise_for_status().json()["token"]
    return personal_token


def peer(name: str, port: int, python: str) -> list[str]:
    """The command of a reference in another framework, with what it needs installed."""
    source = HERE / "reference"
    if name in {"flask", "django"}:
        gunicorn = shared_environment(PEER_REQUIREMENTS, python) / "bin" / "gunicorn"
        options = ["--workers=1", "--worker-class=gthread", "--threads=10", "--keep-alive=5"]
        options += [f"--bind=127.0.0.1:{port}", f"--chdir={source}"]
        return [str(gunicorn), *options, f"{name}_app:app"]
    folder = CACHE / name
    folder.mkdir(exist_ok=True)
    if name == "fastify":
        install = ["npm", "install", "--silent", "fastify@5", "pg@8", "fast-jwt@6"]
        run(install, cwd=folder)
        module = shutil.copy(source / "fastify_app.mjs", folder)
        return [program("node", "nodejs"), str(module)]
    libraries = ("golang-github-jackc-pgx-v4-dev", "golang-github-golang-jwt-jwt-dev")
    go = program("go", "golang-go", *libraries)
    env = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}
    run([go, "build", "-o", str(folder / "app"), str(source / "go_app.go")], cwd=folder, env=env)
    return [str(folder / "app")]


def workers(process: int) -> list[int]:
    """The processes that answer: the children of one, as gunicorn's, or itself if it has none."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    commands = {int(one): Path(f"/proc/{one}/cmdline").read_text() for one in children}
    # Multiprocessing has a child for itself.
    found = [one for one, command in commands.items() if "resource_tracker" not in command]
    return found or [process]


@contextlib.contextmanager
def limited(process: int) -> Iterator[None]:
    """Let a process have its share of a processor and no more, by a control group of its own.

    Raises:
        OSError: this user may not make one.
    """
    version_1 = Path("/sys/fs/cgroup/cpu")
    group = (version_1 if version_1.is_dir() else version_1.parent) / f"benchmark-{process}"
    group.mkdir()
    period = 10_000  # microseconds
    quota = int(SHARE * period)
    try:
        if version_1.is_dir():
            (group / "cpu.cfs_period_us").write_text(f"{period}")
            (group / "cpu.cfs_quota_us").write_text(f"{quota}")
        else:
            (group / "cpu.max").write_text(f"{quota} {period}")
        (group / "cgroup.procs").write_text(f"{process}")
        yield
    finally:
        (group.parent / "cgroup.procs").write_text(f"{process}")
        group.rmdir()


def on(processors: int, command: list[str]) -> list[str]:
    """The command on this number of processors."""
    return ["taskset", "--cpu-list", ",".join(map(str, CORES[:processors])), *command]


def execute(environment: Path, database: str, sql: str) -> None:
    """Run SQL on a database."""
    command = [str(environment / "bin" / "python"), "-c", EXECUTE, database, ACCOUNT["password"]]
    subprocess.run(command, input=sql, text=True, check=True)


def start(target: Target, processors: int = 1) -> tuple[subprocess.Popen[bytes], float]:
    """A process of the service on this number of processors, and the seconds until it answered."""
    url = target.url + target.requests["health"].path
    began = time.perf_counter()
    with target.log.open("ab") as log:
        command = on(processors, target.command)
        process = subprocess.Popen(
            command, cwd=target.project, env=target.env, stdout=log, stderr=log
        )
    while True:
        with contextlib.suppress(httpx2.TransportError):
            httpx2.get(url).raise_for_status()
            return process, time.perf_counter() - began
        if process.poll() is not None or time.perf_counter() - began > STARTUP:
            raise RuntimeError(f"{command} does not answer; see {target.log}")
        time.sleep(0.005)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process."""
    process.terminate()
    process.wait()


def load(
    target: Target, name: str, seconds: int, clients: int, *, overloaded: bool = False
) -> dict[str, float]:
    """What wrk and the kernel say of some seconds of a request.

    Raises:
        RuntimeError: the service has refused or broken off a request, and is not overloaded.
    """
    request = target.requests[name]
    token = (request.by_program and target.personal_token) or target.token
    headers = f"Authorization: Bearer {token}\n"
    if request.content_type:
        headers += f"Content-Type: {request.content_type}\n"
    env = os.environ | {"METHOD": request.method, "HEADERS": headers}
    if request.body:
        env["BODY"] = request.body
    command = [program("wrk", "wrk"), "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s"]
    command += ["--script", str(HERE / "wrk.lua"), target.url + request.path]
    before = cpu_seconds(target.process)
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    used = cpu_seconds(target.process) - before
    result["rate"] = result["requests"] / result["seconds"]
    result["cpu"] = used / max(result["requests"], 1) * 1e6
    if not overloaded and (result["refused"] or result["broken"]):
        raise RuntimeError(f"{target.url}{request.path}: {result}")
    return result


def more(environment: Path, target: Target) -> None:
    """How the service takes two processes, overload, many requests, many rows."""
    for processes in (1, 2):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        env = {**target.env, "PORT": str(port), "WEB_CONCURRENCY": str(processes)}
        several = replace(target, url=url, env=env)
        with ExitStack() as stack:
            process, _ = start(several, len(CORES))
            stack.callback(stop, process)
            for worker in workers(process.pid):
                stack.enter_context(limited(worker))
            for name, clients in (("health", 32), ("user", 32), ("login", 8)):
                result = load(replace(several, process=process.pid), name, 10, clients)
                print(f"{name}, {processes} with {SHARE} of a processor each:", brief(result))
    loaded = functools.partial(load, target, "user", clients=200, overloaded=True)
    print("\n200 clients on 10 connections:", brief(loaded(10)))
    lock = threading.Thread(target=execute, args=(environment, target.database, LOCK))
    lock.start()
    time.sleep(1)
    print("the same, users locked for 8 s:", brief(loaded(15)))
    lock.join()
    print("after that:", brief(loaded(5)))
    path = target.requests["list"].path
    size = 100
    for wanted in (1_000, 10_000, 100_000, 1_000_000):
        execute(environment, target.database, ITEMS.format(size + 1, wanted))
        size = wanted
        last = datetime.now(UTC) - timedelta(minutes=size - 25)
        place = json.dumps(["-created_at", last.isoformat(), "f" * 32]).encode()
        pages = {
            "first": Request(path),
            "last": Request(f"{path}&cursor={base64.urlsafe_b64encode(place).decode()}"),
        }
        for name, request in pages.items():
            page = replace(target, requests={name: request})
            load(page, name, 1, 1)
            print(f"{size} items, {name} page:", brief(load(page, name, 3, 1)), flush=True)
    done = 0
    while done < SOAK:
        print(f"after {done} requests {memory(target.process):.0f} MiB", flush=True)
        before = done
        while done < before + 50_000:
            done += int(load(target, "user", 10, 32)["requests"])
    print(f"after {done} requests {memory(target.process):.0f} MiB", flush=True)


def brief(result: Mapping[str, float]) -> str:
    """A result in a line."""
    return (
        f"{result['rate']:.0f} req/s, p50 {result['p50']:.1f} ms, p99 {result['p99']:.1f} ms, "
        f"max {result['max']:.0f} ms, not 2xx {result['refused']:.0f} of {result['requests']:.0f}"
    )


def show(name: str, measured: Mapping[str, list[dict[str, float]]]) -> None:
    """Print a table of medians over the rounds."""
    columns = ("req/s", "ratio", "p50 ms", "p99 ms", "max ms", "CPU us")
    print(f"\n{name:12}" + "".join(f"{column:>10}" for column in columns), flush=True)
    for key, rounds in measured.items():
        pairs = zip(rounds, measured["bare"], strict=True)
        ratio = statistics.median(one["rate"] / bare["rate"] for one, bare in pairs)
        p50, p99, cpu, rate = (
            statistics.median(one[value] for one in rounds)
            for value in ("p50", "p99", "cpu", "rate")
        )
        slowest = max(one["max"] for one in rounds)
        print(f"{key:12}{rate:10.0f}{ratio:10.2f}{p50:10.1f}{p99:10.1f}{slowest:10.0f}{cpu:10.0f}")


def memory(process: int) -> float:
    """MiB of memory that a process has now."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
