"""Where Prometheus reads: a port of its own, which is no part of the application.

A route behind the public port would need a secret, and would still be of no use: through a load
balancer every scrape reaches another replica.
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


def serve(settings: Settings, *, several: bool = False) -> None:
    """Answer on METRICS_PORT as long as the process lives.

    A port that is taken, or no place for the folder, is logged and no reason to stop: Prometheus
    tells of a target it misses.

    Args:
        several: server processes do the work, started from now on; they leave their numbers in a
            folder, which this process reads.
    """
    if settings.metrics_port == 0:
        return
    try:
        registry = _shared_registry() if several else REGISTRY
        start_http_server(settings.metrics_port, settings.host, registry)
    except OSError as error:
        log.warning("metrics are not served", error=error)


def _shared_registry() -> CollectorRegistry:
    folder = Path(tempfile.mkdtemp(prefix="metrics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # decides how they keep numbers
    registry = CollectorRegistry()
    registry.register(Processes(folder))
    registry.register(Counted(folder))
    return registry


class Processes(Collector):
    """What the kernel knows of this process and its children, each with its pid.

    It comes before the numbers that the children leave, and drops the gauges of the dead.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Read /proc."""
        alive = {os.getpid(), *(child.pid or 0 for child in multiprocessing.active_children())}
        for file in self._folder.glob("gauge_live*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if pid not in alive:
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        metrics: dict[str, Metric] = {}
        for pid in alive:
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                family = metrics.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                for sample in metric.samples:
                    family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        return metrics.values()


class Counted(Collector):
    """What the processes have counted, added up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Read the files of the processes; one that is just being made has nothing in it yet."""
        files = [str(file) for file in self._folder.glob("*.db") if _size(file)]
        found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return found


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # of a process that has just ended
        return 0
