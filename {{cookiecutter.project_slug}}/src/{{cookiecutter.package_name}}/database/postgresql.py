"""The engines for PostgreSQL, with asyncpg as the driver."""

from typing import Any

from sqlalchemy import URL, Connection, Dialect, ExceptionContext, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..settings import Settings

# libpq options that asyncpg has no argument for, or that a setting decides.
IGNORED_OPTIONS = ("channel_binding", "connect_timeout", "gssencmode")
# In transaction mode, PgBouncer may run the next statement on another server connection.
PGBOUNCER_CONNECT_ARGS = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


def asyncpg_url(url: str) -> URL:
    """Translate a URL in the form that platforms provide (postgres://...?sslmode=require)."""
    parsed = make_url(url)
    query = {name: value for name, value in parsed.query.items() if name not in IGNORED_OPTIONS}
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def create_write_engine(settings: Settings, *, for_migrations: bool = False) -> AsyncEngine:
    """Create the engine for transactions.

    Args:
        for_migrations: disable the statement timeout.
    """
    timeout = None if for_migrations else settings.database_statement_timeout
    return _create_engine(settings, settings.database_url, timeout)


def create_read_engine(settings: Settings, url: str | None = None) -> AsyncEngine:
    """Create the engine for queries: each runs in autocommit, and the server rejects writes.

    Args:
        url: the server, by default that of DATABASE_URL.
    """
    url, timeout = url or settings.database_url, settings.database_statement_timeout
    if settings.database_prepared_statements:
        read_only = {"default_transaction_read_only": "on"}
        return _create_engine(settings, url, timeout, read_only, isolation_level="AUTOCOMMIT")
    # PgBouncer rejects the server setting, so each transaction is read-only instead.
    return _create_engine(settings, url, timeout, execution_options={"postgresql_readonly": True})


def _create_engine(
    settings: Settings,
    url: str,
    statement_timeout: float | None,
    server_settings: dict[str, str] | None = None,
    **options: Any,
) -> AsyncEngine:
    milliseconds = f"{(statement_timeout or 0) * 1000:.0f}"
    server_settings = {
        "application_name": "{{ cookiecutter.project_slug }}",
        "timezone": "UTC",
        **(server_settings or {}),
    }
    connect_args: dict[str, Any] = {
        "timeout": settings.database_pool_timeout,
        # The server cancels slow statements; this bounds the wait for an unresponsive server.
        "command_timeout": statement_timeout and statement_timeout + 1,
        "server_settings": server_settings,
    }
    if settings.database_prepared_statements:
        server_settings["statement_timeout"] = milliseconds
    else:
        connect_args |= PGBOUNCER_CONNECT_ARGS
    engine = create_async_engine(
        asyncpg_url(url),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow + 1,  # one for a readiness probe
        pool_timeout=settings.database_pool_timeout,
        pool_recycle=1800,  # firewalls may drop connections that stay open for longer
        hide_parameters=not settings.debug,
        connect_args=connect_args,
        **options,
    )
    event.listen(engine.sync_engine, "do_connect", _connect)
    event.listen(engine.sync_engine, "handle_error", _terminate_unresponsive_connection)
    if not settings.database_prepared_statements:

        def set_timeout(connection: Connection) -> None:
            # PgBouncer rejects this as a startup parameter, and a session-level SET would leak to
            # other clients.
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")

        event.listen(engine.sync_engine, "begin", set_timeout)
    return engine


def _connect(dialect: Dialect, _: object, arguments: list[Any], options: dict[str, Any]) -> object:
    # asyncpg raises a plain OSError when the server is unreachable.
    try:
        return dialect.connect(*arguments, **options)
    except OSError as error:
        raise OperationalError(None, None, error) from error


def _terminate_unresponsive_connection(context: ExceptionContext) -> None:
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
