"""The metrics endpoint: a port of its own, so that it is never public.

On the public port it would need a secret, and behind a load balancer each scrape would reach
another replica.
"""

import atexit
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from ..settings import Settings

log = structlog.stdlib.get_logger(__name__)


def serve(settings: Settings, *, multiprocess: bool = False) -> None:
    """Serve metrics on METRICS_PORT until the process ends.

    If the port is taken or the folder cannot be created, log it and go on without: Prometheus
    reports a missing target.

    Args:
        multiprocess: server processes, started later, do the work; this process serves their sum.
    """
    if settings.metrics_port == 0:
        return
    try:
        registry = _create_shared_registry() if multiprocess else REGISTRY
        start_http_server(settings.metrics_port, settings.host, registry)
    except OSError as error:
        log.warning("metrics are not served", error=error)


def _create_shared_registry() -> CollectorRegistry:
    folder = Path(tempfile.mkdtemp(prefix="metrics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # inherited by the server processes
    registry = CollectorRegistry()
    registry.register(ServerProcesses(folder))
    return registry


class ServerProcesses(Collector):
    """Sum the metrics of the server processes, and add CPU and memory per pid.

    Counters of dead processes are kept, their gauges are removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Read the files of the processes, and /proc."""
        pids = {os.getpid(), *(child.pid or 0 for child in multiprocessing.active_children())}
        for file in self._folder.glob("gauge_live*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if pid not in pids:
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        files = [str(file) for file in self._folder.glob("*.db") if _has_content(file)]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        processes: dict[str, Metric] = {}
        for pid in pids:
            for found in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                metric = processes.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    metric.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        yield from processes.values()


def _has_content(file: Path) -> bool:
    # A starting process creates its files empty, and another scrape may drop gauges.
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False
