"""What observability costs an authenticated read: CPU time of the service, as ratios to none.

    python benchmarks/observability.py [--seconds 2] [--rounds 10] [--clients 16]

Renders the PostgreSQL service without and with each feature, starts all of them with their
production command, and loads them in turn. What counts is the CPU time of the process (Linux) in
its best round, as other work on a machine can only add to it. Spans go to a process that ignores
them.
"""

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cache import load, render, running

from harness import POSTGRES, Server, free_port, requirements, shared_environment
from questions import QUESTIONS, Answers

READ = "/api/v1/users/me"
SINK = """
import asyncio, contextlib, sys

async def serve(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0])
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")

async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()

asyncio.run(main())
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=2, help="length of a round")
    parser.add_argument("--rounds", type=int, default=10, help="rounds for each service")
    parser.add_argument("--clients", type=int, default=16, help="connections at the same time")
    options = parser.parse_args()
    logging.disable()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = variants(stack.enter_context(sink()))
        renders = {name: render(folder / name, **answers) for name, (answers, _) in found.items()}
        environment = shared_environment(set().union(*map(requirements, renders.values())))
        postgres = Server(environment, POSTGRES)
        stack.callback(postgres.close)
        targets = {}
        for name, (_, settings) in found.items():
            service = running(
                renders[name],
                environment,
                folder / f"{name}.log",
                {"DATABASE_URL": postgres.database(), **settings},
            )
            targets[name] = stack.enter_context(service)
        costs: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(options.rounds):
            for name, (url, token, process) in targets.items():
                before = cpu_seconds(process)
                rate = asyncio.run(load(url, token, options.seconds, options.clients, READ))
                requests = rate * options.seconds
                costs[name].append((cpu_seconds(process) - before) / requests)
        for name, measured in costs.items():
            ratio = min(measured) / min(costs["without"])
            print(f"{name:15} {min(measured) * 1e6:6.0f} us a request {ratio:6.2f}")


def cpu_seconds(process: int) -> float:
    """What a process has used until now, in user and system mode."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def variants(collector: str) -> dict[str, tuple[Answers, dict[str, str]]]:
    """Answers and settings of what is compared."""
    found: dict[str, tuple[Answers, dict[str, str]]] = {"without": ({}, {})}
    if "use_prometheus" in QUESTIONS:
        found["metrics"] = ({"use_prometheus": True}, {})
    for percent in (0, 10, 100):
        found[f"traced {percent} %"] = (
            {"use_opentelemetry": True},
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(percent / 100),
            },
        )
    dsn = collector.replace("://", "://public@") + "/1"
    found["reports"] = ({"use_sentry": True}, {"SENTRY_DSN": dsn})
    found["reports, timed"] = (
        {"use_sentry": True},
        {"SENTRY_DSN": dsn, "SENTRY_TRACES_SAMPLE_RATE": "1"},
    )
    return found


@contextmanager
def sink() -> Iterator[str]:
    """The URL of a process that takes whatever it is sent."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", SINK, str(port)]) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
