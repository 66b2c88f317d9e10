"""Applications whose jobs tests inspect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.worker import runner
from {{ cookiecutter.package_name }}.worker.queue import (
    TASKS,
    Context,
    Task,
    task,
)

from mail_support import MailServer
from support import NewDatabase, settings_for
from worker_support import Body, NewService, NewTask, Service


@pytest.fixture(autouse=True)
def _frequent_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits of workers for a job that a test makes due."""
    monkeypatch.setattr(runner, "POLL_INTERVAL", timedelta(seconds=0.1))


@pytest.fixture
def new_service(new_database: NewDatabase) -> NewService:
    """Create applications with settings and a database of their own."""

    @asynccontextmanager
    async def new(**changes: object) -> AsyncIterator[Service]:
        async with new_database() as url:
            app = create_app(settings_for(url, **changes))
            async with app.router.lifespan_context(app):
                yield Service(app)

    return new


@pytest.fixture
async def service(new_service: NewService, mail_server: MailServer) -> AsyncIterator[Service]:
    """The application with the mail server."""
    async with new_service(smtp_url=mail_server.url) as service:
        yield service


@pytest.fixture
def new_task(monkeypatch: pytest.MonkeyPatch) -> NewTask:
    """Register functions as a task until the test ends."""

    def new(body: Body, **options: Any) -> Task[[]]:
        async def chore(context: Context) -> None:
            await body(context)

        monkeypatch.setitem(TASKS, "chore", task(**options)(chore))
        return TASKS["chore"]

    return new
