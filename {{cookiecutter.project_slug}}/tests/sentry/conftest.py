"""A Sentry server, and applications that report to it."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from httpx2 import AsyncClient, Client

from {{ cookiecutter.package_name }} import sentry
from {{ cookiecutter.package_name }}.main import create_app

from sentry_support import NewReportingApp, Reporting, Reports
from support import NewDatabase, accepts, free_port, listen, settings_for


@pytest.fixture(scope="session")
def kent() -> Iterator[Client]:
    """The fake Sentry server of Mozilla, as a process."""
    command = [sys.executable, "-m", "flask", "--app", "kent.app", "run", "--port"]
    with (
        free_port() as port,
        subprocess.Popen(  # noqa: S603
            [*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        while not accepts(port):
            assert process.poll() is None
            time.sleep(0.01)
        yield client
        process.terminate()


@pytest.fixture
def reports(kent: Client) -> Reports:
    """What the Sentry server has got, which is nothing when a test begins."""
    kent.post("/api/flush/")
    return Reports(kent)


@pytest.fixture
def new_reporting_app(
    new_database: NewDatabase, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> NewReportingApp:
    """Serves applications, because the server logs uncaught exceptions."""
    monkeypatch.setattr(sentry, "FLUSH_SECONDS", 60)

    @asynccontextmanager
    async def new(**changes: object) -> AsyncIterator[Reporting]:
        async with new_database() as url:
            app = create_app(settings_for(url, sentry_dsn=reports.dsn, **changes))
            async with (
                app.router.lifespan_context(app),
                listen(app) as port,
                AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
            ):
                yield Reporting(app, client)

    return new
