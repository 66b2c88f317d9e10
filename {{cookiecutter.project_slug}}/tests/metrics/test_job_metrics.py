"""What is measured of jobs, and where workers show it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Metric
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy import QueuePool, text
{%- endif %}

from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.metrics import jobs as job_metrics
from {{ cookiecutter.package_name }}.settings import Settings
from {{ cookiecutter.package_name }}.worker import runner
from {{ cookiecutter.package_name }}.worker.models import State
from {{ cookiecutter.package_name }}.worker.tasks import purge, send_welcome

from support import NewDatabase, environment_of, new_account, settings_for
from worker_support import Service, until

Rises = Callable[..., AbstractContextManager[None]]


@contextmanager
def worker(settings: Settings, log: Path) -> Iterator[None]:
    """Run a worker until the block ends."""
    module = "{{ cookiecutter.package_name }}.cli"
    command = [sys.executable, "-m", module, "worker"]
    environment = environment_of(settings)
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as running,  # noqa: S603
    ):
        yield
        running.terminate()


async def count(database: Database) -> dict[tuple[str, ...], float]:
    """What a process with this database shows of the queue."""

    def collect() -> Iterable[Metric]:
        return list(queue.collect())

    queue = job_metrics.Queue(database, asyncio.get_running_loop())
    metrics = await asyncio.to_thread(collect)
    return {(s.name, *s.labels.values()): s.value for metric in metrics for s in metric.samples}


async def test_jobs_are_counted_by_state_and_outcome(
    new_database: NewDatabase, rises: Rises, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_metrics, "SECONDS", 60)
    monkeypatch.setattr(runner, "FIRST_DELAY", 600)
    async with new_database() as url:
        app = create_app(settings_for(url))
        async with app.router.lifespan_context(app):
            service = Service(app)
            user = await new_account(app)
            jobs = await service.add(purge), await service.add(send_welcome, user_id=user.id)
            found = await count(app.state.services.database)
            assert found["jobs_unfinished", "queued"] == 2
            assert found["jobs_unfinished", "running"] == 0
            assert 0 < found["job_wait_seconds",] < 60

            with (
                rises("jobs_total", task="purge", outcome="done"),
                rises("jobs_total", task="send_welcome", outcome="retry"),  # no mail server
                rises("job_duration_seconds_count", task="purge"),
            ):
                async with service.working():
                    await service.becomes(jobs[0], State.DONE)
                    await service.becomes(jobs[1], State.QUEUED)

            # One waits, but not for a worker.
            found = await count(app.state.services.database)
            assert (found["jobs_unfinished", "queued"], found["job_wait_seconds",]) == (1, 0)


async def test_nothing_is_counted_before_somebody_asks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A starting worker would wait in vain: the loop that it holds up is the one that counts.
    monkeypatch.setattr(job_metrics.Queue, "collect", lambda _: pytest.fail("it was counted"))
    queue = job_metrics.Queue(database, asyncio.get_running_loop())

    CollectorRegistry(auto_describe=True).register(queue)


async def test_queue_is_not_shown_while_the_database_is_away(new_database: NewDatabase) -> None:
    async with new_database() as url:
        settings = settings_for(url)

    async with Database(settings) as gone:
        assert await count(gone) == {}


{% if cookiecutter.database == "postgresql" -%}
async def test_count_that_takes_too_long_gives_its_connection_back(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_metrics, "SECONDS", 0.2)
    async with new_database() as url, Database(settings_for(url)) as database:
        async with database.write_session() as session:
            await session.execute(text("LOCK TABLE jobs"))
            assert await count(database) == {}
        pool = database.read_engine.pool

        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0


{% endif -%}
async def test_worker_has_a_port_for_metrics(
    new_database: NewDatabase, metrics_port: int, tmp_path: Path
) -> None:
    async with new_database() as url:
        settings = settings_for(url, metrics_port=metrics_port)
        with (
            worker(settings, tmp_path / "log"),
            httpx2.Client(base_url=f"http://127.0.0.1:{metrics_port}", timeout=60) as client,
        ):

            async def answers() -> bool:
                try:
                    return 'jobs_unfinished{state="queued"} 0.0' in client.get("/metrics").text
                except httpx2.TransportError:
                    return False

            await until(answers)
            text = client.get("/metrics").text

    # From the start, so that the first job that fails is seen.
    assert 'jobs_total{outcome="failed",task="purge"} 0.0' in text
