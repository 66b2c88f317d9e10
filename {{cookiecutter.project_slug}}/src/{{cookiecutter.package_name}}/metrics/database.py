"""The connection pool and the statements.

An engine that has listeners looks for those of every event anew on each connection, which takes
longer than all that is counted here. So methods are wrapped, as elsewhere.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import Gauge, Histogram
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from ..settings import Settings
from .wrap import wrap

KINDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

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
    pool = engine.sync_engine.pool
    assert isinstance(pool, QueuePool)

    def count(returned: int) -> None:
        USED.set(pool.checkedout() - returned)
        OVERFLOW.set(max(pool.overflow(), 0))

    def counted(connect: Callable[[], Any]) -> Callable[[], Any]:
        def connect_counted() -> Any:
            with WAIT.time():
                connection = connect()
            count(0)
            return connection

        return connect_counted

    wrap(pool, "connect", counted)
    event.listen(pool, "checkin", lambda *_: count(1))  # which is just about to be returned
    for method in ("do_execute", "do_execute_no_params", "do_executemany"):
        wrap(engine.dialect, method, _timed)


def _timed(execute: Callable[..., None]) -> Callable[..., None]:
    kinds = {kind: STATEMENT.labels(kind.lower()) for kind in KINDS}
    other = STATEMENT.labels("other")

    def timed(cursor: object, statement: str, *arguments: Any) -> None:
        started = time.perf_counter()
        execute(cursor, statement, *arguments)
        kinds.get(statement[:6].upper(), other).observe(time.perf_counter() - started)

    return timed
