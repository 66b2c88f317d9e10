"""Conditional requests (RFC 9110 section 13)."""

import pytest
from fastapi import Response
from httpx2 import AsyncClient

from {{ cookiecutter.package_name }}.preconditions import (
    IfMatch,
    check_if_match,
    etag_of,
    set_etag,
)

from support import NewApp, new_client


@pytest.fixture
def document(new_app: NewApp) -> AsyncClient:
    """A client of an application with a document in version 3."""
    app = new_app()

    @app.get("/document")
    async def read_document(response: Response) -> dict[str, str]:
        set_etag(response, etag_of(3))
        return {"title": "Report"}

    @app.put("/document", status_code=204)
    async def replace_document(if_match: IfMatch = None) -> None:
        check_if_match(if_match, etag_of(3))

    return new_client(app)


@pytest.mark.parametrize(
    ("header", "status"), [('"3"', 304), ('"2", W/"3"', 304), ("*", 304), ('"2"', 200)]
)
async def test_known_version_is_not_sent_again(
    document: AsyncClient, header: str, status: int
) -> None:
    response = await document.get("/document", headers={"If-None-Match": header})

    assert response.status_code == status
    assert response.headers["ETag"] == '"3"'
    assert bool(response.content) is (status == 200)


@pytest.mark.parametrize(
    ("header", "status"),
    [('"3"', 204), ('"2", "3"', 204), ("*", 204), ('"2"', 412), ('W/"3"', 412)],
)
async def test_change_needs_the_current_version(
    document: AsyncClient, header: str, status: int
) -> None:
    response = await document.put("/document", headers={"If-Match": header})

    assert response.status_code == status
