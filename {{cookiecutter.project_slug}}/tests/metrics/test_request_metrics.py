"""Requests are counted by what is bounded: route, known method, class of status."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from support import NewApp, new_client, registration

Rises = Callable[..., AbstractContextManager[None]]

COUNT = "http_request_duration_seconds_count"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_request_is_counted_by_its_route(new_app: NewApp, rises: Rises, method: str) -> None:
    client = new_client(new_app())

    with rises(COUNT, 2, method=method, route="/api/v1/test-notes/{note_id}", status="4xx"):
        for _ in range(2):
            await client.request(method, f"/api/v1/test-notes/{uuid4()}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_probe_is_counted_by_its_route(new_app: NewApp, rises: Rises, method: str) -> None:
    with rises(COUNT, 1, method=method, route="/health/live", status="2xx"):
        await new_client(new_app()).request(method, "/health/live")


async def test_unknown_paths_and_methods_are_one_series(new_app: NewApp, rises: Rises) -> None:
    client = new_client(new_app())

    with (
        rises(COUNT, 3, method="GET", route="unknown", status="4xx"),
        rises(COUNT, 2, method="unknown", route="unknown", status="4xx"),
    ):
        for path in ("/a", "/b", "/docs/assets/../c"):
            await client.get(path)
        for method in ("BREW", "WHEN"):
            await client.request(method, "/pot")

    series = {tuple(s.labels.values()) for m in REGISTRY.collect() for s in m.samples}
    assert not [labels for labels in series if {"/a", "/b", "BREW", "WHEN"} & {*labels}]


async def test_bodies_are_counted_in_bytes(new_app: NewApp, rises: Rises) -> None:
    client = new_client(new_app())
    route = {"method": "POST", "route": "/api/v1/users", "status": "2xx"}
    body = json.dumps(registration())

    before = REGISTRY.get_sample_value("http_response_body_bytes_total", route) or 0
    with rises("http_request_body_bytes_total", len(body), **route):
        response = await client.post(
            "/api/v1/users", content=body, headers={"Content-Type": "application/json"}
        )

    assert response.status_code == 202
    after = REGISTRY.get_sample_value("http_response_body_bytes_total", route)
    assert after == before + len(response.content)


async def test_error_that_nothing_caught_is_counted(new_app: NewApp, rises: Rises) -> None:
    app = new_app()

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    with (
        rises(COUNT, method="GET", route="/broken", status="5xx"),
        rises("http_requests_in_progress", 0),
    ):
        assert (await new_client(app).get("/broken")).status_code == 500
