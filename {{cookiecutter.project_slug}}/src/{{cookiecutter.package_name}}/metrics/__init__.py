"""Metrics for Prometheus: requests, database and log, and the port that serves them.

Metrics of what the service does, such as logins, are in `instruments.py`.
"""

import logging
import platform
from typing import Final

from fastapi import FastAPI
from prometheus_client import Counter, Gauge

from .. import __version__
from ..settings import Settings
from ..state import get_state
from . import database
from .middleware import MetricsMiddleware as MetricsMiddleware
from .server import serve as serve

BUILD: Final = Gauge(
    "build_info",
    "Version of the service and of Python; always 1.",
    ["version", "python"],
    multiprocess_mode="livemax",
)
LINES: Final = Counter("log_lines", "Log lines of level warning and above, by level.", ["level"])
PASSWORD_LIMIT: Final = Gauge(
    "password_hashes_limit",
    "Passwords hashed or checked at the same time.",
    multiprocess_mode="livesum",
)


def setup(app: FastAPI, settings: Settings) -> None:
    """Measure the application."""
    BUILD.labels(__version__, platform.python_version()).set(1)
    state = get_state(app)
    PASSWORD_LIMIT.set(state.auth.hasher.threads)
    database.setup(state.database, settings)
    logging.getLogger().addHandler(LineCounter())


class LineCounter(logging.Handler):
    """Count log lines of the service and of libraries."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        levels = ("WARNING", "ERROR", "CRITICAL")
        self._lines = {level: LINES.labels(level.lower()) for level in levels}

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line."""
        if record.levelname in self._lines:
            self._lines[record.levelname].inc()
