"""The metrics of jobs, and the port on which workers serve them."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
from prometheus_client import REGISTRY

from {{ cookiecutter.package_name }}.auth.tasks import send_verification
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.metrics import jobs as job_metrics
from {{ cookiecutter.package_name }}.worker.models import Status
from {{ cookiecutter.package_name }}.worker.tasks import purge

from support import NewDatabase, new_account, settings_for
from worker_support import Service, until, worker

Rises = Callable[..., AbstractContextManager[None]]


def measured(name: str, **labels: str) -> float | None:
    """Return a value that this process shows."""
    return REGISTRY.get_sample_value(name, labels)


async def test_jobs_are_counted_by_status_and_outcome(
    new_database: NewDatabase, rises: Rises
) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url, smtp_url="smtp://127.0.0.1:1"))
        service = Service(app)
        async with app.router.lifespan_context(app):
            user = await new_account(app)
            jobs = await service.add(purge), await service.add(send_verification, user_id=user.id)
            await job_metrics.measure_queue(service.database)
            assert measured("jobs_unfinished", status="queued") == 2
            assert measured("jobs_unfinished", status="picked") == 0
            assert 0 < (measured("job_wait_seconds") or 0) < 60

            with (
                rises("jobs_total", task="purge", outcome="done"),
                rises("jobs_total", task="send_verification", outcome="retry"),  # no mail server
                rises("job_duration_seconds_count", task="purge"),
            ):
                async with service.working():
                    await service.finish(jobs[0])
                    await service.becomes(jobs[1], Status.QUEUED)

            # The remaining job is not due yet.
            await job_metrics.measure_queue(service.database)
            assert measured("jobs_unfinished", status="queued") == 1
            assert measured("job_wait_seconds") == 0


async def test_queue_is_not_shown_while_the_database_is_unavailable(
    new_database: NewDatabase,
) -> None:
    async with new_database() as url, Database(settings_for(url)) as database:
        await job_metrics.measure_queue(database)
        assert measured("jobs_unfinished", status="queued") == 0

    async with Database(settings_for(url)) as gone:
        await job_metrics.measure_queue(gone)

    assert measured("jobs_unfinished", status="queued") is None
    assert math.isnan(measured("job_wait_seconds") or 0)


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
                    return 'jobs_unfinished{status="queued"} 0.0' in client.get("/metrics").text
                except httpx2.TransportError:
                    return False

            await until(answers)
            text = client.get("/metrics").text

    # From the start, so that a rate includes the first failure.
    assert 'jobs_total{outcome="failed",task="purge"} 0.0' in text
