"""A Sentry server, and applications that report to it."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from httpx2 import AsyncClient, Client

from {{ cookiecutter.package_name }}.main import create_app

from reports_support import NewReportingApp, Reporting, Reports
from support import NewDatabase, accepts, settings_for


@pytest.fixture(scope="session")
def kent() -> Iterator[Client]:
    """The fake Sentry server of Mozilla, as a process."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "flask", "--app", "kent.app", "run", "--port", str(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,  # noqa: S603
        Client(base_url=f"http://127.0.0.1:{port}") as client,
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
def new_reporting_app(new_database: NewDatabase, reports: Reports) -> NewReportingApp:
    """Serves applications, as the server logs what nobody has caught."""

    @asynccontextmanager
    async def new(**changes: object) -> AsyncIterator[Reporting]:
        async with new_database() as url:
            app = create_app(settings_for(url, sentry_dsn=reports.dsn, **changes))
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
            serving = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - of the server
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                yield Reporting(app, client)
            server.should_exit = True
            await serving

    return new
