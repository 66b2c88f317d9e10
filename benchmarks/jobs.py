"""How many jobs the workers of a render do, and what is lost when they are killed.

    python benchmarks/jobs.py [--jobs N] [--workers N] [--kills N]

Renders the template (PostgreSQL, worker) into a temporary folder, starts a server and workers there
as real processes, and prints a table. The Python that runs it needs
cookiecutter and what the render depends on, development tools included.
"""

import argparse
import asyncio
import atexit
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).resolve().parent.parent
ANSWERS = {
    "project_name": "Bench",
    "package_name": "bench",
    "database": "postgresql",
    "use_worker": True,
}
# Imported by every process. An effect is stored in the job's own unit of work.
TASKS = """
import asyncio
import random

from sqlalchemy import text

from bench.worker.queue import Context, task

EFFECT = text("INSERT INTO effects (job_id) VALUES (:job_id)")


@task()
async def quick(context: Context) -> None:
    await context.session.execute(EFFECT, {"job_id": context.job_id})


@task(max_attempts=100, timeout=2)
async def slow(context: Context) -> None:
    await asyncio.sleep(random.uniform(0.2, 1))
    await context.session.execute(EFFECT, {"job_id": context.job_id})
"""
MAIN = "import bench_tasks, sys; from bench.cli import main; main(sys.argv[1:])"
TOTALS = """
    SELECT count(*) FILTER (WHERE status = 'successful') AS done,
           count(*) FILTER (WHERE status = 'picked') - count(DISTINCT job_id) AS begun_again,
           extract(epoch FROM max(created) FILTER (WHERE status = 'successful')
                              - min(created) FILTER (WHERE status = 'picked')) AS seconds,
           (SELECT count(*) FROM effects) AS effects,
           (SELECT count(DISTINCT job_id) FROM effects) AS different_effects
    FROM pgqueuer_log
"""


def render(folder: Path) -> Path:
    """Render the template; returns the project."""
    from cookiecutter.main import cookiecutter

    os.environ["TEMPLATE_SKIP"] = "lock,git"
    made = cookiecutter(
        str(TEMPLATE), no_input=True, accept_hooks=True, extra_context=ANSWERS, output_dir=folder
    )
    (Path(made) / "src" / "bench_tasks.py").write_text(TASKS, encoding="utf-8")
    return Path(made)


def start(command: str) -> subprocess.Popen[bytes]:
    """Start a command of the service."""
    return subprocess.Popen([sys.executable, "-c", MAIN, command], stdout=subprocess.DEVNULL)


@contextmanager
def processes(workers: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers until the block ends."""
    running = [start("worker") for _ in range(workers)]
    try:
        yield running
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
            process.wait()


async def enqueue_all(app: Any, name: str, count: int) -> float:
    """Enqueue jobs, each in a transaction of its own, as requests do; returns the seconds."""
    from bench.worker.queue import TASKS as known
    from bench.worker.queue import enqueue

    started = time.perf_counter()
    for _ in range(count):
        async with app.state.services.database.write_session() as session:
            await enqueue(session, known[name])
    return time.perf_counter() - started


async def totals(app: Any) -> Any:
    """Return the numbers of the log of jobs."""
    from sqlalchemy import text

    async with app.state.services.database.read_session() as session:
        return (await session.execute(text(TOTALS))).one()


async def reset(app: Any) -> None:
    """Delete all jobs, and what they stored."""
    from sqlalchemy import text

    async with app.state.services.database.write_session() as session:
        await session.execute(text("CREATE TABLE IF NOT EXISTS effects (job_id bigint NOT NULL)"))
        await session.execute(text("TRUNCATE pgqueuer, pgqueuer_log, effects"))


async def measure(app: Any, jobs: int, workers: int) -> None:
    """Throughput: the jobs wait when the workers start."""
    await reset(app)
    seconds = await enqueue_all(app, "quick", jobs)
    print(f"enqueued {jobs} jobs one after the other: {jobs / seconds:.0f} a second")
    with processes(workers):
        while (found := await totals(app)).done < jobs:
            await asyncio.sleep(0.1)
    print(f"{workers} workers did them: {jobs / float(found.seconds):.0f} a second")


async def torment(app: Any, jobs: int, workers: int, kills: int) -> None:
    """Chaos: a worker is killed every five seconds or so, and another takes its place."""
    await reset(app)
    with processes(workers) as running:
        enqueuing = asyncio.create_task(enqueue_all(app, "slow", jobs))
        killed = 0
        while (found := await totals(app)).done < jobs or not enqueuing.done():
            await asyncio.sleep(random.uniform(4, 6))
            if killed < kills:
                victim = killed % workers  # it has had the time to begin jobs
                running[victim].kill()
                running[victim].wait()
                running[victim] = start("worker")
                killed += 1
    print(f"{killed} times a worker was killed while {jobs} jobs ran, for {found.seconds:.0f} s:")
    print(f"  done {found.done}, lost {jobs - found.done}")
    print(f"  begun again {found.begun_again}")
    print(f"  effects stored {found.effects}, twice {found.effects - found.different_effects}")


async def run(arguments: argparse.Namespace) -> None:
    """Run both parts on one application."""
    import bench_tasks
    from bench.main import create_app

    assert bench_tasks.quick.name == "quick"  # registered as a task
    app = create_app()
    async with app.router.lifespan_context(app):
        await measure(app, arguments.jobs, arguments.workers)
        await torment(app, arguments.jobs, arguments.workers, arguments.kills)


def main() -> None:
    """Render, start the servers, run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10, help="how often a worker is killed")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)  # after the server, which stops at the exit, too
    project = render(folder)
    os.chdir(project)
    sys.path[:0] = [str(project), str(project / "src")]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
    import dev

    os.environ |= {
        "ENVIRONMENT": "local",
        "LOG_LEVEL": "WARNING",
        "DATABASE_URL": dev.embedded_postgres(project / ".local", keep=False),
    }
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], check=True)
    asyncio.run(run(arguments))


if __name__ == "__main__":
    main()
