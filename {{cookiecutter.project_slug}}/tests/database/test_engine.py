"""Units of work, and what clients see when the database fails."""

import asyncio
{%- if cookiecutter.database == "postgresql" %}
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import gettempdir
from uuid import uuid4
{%- else %}
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
{%- endif %}

{% if cookiecutter.database == "postgresql" -%}
import asyncpg
{% endif -%}
import pytest
from fastapi import FastAPI
from httpx2 import Response
{% if cookiecutter.database == "postgresql" -%}
from sqlalchemy import Executable, Integer, cast, delete, insert, select, text
from sqlalchemy.exc import DBAPIError
{%- else -%}
from sqlalchemy import Executable, insert, select, text
from sqlalchemy.exc import OperationalError
{%- endif %}

from {{ cookiecutter.package_name }}.database import Database
{%- if cookiecutter.database == "postgresql" %}
from {{ cookiecutter.package_name }}.database.postgresql import asyncpg_url
{%- endif %}
from {{ cookiecutter.package_name }}.dependencies import (
    DbSession,
    ReadSession,
)
from {{ cookiecutter.package_name }}.main import create_app

{% if cookiecutter.database == "postgresql" -%}
from dev import embedded_postgres
from notes import Counter
from support import PASSWORD, NewApp, NewDatabase, new_client, settings_for
{%- else -%}
from notes import Counter
from support import NewDatabase, new_client, settings_for
{%- endif %}

ADD = insert(Counter).values(value=7)


@asynccontextmanager
async def running(url: str, **settings: object) -> AsyncIterator[FastAPI]:
    """The application on the database, with a pool of one connection."""
    app = create_app(settings_for(url, database_pool_size=1, **settings))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def own_app(new_database: NewDatabase) -> AsyncIterator[FastAPI]:
    """An application that the test may add routes to."""
    async with new_database() as url, running(url) as app:
        yield app


async def request(app: FastAPI, *statements: Executable, method: str = "POST") -> Response:
    """The answer to a request that executes the statements."""

    async def read(session: ReadSession) -> None:
        for statement in statements:
            await session.execute(statement)

    async def write(session: DbSession) -> None:
        for statement in statements:
            await session.execute(statement)

    path = f"/{len(app.routes)}"
    app.add_api_route(path, read if method == "GET" else write, methods=[method])
    async with new_client(app) as client:
        return await client.request(method, path)


async def values_of(app: FastAPI) -> list[int]:
    """The values of all stored counters."""
    async with app.state.services.database.read_session() as session:
        return list(await session.scalars(select(Counter.value)))


def assert_unavailable(response: Response) -> None:
    """The client is told to come back, and nothing of the cause."""
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "1"
    assert response.json()["detail"] == "The database does not answer; try again shortly."


async def test_failed_commit_is_an_error_that_the_client_sees(own_app: FastAPI) -> None:
    reference = "REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED"
    await request(
        own_app,
        text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"),
        text(f"CREATE TABLE children (id INTEGER {reference})"),
    )

    response = await request(own_app, text("INSERT INTO children VALUES (1)"))

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert "children" not in response.text


async def test_error_undoes_what_the_request_did(own_app: FastAPI) -> None:
    response = await request(own_app, ADD, text("SELECT nonsense"))

    assert response.status_code == 500
    assert await values_of(own_app) == []


async def test_write_in_a_read_only_route_is_an_error(own_app: FastAPI) -> None:
    assert (await request(own_app, ADD, method="GET")).status_code == 500
    assert await values_of(own_app) == []

    await request(own_app, ADD)
    assert await values_of(own_app) == [7]


async def test_concurrent_units_of_work_lose_no_update(new_database: NewDatabase) -> None:
    async with new_database() as url, Database(settings_for(url)) as database:
        async with database.write_session() as session:
            session.add(Counter())

        async def increment() -> None:
            async with database.write_session() as session:
                counter = (await session.scalars(select(Counter).with_for_update())).one()
                counter.value += 1

        await asyncio.gather(*(increment() for _ in range(50)))

        async with database.read_session() as session:
            assert (await session.scalars(select(Counter.value))).all() == [50]


async def test_exhausted_pool_is_unavailable_until_a_connection_is_free(
    new_database: NewDatabase,
) -> None:
    async with new_database() as url, running(url, database_pool_timeout=2) as app:
        async with app.state.services.database.write_session() as session:
            await session.execute(text("SELECT 1"))
            during = await request(app, ADD)
        await request(app, ADD)

        assert_unavailable(during)
        assert await values_of(app) == [7]


async def test_connections_are_given_in_the_order_of_asking(new_database: NewDatabase) -> None:
    served: list[str] = []
    changes = {"database_pool_size": 1, "database_max_overflow": 0}
    async with new_database() as url, Database(settings_for(url, **changes)) as database:

        async def ask(name: str) -> None:
            async with database.read_session() as session:
                await session.execute(text("SELECT 1"))
                served.append(name)

        async with asyncio.TaskGroup() as group:
            async with database.read_session():
                for name in ("first", "second"):
                    group.create_task(ask(name))
                await asyncio.sleep(0)  # they ask, and wait
            await ask("last")  # at once, when the connection has just become free

    assert served == ["first", "second", "last"]

{% if cookiecutter.database == "postgresql" %}
@pytest.mark.parametrize("prepared", [True, False])
async def test_read_session_cannot_write(prepared: bool, new_database: NewDatabase) -> None:
    settings = {"database_pool_size": 1, "database_prepared_statements": prepared}
    async with new_database() as url, Database(settings_for(url, **settings)) as database:
        for _ in range(2):  # the same connection, in turn
            async with database.write_session() as session:
                await session.execute(delete(Counter))
                await session.execute(ADD)
            with pytest.raises(DBAPIError, match="read-only transaction"):
                async with database.read_session() as session:
                    await session.execute(delete(Counter))
            with pytest.raises(DBAPIError, match="read-only transaction"):
                async with database.read_connection() as connection:
                    await connection.execute(delete(Counter))

        async with database.read_session() as session:
            assert (await session.scalars(select(Counter.value))).all() == [7]


async def test_cancelled_query_releases_its_connection(
    new_database: NewDatabase,
) -> None:
    settings = {"database_pool_size": 1, "database_max_overflow": 0}
    async with new_database() as url, Database(settings_for(url, **settings)) as database:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), database.read_session() as session:
                    await session.execute(text("SELECT pg_sleep(60)"))

            async with database.read_session() as session:
                assert await session.scalar(text("SELECT 1")) == 1


async def test_lost_connection_is_unavailable_once(new_database: NewDatabase) -> None:
    async with new_database() as url, running(url) as app:
        async with app.state.services.database.write_session() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
        operator = await asyncpg.connect(url)
        await operator.execute("SELECT pg_terminate_backend($1, 10000)", pid)
        await operator.close()

        assert_unavailable(await request(app, ADD))
        assert (await request(app, ADD)).status_code == 200


@contextmanager
def stopped(processes: Sequence[int]) -> Iterator[None]:
    """Suspend processes, so that their connections stay open and nothing is answered."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


async def test_server_that_stops_answering_is_unavailable_until_it_answers() -> None:
    # A server of its own, as other tests need theirs.
    url = embedded_postgres(Path(gettempdir()) / f"postgres-{uuid4().hex}", keep=False)
    settings = {"database_statement_timeout": 1, "database_pool_timeout": 4}
    async with running(url, **settings) as app:
        async with app.state.services.database.write_session() as session:
            pids = list(await session.scalars(text("SELECT pid FROM pg_stat_activity")))
            postmaster = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"
            pids.append(await session.scalar(text(postmaster)))
        with stopped(pids):
            during = await asyncio.gather(
                request(app, text("SELECT 1"), method="GET"),  # on the open connection
                request(app, text("SELECT 1")),  # on a new one
            )
        after = await request(app, text("SELECT 1"))

    for response in during:
        assert_unavailable(response)
    assert after.status_code == 200


async def test_unreachable_server_is_unavailable_and_its_password_stays_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://user:{PASSWORD}@127.0.0.1:{closed.getsockname()[1]}/name"
        async with running(url) as app:
            response = await request(app, ADD)

    assert_unavailable(response)
    log = capsys.readouterr().out
    assert "database unavailable" in log
    state = app.state.services
    assert PASSWORD not in log + repr(state.settings) + repr(state.database.write_engine)


@pytest.mark.parametrize("prepared", [True, False])
async def test_endless_statement_is_cut_off(prepared: bool, new_database: NewDatabase) -> None:
    settings = {"database_statement_timeout": 0.01, "database_prepared_statements": prepared}
    async with new_database() as url, running(url, **settings) as app:
        assert_unavailable(await request(app, text("SELECT pg_sleep(60)")))


@pytest.mark.parametrize(("prepared", "lasting"), [(True, "10000"), (False, "0")])
async def test_transaction_leaves_nothing_on_a_connection_that_others_use(
    prepared: bool, lasting: str, new_database: NewDatabase
) -> None:
    left = text(
        "SELECT (SELECT count(*) > 0 FROM pg_prepared_statements), setting, reset_val "
        "FROM pg_settings WHERE name = 'statement_timeout'"
    )
    async with (
        new_database() as url,
        Database(settings_for(url, database_prepared_statements=prepared)) as database,
    ):
        async with database.write_session() as session:
            await session.execute(ADD)

        async with database.read_session() as session:
            assert (await session.execute(left)).one() == (prepared, "10000", lasting)


def failing(sqlstate: str) -> Executable:
    """A statement that fails in this way."""
    return text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$")


async def test_only_errors_that_pass_are_worth_another_try(new_app: NewApp) -> None:
    app = new_app()

    for sqlstate, status in {
        "08006": 503,  # connection failure
        "40P01": 503,  # deadlock
        "53200": 503,  # out of memory
        "57P01": 503,  # shutdown
        "22021": 422,  # text with NUL
        "22P05": 422,  # JSON with NUL
        "22001": 500,  # value too long
    }.items():
        assert (await request(app, failing(sqlstate))).status_code == status, sqlstate
    rejected_by_the_driver = select(cast("x", Integer))
    assert (await request(app, rejected_by_the_driver)).status_code == 500


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h:6432/d", "u:p@h:6432/d"),
        ("postgresql://u:p%40%2F%3A@h/d", "u:p%40%2F%3A@h/d"),
        ("postgresql+psycopg://u@[::1]/d", "u@[::1]/d"),
        ("postgres://u:p@/d?host=/run/pg", "u:p@/d?host=%2Frun%2Fpg"),
        ("postgres://h/d?sslmode=require", "h/d?ssl=require"),
        ("postgres://h/d?sslmode=verify-full&channel_binding=require", "h/d?ssl=verify-full"),
        ("postgres://h/d?gssencmode=disable", "h/d"),
    ],
)
def test_url_works_as_platforms_hand_it_out(given: str, used: str) -> None:
    url = asyncpg_url(given).render_as_string(hide_password=False)

    assert url == f"postgresql+asyncpg://{used}"
{%- else %}
async def test_read_session_cannot_write(own_app: FastAPI) -> None:
    database = own_app.state.services.database
    with pytest.raises(OperationalError, match="readonly database"):
        async with database.read_session() as session:
            await session.execute(ADD)
    with pytest.raises(OperationalError, match="readonly database"):
        async with database.read_connection() as connection:
            await connection.execute(ADD)

    assert await values_of(own_app) == []


async def test_writers_wait_for_writers_only(new_database: NewDatabase) -> None:
    async with (
        new_database() as url,
        running(url, database_busy_timeout=0.05) as app,
        Database(settings_for(url)) as other,
    ):
        async with other.write_session() as writer:
            await writer.execute(ADD)
            assert_unavailable(await request(app, ADD))
            assert await values_of(app) == []

        async with other.read_session() as reader:
            assert (await reader.scalars(select(Counter.value))).all() == [7]
            assert (await request(app, text("DELETE FROM counters"))).status_code == 200


async def test_only_errors_that_pass_are_worth_another_try(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when-missing"
    async with running(f"sqlite:///{folder}/app.db") as app:
        folder.rmdir()
        unreachable = await request(app, ADD)
        folder.mkdir()
        not_migrated = await request(app, ADD)

    assert_unavailable(unreachable)
    assert not_migrated.status_code == 500
    assert "counters" not in not_migrated.text
{%- endif %}
