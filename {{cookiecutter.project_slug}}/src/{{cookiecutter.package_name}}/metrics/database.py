"""The connection pool and the statements.

An engine that has listeners looks for those of every event anew on each connection, which takes
longer than all that is counted here. So methods are wrapped, as elsewhere.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from prometheus_client import Gauge, Histogram
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from ..database import Database
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
    "Time until a connection was free, or the wait timed out.",
    buckets=(0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
LIMIT = Gauge("database_pool_limit", "Connections that there may be.", multiprocess_mode="livesum")
USED = Gauge(
    "database_pool_checked_out", "Connections that are being used.", multiprocess_mode="livesum"
)
OVERFLOW = Gauge(
    "database_pool_overflow", "Connections beyond those kept open.", multiprocess_mode="livesum"
)


def observe(database: Database, settings: Settings) -> None:
    """Measure the statements of the engines and their pools."""
    engines = (database.read_engine, database.write_engine)
    pools = [engine.sync_engine.pool for engine in engines]
    LIMIT.set(len(pools) * (settings.database_pool_size + settings.database_max_overflow))

    def count(returned: int) -> None:
        queues = [pool for pool in pools if isinstance(pool, QueuePool)]
        USED.set(sum(pool.checkedout() for pool in queues) - returned)
        OVERFLOW.set(sum(max(pool.overflow(), 0) for pool in queues))

    def counted(connect: Callable[[], Any]) -> Callable[[], Any]:
        def connect_counted() -> Any:
            connection = connect()
            count(0)
            return connection

        return connect_counted

    for pool in pools:
        wrap(pool, "connect", counted)
        event.listen(pool, "checkin", lambda *_: count(1))  # which is just about to be returned
    for queue in (database.read_queue, database.write_queue):
        wrap(queue, "acquire", _waited)
    for engine in engines:
        for method in ("do_execute", "do_execute_no_params", "do_executemany"):
            wrap(engine.dialect, method, _timed)


def _waited(acquire: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def waited() -> None:
        with WAIT.time():
            await acquire()

    return waited


def _timed(execute: Callable[..., None]) -> Callable[..., None]:
    kinds = {kind: STATEMENT.labels(kind.lower()) for kind in KINDS}
    other = STATEMENT.labels("other")

    def timed(cursor: object, statement: str, *arguments: Any) -> None:
        started = time.perf_counter()
        execute(cursor, statement, *arguments)
        kinds.get(statement[:6].upper(), other).observe(time.perf_counter() - started)

    return timed
