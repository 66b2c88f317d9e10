{%- if cookiecutter.database == "postgresql" -%}
"""The engine and its sessions.

A unit of work is a request: it commits before the response is sent, so that a failed commit is an
error that the client sees. Requests with a safe method (RFC 9110 section 9.2.1) read only, each
statement by itself: a transaction around it would be two round trips more.
"""

from collections.abc import AsyncIterator{% if cookiecutter.use_redis %}, Awaitable, Callable{% endif %}
from contextlib import asynccontextmanager
from typing import Annotated, Any, Self

import asyncpg
{% if cookiecutter.use_redis -%}
import structlog
{% endif -%}
from fastapi import Depends, Request
from sqlalchemy import URL, Connection, Dialect, ExceptionContext, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from ..settings import Settings
from .pool import FairPool
from .reader import Reader

{% if cookiecutter.use_redis -%}
log = structlog.stdlib.get_logger(__name__)

{% endif -%}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
IGNORED_OPTIONS = ("channel_binding", "connect_timeout", "gssencmode")
# Each statement is sent without a name and forgotten: the next one may meet another server process.
UNPREPARED = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


def asyncpg_url(url: str) -> URL:
    """Translate a URL as platforms hand it out (postgres://...?sslmode=require) for asyncpg."""
    parsed = make_url(url)
    query = dict(parsed.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    # Options of libpq that asyncpg has no argument for, or that a setting decides.
    for name in IGNORED_OPTIONS:
        query.pop(name, None)
    return parsed.set(drivername="postgresql+asyncpg", query=query)


class ReadingConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that reads only, except in a transaction that is begun as one that writes."""

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        """Execute a statement, such as those that begin and end transactions."""
        if query.startswith("BEGIN"):
            query = query.removesuffix(";") + " READ WRITE;"
        return await super().execute(query, *args, **options)


def create_engine(settings: Settings, *, patient: bool = False) -> AsyncEngine:
    """Make the engine; nothing is connected before the first statement.

    Args:
        patient: a statement may take its time and write outside of a transaction, as in migrations.
    """
    statement_timeout = "0" if patient else f"{settings.database_statement_timeout * 1000:.0f}"
    session = {
        "application_name": "{{ cookiecutter.project_slug }}",
        "timezone": "UTC",
    }
    if settings.database_prepared_statements:
        session["statement_timeout"] = statement_timeout
    reading = settings.database_prepared_statements and not patient
    if reading:
        session["default_transaction_read_only"] = "on"
    engine = create_async_engine(
        asyncpg_url(settings.database_url),
        poolclass=FairPool,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
        pool_timeout=settings.database_pool_timeout,
        pool_recycle=settings.database_pool_recycle,
        hide_parameters=not settings.debug,
        isolation_level="AUTOCOMMIT" if reading else None,
        connect_args={
            "connection_class": ReadingConnection if reading else asyncpg.Connection,
            "timeout": settings.database_pool_timeout,
            # The server ends slow statements; this is for a server that has gone silent.
            "command_timeout": None if patient else settings.database_statement_timeout + 1,
            "server_settings": session,
            **({} if settings.database_prepared_statements else UNPREPARED),
        },
    )
    event.listen(engine.sync_engine, "do_connect", _connect)
    event.listen(engine.sync_engine, "handle_error", _terminate_silent_connection)
    if not settings.database_prepared_statements:

        def limit(connection: Connection) -> None:
            # PgBouncer refuses it from who connects, and what is set for longer reaches others.
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {statement_timeout}")

        event.listen(engine.sync_engine, "begin", limit)
    return engine


def _connect(dialect: Dialect, _: object, arguments: list[Any], options: dict[str, Any]) -> object:
    # asyncpg raises plain OSErrors here: as a database error they become a 503.
    try:
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise OperationalError(None, None, error) from error


def _terminate_silent_connection(context: ExceptionContext) -> None:
    # asyncpg raises a plain TimeoutError after command_timeout. A rollback or an orderly close
    # would wait for the same silent server.
    error, connection = context.original_exception, context.connection
    if isinstance(error, TimeoutError) and connection is not None:
        driver_connection = connection.connection.driver_connection
        if driver_connection is not None:
            driver_connection.terminate()
        context.is_disconnect = True
        silence = TimeoutError("the server does not answer")
        raise OperationalError(None, None, silence, connection_invalidated=True) from error
{%- else -%}
"""The engine and its sessions.

A unit of work is a request: it commits before the response is sent, so that a failed commit is an
error that the client sees. Requests with a safe method (RFC 9110 section 9.2.1) read only, so they
never wait for the one writer that SQLite allows.
"""

import sqlite3
from collections.abc import AsyncIterator{% if cookiecutter.use_redis %}, Awaitable, Callable{% endif %}
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Self

{% if cookiecutter.use_redis -%}
import structlog
{% endif -%}
from fastapi import Depends, Request
from sqlalchemy import Connection, event, make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from ..settings import Settings
from .pool import FairPool
from .reader import Reader

{% if cookiecutter.use_redis -%}
log = structlog.stdlib.get_logger(__name__)

{% endif -%}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def create_engine(settings: Settings) -> AsyncEngine:
    """Make the engine and the folder of the database file; nothing is opened yet."""
    url = make_url(settings.database_url).set(drivername="sqlite+aiosqlite")
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url,
        poolclass=FairPool,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
        pool_timeout=settings.database_pool_timeout,
        pool_recycle=settings.database_pool_recycle,
        hide_parameters=not settings.debug,
        # Transactions are begun below: the driver begins them too late, and loses updates.
        connect_args={"isolation_level": None, "timeout": settings.database_busy_timeout},
    )
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    with suppress(sqlite3.OperationalError):  # another process is just doing it
        cursor.execute("PRAGMA journal_mode = WAL")
    # Each commit reaches the disk: what a client was told has happened survives a power failure.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A writer takes the lock when it begins; taken later, it could only fail.
    readonly = connection.get_execution_options().get("sqlite_readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")
{%- endif %}
{%- if cookiecutter.use_redis %}


class CommittingSession(AsyncSession):
    """A session that does what waits for its transaction to be committed; see `after_commit`."""

    async def commit(self) -> None:
        """Commit, then do what waits for it, in order."""
        await super().commit()
        for action in self.info.pop("after_commit", ()):
            try:
                await action()
            except Exception:
                log.exception("what follows a commit has failed")

    async def rollback(self) -> None:
        """Roll back, and forget what waits for the commit."""
        self.info.pop("after_commit", None)
        await super().rollback()


def after_commit(session: AsyncSession, action: Callable[[], Awaitable[None]]) -> None:
    """Do something after `session.commit()`, and not at all if the transaction is rolled back.

    An error of the action is logged: what is committed has happened.
    """
    session.info.setdefault("after_commit", []).append(action)
{%- endif %}


class Database:
    """The connection pool of one process; an asynchronous context manager that closes it.

    Attributes:
        engine: of all sessions.
        writer: the same, for transactions that write.
        reader: what reads without a session.
    """

    def __init__(self, settings: Settings) -> None:
        self.engine = create_engine(settings)
{%- if cookiecutter.database == "postgresql" %}
        if settings.database_prepared_statements:
            readonly = self.engine
            self.writer = self.engine.execution_options(isolation_level="READ COMMITTED")
        else:  # where only a transaction can be made to read only
            readonly = self.engine.execution_options(postgresql_readonly=True)
            self.writer = self.engine
{%- else %}
        readonly = self.engine.execution_options(sqlite_readonly=True)
        self.writer = self.engine
{%- endif %}
        self.reader = Reader(readonly.sync_engine.connect)
{%- if cookiecutter.use_redis %}
        # What each session carries along in `Session.info`.
        self.info: dict[str, Any] = {}
        self.writing = async_sessionmaker(
            self.writer, class_=CommittingSession, expire_on_commit=False, info=self.info
        )
        self.reading = async_sessionmaker(
            readonly, class_=CommittingSession, expire_on_commit=False, info=self.info
        )
{%- else %}
        self.writing = async_sessionmaker(self.writer, expire_on_commit=False)
        self.reading = async_sessionmaker(readonly, expire_on_commit=False)
{%- endif %}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def session(self, *, readonly: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Args:
            readonly: nothing will be changed, and nothing is committed.
        """
        async with (self.reading if readonly else self.writing)() as session:
            yield session
            if not readonly:
                await session.commit()


async def _request_session(request: Request) -> AsyncIterator[AsyncSession]:
    database: Database = request.app.state.database
    async with database.session(readonly=request.method in SAFE_METHODS) as session:
        yield session


# The scope makes the commit come before the response.
Session = Annotated[AsyncSession, Depends(_request_session, scope="function")]
