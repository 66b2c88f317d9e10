"""What the tests of reports share."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from httpx2 import AsyncClient, Client


@dataclass(frozen=True)
class Reporting:
    """An application that is served, and a client of it."""

    app: FastAPI
    client: AsyncClient


NewReportingApp = Callable[..., AbstractAsyncContextManager[Reporting]]


@dataclass(frozen=True)
class Reports:
    """What a Sentry server has got."""

    kent: Client

    @property
    def dsn(self) -> str:
        """SENTRY_DSN of this server."""
        return f"http://public@127.0.0.1:{self.kent.base_url.port}/1"

    def all(self) -> list[dict[str, Any]]:
        """All reports, with their envelopes."""
        events = self.kent.get("/api/eventlist/").json()["events"]
        return [self.kent.get(f"/api/event/{event['event_id']}").json() for event in events]

    def one(self) -> dict[str, Any]:
        """The only report."""
        [report] = self.all()
        body: dict[str, Any] = report["payload"]["body"]
        return body
