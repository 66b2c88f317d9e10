"""The metrics endpoint, of one process and of several."""

import os
import signal
import socket
import tempfile
from pathlib import Path

import httpx2
import pytest
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from {{ cookiecutter.package_name }} import metrics
from {{ cookiecutter.package_name }}.metrics.server import ServerProcesses

from support import NewDatabase, accepts, serve, settings_for

# Made once, as that takes time; it keeps no connection, so each request may reach another process.
CLIENT = httpx2.Client(timeout=60, limits=httpx2.Limits(max_keepalive_connections=0))
POOL_LIMITS = ('database_pool_limit{pool="read"}', 'database_pool_limit{pool="write"}')
LIVE = 'http_request_duration_seconds_count{method="GET",route="/health/live",status="2xx"}'


def read(port: int) -> dict[str, float]:
    """Each series that Prometheus would read, with its value."""
    text = CLIENT.get(f"http://127.0.0.1:{port}/metrics").text
    return {
        f"{sample.name}{labels(sample.labels)}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(found: dict[str, str]) -> str:
    """Labels as they are written."""
    written = ",".join(f'{name}="{value}"' for name, value in sorted(found.items()))
    return "{" + written + "}" if written else ""


def pids(found: dict[str, float]) -> set[int]:
    """The processes that are seen."""
    return {int(name.split('"')[1]) for name in found if name.startswith("process_cpu_seconds")}


async def test_public_port_shows_no_metrics(client: AsyncClient) -> None:
    assert (await client.get("/metrics")).status_code == 404
    assert "metrics" not in (await client.get("/openapi.json")).text


async def test_metrics_have_a_port_of_their_own(
    new_database: NewDatabase, metrics_port: int, tmp_path: Path
) -> None:
    async with new_database() as url:
        settings = settings_for(url, metrics_port=metrics_port)
        with serve(settings, tmp_path / "log") as server:
            assert CLIENT.get(f"{server.base_url}/health/live").status_code == 200
            assert CLIENT.get(f"{server.base_url}/metrics").status_code == 404

            server.until(lambda: LIVE in read(metrics_port))  # counted when it has been answered
            found = read(metrics_port)

    assert found[LIVE] == 1
    assert [found[pool] for pool in POOL_LIMITS] == [5, 5]
    assert found["process_resident_memory_bytes"] > 0
    assert [name for name in found if name.startswith("build_info{")]


async def test_processes_are_added_up(
    new_database: NewDatabase, metrics_port: int, tmp_path: Path
) -> None:
    async with new_database() as url:
        settings = settings_for(url, metrics_port=metrics_port, web_concurrency=2)
        with serve(settings, tmp_path / "log") as server:
            server.until(lambda: read(metrics_port).get(POOL_LIMITS[0]) == 10)
            for _ in range(20):
                assert CLIENT.get(f"{server.base_url}/health/live").status_code == 200
            server.until(lambda: read(metrics_port)[LIVE] == 20)

            victim = max(pids(read(metrics_port)) - {server.process.pid})
            os.kill(victim, signal.SIGKILL)
            # Its gauges go, those of the process in its place come, and nothing counted is lost.
            server.until(lambda: victim not in pids(read(metrics_port)))
            server.until(lambda: read(metrics_port).get(POOL_LIMITS[0]) == 10)
            assert read(metrics_port)[LIVE] == 20


def test_gauges_of_dead_processes_are_dropped(tmp_path: Path) -> None:
    dead = tmp_path / "gauge_livesum_99999999.db"
    counted = tmp_path / "counter_99999999.db"
    alive = tmp_path / f"gauge_livesum_{os.getpid()}.db"
    for file in (dead, counted, alive):
        file.touch()

    list(ServerProcesses(tmp_path).collect())

    assert (dead.exists(), counted.exists(), alive.exists()) == (False, True, True)


def test_empty_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "counter_99999999.db").touch()

    names = {metric.name for metric in ServerProcesses(tmp_path).collect()}

    assert names
    assert not [name for name in names if not name.startswith("process_")]


def test_missing_folder_does_not_stop_the_process(
    database_url: str, metrics_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # a container that may write nothing

    metrics.serve(settings_for(database_url, metrics_port=metrics_port), multiprocess=True)

    assert not accepts(metrics_port)


def test_port_in_use_does_not_stop_the_process(database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        metrics.serve(settings_for(database_url, metrics_port=port))

        assert accepts(port)
