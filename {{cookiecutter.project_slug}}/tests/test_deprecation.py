"""Deprecated routes: the Deprecation (RFC 9745) and Sunset (RFC 8594) headers, OpenAPI."""

from datetime import date

import pytest
from fastapi import APIRouter, FastAPI, Response
from httpx2 import AsyncClient

from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentPrincipal,
)
from {{ cookiecutter.package_name }}.deprecation import deprecation
from {{ cookiecutter.package_name }}.exceptions import NotFoundError
from {{ cookiecutter.package_name }}.preconditions import set_etag

from support import Account, NewApp, new_client

PAGE = "https://example.com/deprecation"
HEADERS = {
    "Deprecation": "@1798761600",
    "Sunset": "Thu, 01 Jul 2027 00:00:00 GMT",
    "Link": f'<{PAGE}>; rel="deprecation sunset"',
}
ETAG = '"1"'

router = APIRouter(
    prefix="/test-deprecated",
    **deprecation(since=date(2027, 1, 1), sunset=date(2027, 7, 1), link=PAGE),
)


@router.get("/row")
async def read_row(response: Response, size: int = 0) -> int:
    """Return a number."""
    set_etag(response, ETAG)
    return size


@router.get("/missing")
async def read_missing_row() -> None:
    """Fail as a service does."""
    raise NotFoundError("Row not found.")


@router.get("/broken")
async def read_broken_row() -> None:
    """Fail unexpectedly."""
    raise ZeroDivisionError


@router.get("/private")
async def read_private_row(_: CurrentPrincipal) -> None:
    """Require a caller."""


@pytest.fixture
def deprecated_app(new_app: NewApp) -> FastAPI:
    """Provide an application with deprecated routes."""
    app = new_app(cors_origins=["https://app.example"])
    app.include_router(router)
    return app


@pytest.fixture
def deprecated_client(deprecated_app: FastAPI) -> AsyncClient:
    """Provide a client of an application with deprecated routes."""
    return new_client(deprecated_app)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("row", 200),
        ("row?size=large", 422),
        ("missing", 404),
        ("broken", 500),
        ("private", 401),
    ],
)
async def test_responses_and_errors_announce_the_deprecation(
    deprecated_client: AsyncClient, path: str, status: int
) -> None:
    response = await deprecated_client.get(f"/test-deprecated/{path}")

    assert response.status_code == status
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS


async def test_response_without_content_announces_the_deprecation(
    deprecated_client: AsyncClient,
) -> None:
    response = await deprecated_client.get("/test-deprecated/row", headers={"If-None-Match": ETAG})

    assert response.status_code == 304
    assert response.headers["Deprecation"] == HEADERS["Deprecation"]


async def test_scripts_of_other_origins_may_read_the_headers(
    deprecated_client: AsyncClient,
) -> None:
    origin = {"Origin": "https://app.example"}

    response = await deprecated_client.get("/test-deprecated/row", headers=origin)

    exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
    assert HEADERS.keys() <= set(exposed)


async def test_other_routes_are_not_deprecated(
    deprecated_client: AsyncClient, member: Account
) -> None:
    responses = [
        await deprecated_client.get("/test-deprecated/unknown"),
        await member.client.get("/api/v1/users/me"),
    ]

    for response in responses:
        assert not any(name in response.headers for name in HEADERS)


def test_openapi_marks_the_operations_as_deprecated(deprecated_app: FastAPI) -> None:
    paths = deprecated_app.openapi()["paths"]

    deprecated = {path for path, item in paths.items() if item.get("get", {}).get("deprecated")}
    assert deprecated == {
        f"/test-deprecated/{name}" for name in ("row", "missing", "broken", "private")
    }


async def test_single_route_is_deprecated_without_a_known_sunset(new_app: NewApp) -> None:
    app = new_app()
    app.get("/test-route", **deprecation(since=date(2027, 1, 1), link=PAGE))(read_row)

    response = await new_client(app).get("/test-route")

    assert response.headers["Deprecation"] == HEADERS["Deprecation"]
    assert response.headers["Link"] == f'<{PAGE}>; rel="deprecation"'
    assert "Sunset" not in response.headers


def test_sunset_before_the_deprecation_is_rejected() -> None:
    with pytest.raises(ValueError, match="before the deprecation"):
        deprecation(since=date(2027, 7, 1), sunset=date(2027, 1, 1))
