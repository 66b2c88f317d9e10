"""The connection pool and the statements, by events of SQLAlchemy."""

import time
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import Gauge, Histogram
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from ..settings import Settings
from .wrap import wrap

KINDS: Final = {"SELECT", "INSERT", "UPDATE", "DELETE"}

STATEMENT = Histogram(
    "database_statement_duration_seconds",
    "Time of statements that succeeded, by kind.",
    ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
WAIT = Histogram(
    "database_pool_wait_seconds",
    "Time until a connection was there, or was not; a new one has to be opened first.",
    buckets=(0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
LIMIT = Gauge("database_pool_limit", "Connections that there may be.", multiprocess_mode="livesum")
USED = Gauge(
    "database_pool_checked_out", "Connections that are being used.", multiprocess_mode="livesum"
)
OVERFLOW = Gauge(
    "database_pool_overflow", "Connections beyond those kept open.", multiprocess_mode="livesum"
)


def observe(engine: AsyncEngine, settings: Settings) -> None:
    """Measure the statements of an engine and its pool."""
    LIMIT.set(settings.database_pool_size + settings.database_max_overflow)
    for kind in (*KINDS, "other"):
        STATEMENT.labels(kind.lower())
    pool = engine.sync_engine.pool
    assert isinstance(pool, QueuePool)

    def count(returned: int) -> None:
        USED.set(pool.checkedout() - returned)
        OVERFLOW.set(max(pool.overflow(), 0))

    event.listen(pool, "checkout", lambda *_: count(0))
    event.listen(pool, "checkin", lambda *_: count(1))  # which is just about to be returned
    wrap(pool, "connect", _timed)
    event.listen(engine.sync_engine, "before_cursor_execute", _begin)
    event.listen(engine.sync_engine, "after_cursor_execute", _end)


def _timed(connect: Callable[[], Any]) -> Callable[[], Any]:
    def timed() -> Any:
        with WAIT.time():
            return connect()

    return timed


def _begin(_: Connection, __: object, ___: str, ____: object, context: Any, _____: bool) -> None:
    context.metrics_started = time.perf_counter()


def _end(_: Connection, __: object, statement: str, ___: object, context: Any, ____: bool) -> None:
    kind = statement[:6].upper()
    label = kind.lower() if kind in KINDS else "other"
    STATEMENT.labels(label).observe(time.perf_counter() - context.metrics_started)
