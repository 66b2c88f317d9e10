"""The engines for SQLite, with aiosqlite as the driver."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..settings import Settings


def create_write_engine(settings: Settings) -> AsyncEngine:
    """Create the engine for transactions, and the folder of the database file."""
    engine = _create_engine(settings)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def create_read_engine(settings: Settings) -> AsyncEngine:
    """Create the engine for queries: each runs in autocommit, and SQLite rejects writes."""
    engine = _create_engine(settings, isolation_level="AUTOCOMMIT")
    event.listen(engine.sync_engine, "connect", _reject_writes)
    return engine


def _create_engine(settings: Settings, **options: Any) -> AsyncEngine:
    url = make_url(settings.database_url).set(drivername="sqlite+aiosqlite")
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow + 1,  # one for a readiness probe
        pool_timeout=settings.database_pool_timeout,
        hide_parameters=not settings.debug,
        # The driver would begin transactions too late, and lose updates: see _begin.
        connect_args={"isolation_level": None, "timeout": settings.database_busy_timeout},
        **options,
    )
    event.listen(engine.sync_engine, "connect", _configure)
    return engine


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    with suppress(sqlite3.OperationalError):  # another process is switching to WAL
        cursor.execute("PRAGMA journal_mode = WAL")
    # Each commit reaches the disk, so that a confirmed write survives a power failure.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _reject_writes(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    # Take the write lock first: a transaction that upgrades from reading fails instead of waiting.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
