"""Connections and sessions: queries run in autocommit, changes in a transaction."""

import asyncio
{%- if cookiecutter.use_redis %}
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
{%- else %}
from collections.abc import AsyncIterator, Iterator, Mapping
{%- endif %}
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final, Self

from sqlalchemy import ColumnElement, Table, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

from ..exceptions import ConflictError
{%- if cookiecutter.use_prometheus %}
from ..instruments import POOL_WAIT
{%- endif %}
from ..settings import Settings
from .{{ cookiecutter.database }} import create_read_engine, create_write_engine

BATCH: Final = 5_000  # rows deleted by one statement, which must not take long


class PoolQueue:
    """Admit as many callers as a pool has connections, in the order in which they arrive.

    SQLAlchemy's asyncio pool is not first in, first out: under load, some tasks wait until they
    time out.

    Raises:
        sqlalchemy.exc.TimeoutError: no connection was free within DATABASE_POOL_TIMEOUT.
    """

    def __init__(self, settings: Settings) -> None:
        self._slots = asyncio.Semaphore(
            settings.database_pool_size + settings.database_max_overflow
        )
        self._timeout = settings.database_pool_timeout

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
{%- if cookiecutter.use_prometheus %}
                with POOL_WAIT.time():
                    await self._slots.acquire()
{%- else %}
                await self._slots.acquire()
{%- endif %}
        except TimeoutError:
            message = f"no connection was free within {self._timeout} seconds"
            raise PoolTimeoutError(message) from None

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()


class Database:
    """The connection pools of one process; an async context manager that closes them.

    Attributes:
        read_engine: runs each query in autocommit and rejects writes.
        write_engine: runs transactions.
{%- if cookiecutter.database == "postgresql" %}
        replica_engine: the read engine of DATABASE_READ_URL, by default `read_engine`.
{%- endif %}
{%- if cookiecutter.use_redis %}
        commit_callbacks: run after each transaction of `write_session`, also after one that failed,
            because a commit whose connection broke may have succeeded.
{%- endif %}
    """

    def __init__(self, settings: Settings) -> None:
        self.read_engine = create_read_engine(settings)
        self.write_engine = create_write_engine(settings)
        self.read_sessions = async_sessionmaker(self.read_engine, expire_on_commit=False)
        self.write_sessions = async_sessionmaker(self.write_engine, expire_on_commit=False)
{%- if cookiecutter.use_redis %}
        self.commit_callbacks: list[Callable[[AsyncSession], Awaitable[None]]] = []
{%- endif %}
        self.read_queue = PoolQueue(settings)
        self.write_queue = PoolQueue(settings)
        self.probe_slot = asyncio.Semaphore(1)
{%- if cookiecutter.database == "postgresql" %}
        self.replica_engine, self.replica_queue = self.read_engine, self.read_queue
        if settings.database_read_url is not None:
            self.replica_engine = create_read_engine(settings, settings.database_read_url)
            self.replica_queue = PoolQueue(settings)
        self.replica_sessions = async_sessionmaker(self.replica_engine, expire_on_commit=False)
{%- endif %}

    @property
    def engines(self) -> dict[str, AsyncEngine]:
        """The engines by name."""
{%- if cookiecutter.database == "postgresql" %}
        engines = {"read": self.read_engine, "write": self.write_engine}
        if self.replica_engine is not self.read_engine:
            engines["replica"] = self.replica_engine
        return engines
{%- else %}
        return {"read": self.read_engine, "write": self.write_engine}
{%- endif %}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for engine in self.engines.values():
            await engine.dispose()

    @asynccontextmanager
    async def read_connection(self) -> AsyncIterator[AsyncConnection]:
        """Open a read-only autocommit connection for Core queries; faster than a session."""
        async with self.read_queue, self.read_engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def probe_connection(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for the readiness probe, which waits for other probes only.

        A load balancer that took busy replicas out of service would overload the others.
        """
        async with self.probe_slot, self.read_engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def read_session(self) -> AsyncIterator[AsyncSession]:
        """Open a read-only session in autocommit: a flush fails, and a commit does nothing."""
        async with self.read_queue, self.read_sessions() as session:
            yield session
{%- if cookiecutter.database == "postgresql" %}

    @asynccontextmanager
    async def replica_session(self) -> AsyncIterator[AsyncSession]:
        """Open a read-only session on DATABASE_READ_URL; without that, as `read_session` does.

        A replica lags behind the primary, so recent writes may be missing.
        """
        async with self.replica_queue, self.replica_sessions() as session:
            yield session
{%- endif %}

    @asynccontextmanager
    async def write_session(self, *, queued: bool = True) -> AsyncIterator[AsyncSession]:
        """Open a transaction: commit it when the block ends, roll it back when the block raises.

        Args:
            queued: wait in the queue of requests. Tasks do not: they keep their session, but no
                connection, while a mail server is slow.
        """
        queue = self.write_queue if queued else nullcontext()
{%- if cookiecutter.use_redis %}
        session = self.write_sessions()
        try:
            async with queue, session:
                yield session
                await session.commit()
        finally:
            for callback in self.commit_callbacks:
                await callback(session)
{%- else %}
        async with queue, self.write_sessions() as session:
            yield session
            await session.commit()
{%- endif %}


async def delete_in_batches(
    session: AsyncSession, table: Table, condition: ColumnElement[bool]
) -> None:
    """Delete the rows that meet a condition, in transactions of BATCH rows."""
    batch = select(table.c.id).where(condition).limit(BATCH)
    deleted = True
    while deleted:
        rows = await session.execute(
            delete(table).where(table.c.id.in_(batch)).returning(table.c.id)
        )
        deleted = bool(rows.all())
        await session.commit()


@contextmanager
def explain_conflict(messages: Mapping[str, str]) -> Iterator[None]:
    """Raise ConflictError with a message when the block violates one of these constraints.

    Other violations are raised again: errors.py answers races with 409, and defects with 500.

    Args:
{%- if cookiecutter.database == "postgresql" %}
        messages: by name of the constraint, such as "uq_users_email".
{%- else %}
        messages: by the columns of a unique constraint, such as "users.email", or by the name of a
            check constraint.
{%- endif %}
    """
    try:
        yield
    except IntegrityError as error:
{%- if cookiecutter.database == "postgresql" %}
        constraint = getattr(error.orig and error.orig.__cause__, "constraint_name", "")
{%- else %}
        constraint = str(error.orig).partition(" constraint failed: ")[2]
{%- endif %}
        if constraint not in messages:
            raise
        raise ConflictError(messages[constraint]) from error
