"""The connection pools and the statements."""

import time
from typing import Any, Final

from prometheus_client import Gauge, Histogram
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import QueuePool

from ..database import Database
from ..settings import Settings

KINDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

STATEMENT_DURATION: Final = Histogram(
    "database_statement_duration_seconds",
    "Time of statements that succeeded, by kind.",
    ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
POOL_LIMIT: Final = Gauge(
    "database_pool_limit",
    "Largest number of connections, by pool.",
    ["pool"],
    multiprocess_mode="livesum",
)
POOL_CHECKED_OUT: Final = Gauge(
    "database_pool_checked_out",
    "Connections in use, by pool.",
    ["pool"],
    multiprocess_mode="livesum",
)
POOL_OVERFLOW: Final = Gauge(
    "database_pool_overflow",
    "Connections beyond those that are kept open, by pool.",
    ["pool"],
    multiprocess_mode="livesum",
)


def setup(database: Database, settings: Settings) -> None:
    """Measure the engines."""
    for name, engine in database.engines.items():
        limit = settings.database_pool_size + settings.database_max_overflow
        POOL_LIMIT.labels(name).set(limit)
        _measure_pool(name, engine.sync_engine)
        _measure_statements(engine.sync_engine)


def _measure_pool(name: str, engine: Engine) -> None:
    checked_out, overflow = POOL_CHECKED_OUT.labels(name), POOL_OVERFLOW.labels(name)

    def measure(returning: int) -> None:
        if isinstance(engine.pool, QueuePool):
            checked_out.set(engine.pool.checkedout() - returning)
            overflow.set(max(engine.pool.overflow(), 0))

    event.listen(engine, "checkout", lambda *_: measure(0))
    event.listen(engine, "checkin", lambda *_: measure(1))  # just before it is in the pool again


def _measure_statements(engine: Engine) -> None:
    kinds = {kind: STATEMENT_DURATION.labels(kind.lower()) for kind in KINDS}
    other = STATEMENT_DURATION.labels("other")

    @event.listens_for(engine, "before_cursor_execute")
    def start(connection: Connection, *_: Any) -> None:
        connection.info["statement_started"] = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def stop(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        duration = time.perf_counter() - connection.info["statement_started"]
        kinds.get(statement[:6].upper(), other).observe(duration)
