"""Text that cannot be stored, and requests that are expensive to parse."""

import json
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Annotated

import pytest
from fastapi import Body, FastAPI, Form
from httpx2 import AsyncClient
from orders.auth.models import User
from orders.dependencies import DbSession
from sqlalchemy import select
from support import NOWHERE, NewApp, new_client, pointers

TOKEN = "/api/v1/auth/token"
REVOKE = "/api/v1/auth/revoke"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=a"
FORM = b'--a\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xc3\xa4\r\n--a--\r\n'
IS_SQLITE = NOWHERE.startswith("sqlite")
ADMIN_LOGIN = ["/admin/login"] if find_spec("orders.admin") else []
INVALID_TEXT = ("a\0", "\ud800", "abcdefghijkl\udfff")


@pytest.fixture
def form_app(new_app: NewApp) -> FastAPI:
    """Create an application with a route that reads a form."""
    app = new_app()

    @app.post("/form")
    async def read(name: Annotated[str, Form()]) -> str:
        return name

    return app


async def unread_body() -> AsyncIterator[bytes]:
    """Fail when the body is read."""
    raise AssertionError("the body was read")
    yield b""


@pytest.mark.parametrize("charset", ["punycode", "undefined", "unicode_escape", '"idna"', "x"])
@pytest.mark.parametrize("path", [TOKEN, REVOKE, "/form", *ADMIN_LOGIN])
async def test_form_in_another_charset_is_rejected_without_reading(
    form_app: FastAPI, path: str, charset: str
) -> None:
    headers = {"Content-Type": f"{MULTIPART}; Charset={charset}", "Origin": "https://test"}

    response = await new_client(form_app).post(path, content=unread_body(), headers=headers)

    assert response.status_code == 415


@pytest.mark.parametrize("content_type", [MULTIPART, f"{MULTIPART}; charset=UTF-8"])
async def test_form_in_utf8_is_accepted(form_app: FastAPI, content_type: str) -> None:
    headers = {"Content-Type": content_type}

    response = await new_client(form_app).post("/form", content=FORM, headers=headers)

    assert response.json() == "ä"


@pytest.mark.parametrize("content_type", [MULTIPART, "application/json", f"{URLENCODED}x"])
@pytest.mark.parametrize("path", [TOKEN, REVOKE])
async def test_token_endpoints_accept_only_urlencoded_forms(
    client: AsyncClient, path: str, content_type: str
) -> None:
    headers = {"Content-Type": content_type}

    response = await client.post(path, content=unread_body(), headers=headers)

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", [TOKEN, REVOKE, *ADMIN_LOGIN])
async def test_large_login_form_is_rejected(client: AsyncClient, path: str) -> None:
    headers = {"Content-Type": URLENCODED, "Origin": "https://test"}

    response = await client.post(path, content=b"&" * 100_000, headers=headers)

    assert response.status_code == 413


@pytest.mark.parametrize(
    ("members", "detail", "listed"),
    [
        (2_000, "The request is not valid.", 1),
        # Two more errors are for the required members.
        (98, "The request is not valid: the first 50 of 100 errors.", 50),
        (48, "The request is not valid.", 50),
    ],
)
async def test_list_of_errors_is_bounded(
    client: AsyncClient, members: int, detail: str, listed: int
) -> None:
    body = {f"{'long' * 100}{number}": 1 for number in range(members)}

    response = await client.post("/api/v1/auth/session", json=body)

    assert response.status_code == 422
    assert response.json()["detail"] == detail
    assert len(pointers(response)) == listed
    assert len(response.content) < 20_000


async def test_invalid_text_in_an_unchecked_route_is_a_client_error(
    new_app: NewApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = new_app()

    @app.post("/find")
    async def find(session: DbSession, email: Annotated[str, Body()]) -> bool:
        return await session.scalar(select(User.id).where(User.email == email)) is not None

    async with new_client(app) as client:
        client.headers["Content-Type"] = "application/json"
        texts = INVALID_TEXT[1:] if IS_SQLITE else INVALID_TEXT  # SQLite stores NUL
        responses = [await client.post("/find", content=json.dumps(text)) for text in texts]

    for response in responses:
        assert response.status_code == 422
        assert "codec" not in response.text
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if json.loads(line)["message"] != "request"] == []


@pytest.mark.parametrize(
    ("url", "pointer"),
    [
        ("/named/a%00", "/path"),
        ("/api/v1/users/%00", "/path"),
        ("/named/a?q=%00", "/query"),
        ("/docs?a%00=1", "/query"),
    ],
)
async def test_nul_in_the_url_is_rejected(new_app: NewApp, url: str, pointer: str) -> None:
    app = new_app()
    app.add_api_route("/named/{name}", lambda name, q=None: [name, q])

    response = await new_client(app).get(url)

    assert (response.status_code, pointers(response)) == (422, [pointer])
