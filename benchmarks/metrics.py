"""What metrics cost a request: the middleware alone, and all of it, at 100 routes.

    python benchmarks/metrics.py [--requests 500] [--rounds 100]

Renders the service on SQLite, with nothing else, and calls the application in this process, so that
only its own work is measured: with metrics and without, in turn, in CPU time. Counting for several
processes goes to files in memory, and is measured in a process of its own.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUTES = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=500, help="requests of a round")
    parser.add_argument("--rounds", type=int, default=100, help="rounds for each")
    parser.add_argument("--project", help="used by the script itself")
    options = parser.parse_args()
    if options.project:
        measure(options.project, options.requests, options.rounds)
        return
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]
    from cache import render

    from harness import environ, requirements, shared_environment

    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder) / "project", database="sqlite", use_prometheus=True)
        environment = shared_environment(requirements(project))
        for name, shared in (
            ("one process", {}),
            ("several", {"PROMETHEUS_MULTIPROC_DIR": folder}),
        ):
            print(f"{name}:")
            command = [str(environment / "bin" / "python"), __file__, "--project", str(project)]
            command += ["--requests", str(options.requests), "--rounds", str(options.rounds)]
            subprocess.run(command, env=environ(project, environment, **shared), check=True)


def measure(project: str, requests: int, rounds: int) -> None:
    """Print what a request costs in this process, more than without metrics."""
    os.chdir(project)
    from orders import metrics
    from orders.main import create_app
    from orders.settings import Settings

    settings = Settings(_env_file=None, environment="test", log_level="ERROR")
    setup = metrics.setup
    apps = {}
    for name, function in (("without", lambda *_: None), ("with", setup)):
        metrics.setup = function
        apps[name] = create_app(settings)
        for number in range(ROUTES):
            apps[name].add_api_route(f"/routes/{number}/{{id}}", answer)
    alone = []
    middleware = metrics.middleware.MetricsMiddleware(respond)
    times: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(rounds):
        for name, app in apps.items():
            times[name].append(asyncio.run(call(app, requests)))
        bare = asyncio.run(call(respond, requests))
        alone.append(asyncio.run(call(middleware, requests)) - bare)
    more = [w - wo for w, wo in zip(times["with"], times["without"], strict=True)]
    print(f"  without {statistics.median(times['without']):6.1f} us a request")
    print(f"  with    {statistics.median(times['with']):6.1f} us")
    print(f"  more    {statistics.median(more):6.1f} us (median of {rounds} rounds)")
    print(f"  of it the middleware alone {statistics.median(alone):.1f} us")


async def answer(id: int) -> dict[str, int]:  # noqa: A002
    """What the routes do."""
    return {"id": id}


async def respond(_: Any, __: Any, send: Any) -> None:
    """The smallest application."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def call(app: Any, requests: int) -> float:
    """Microseconds of CPU that a request takes, each to another route."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        pass

    started = time.process_time()
    for number in range(requests):
        path = f"/routes/{number % ROUTES}/{number}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        await app(scope, receive, send)
    return (time.process_time() - started) / requests * 1e6


if __name__ == "__main__":
    main()
