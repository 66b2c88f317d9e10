"""What is measured of the database, of logins and of the log."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.state import get_state

from support import NewApp, NewDatabase, log_in, new_account, new_client, refresh, settings_for

Rises = Callable[..., AbstractContextManager[None]]


def pool() -> tuple[float | None, ...]:
    """Connections of the read pool: in use, beyond those kept open, and at most."""
    names, labels = ("checked_out", "overflow", "limit"), {"pool": "read"}
    return tuple(REGISTRY.get_sample_value(f"database_pool_{name}", labels) for name in names)


async def test_pool_shows_how_full_it_is(new_database: NewDatabase, rises: Rises) -> None:
    async with new_database() as url:
        sizes = {"database_pool_size": 1, "database_max_overflow": 1}
        app = create_app(settings_for(url, database_pool_timeout=2, **sizes))
        database = app.state.services.database
        async with app.router.lifespan_context(app):
            with rises("database_pool_wait_seconds_count", 3):
                async with database.read_connection():
                    assert pool() == (1, 0, 2)
                    async with database.read_connection():
                        assert pool() == (2, 1, 2)
                        with pytest.raises(PoolTimeoutError):
                            async with database.read_connection():
                                pass
            assert pool()[0] == 0


@pytest.mark.parametrize(
    ("statement", "kind"),
    [("SELECT 1", "select"), ("DELETE FROM notes", "delete"), ("VALUES (1)", "other")],
)
async def test_statements_are_timed_by_kind(
    new_database: NewDatabase, rises: Rises, statement: str, kind: str
) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url))
        write_session = get_state(app).database.write_session
        async with app.router.lifespan_context(app), write_session() as session:
            await session.connection()
            with rises("database_statement_duration_seconds_count", kind=kind):
                await session.execute(text(statement))


async def test_logins_are_counted_by_outcome_whatever_is_logged(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app(log_level="ERROR", login_attempts=1)
    client, account = new_client(app), await new_account(app)

    with rises("auth_logins_total", outcome="success"):
        assert (await log_in(client, account.email)).status_code == 200
    with (
        rises("auth_logins_total", outcome="failure"),
        rises("attempts_refused_total", purpose="account_address"),
    ):
        assert (await log_in(client, account.email, "wrong")).status_code == 400
        assert (await log_in(client, account.email, "wrong")).status_code == 429


async def test_login_whose_commit_fails_is_not_counted(
    new_app: NewApp, rises: Rises, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = new_app()
    account = await new_account(app)

    async def fail(_: AsyncSession) -> None:
        raise ConnectionError

    monkeypatch.setattr(AsyncSession, "commit", fail)
    with rises("auth_logins_total", 0, outcome="success"):
        assert (await log_in(new_client(app), account.email)).status_code == 500


async def test_reuse_of_a_refresh_token_is_counted_once_for_a_login(
    new_app: NewApp, rises: Rises
) -> None:
    app = new_app(log_level="ERROR")
    client, account = new_client(app), await new_account(app)
    await refresh(client, account.refresh_token)

    with rises("auth_refresh_reuse_detected_total"):
        for _ in range(2):
            assert (await refresh(client, account.refresh_token)).status_code == 400


async def test_passwords_that_wait_are_seen(new_app: NewApp, rises: Rises) -> None:
    hashing = new_app().state.services.auth.hasher.hash
    before = REGISTRY.get_sample_value("password_hashes_in_progress") or 0

    with rises("password_hash_duration_seconds_count", 5):
        tasks = [asyncio.create_task(hashing("analytical-engine", "a")) for _ in range(5)]
        await asyncio.sleep(0)
        assert REGISTRY.get_sample_value("password_hashes_in_progress") == before + 5
        await asyncio.gather(*tasks)

    assert REGISTRY.get_sample_value("password_hashes_in_progress") == before


async def test_warnings_and_errors_in_the_log_are_counted(new_app: NewApp, rises: Rises) -> None:
    new_app()

    with rises("log_lines_total", level="warning"), rises("log_lines_total", level="error"):
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger("library").log(level, "something happened")
