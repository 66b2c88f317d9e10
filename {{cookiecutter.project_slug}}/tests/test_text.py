"""Text that no database can store, and input that is made to cost time, are rejected at once."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Body, FastAPI, Form
from httpx2 import AsyncClient
from sqlalchemy import select

from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.dependencies import DbSession

from support import Account, NewApp, new_client, pointers

TOKEN = "/api/v1/auth/token"
REVOKE = "/api/v1/auth/revoke"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=a"
FORM = b'--a\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xc3\xa4\r\n--a--\r\n'
# No JSON string of ours, and no row, may hold them.
UNUSABLE = ("a\0", "\ud800", "abcdefghijkl\udfff")


@pytest.fixture
def forms(new_app: NewApp) -> FastAPI:
    """The service with a route that reads a form."""
    app = new_app()

    @app.post("/form")
    async def read(name: Annotated[str, Form()]) -> str:
        return name

    return app


async def unread() -> AsyncIterator[bytes]:
    """A body that must not be read."""
    raise AssertionError("the body was read")
    yield b""


@pytest.mark.parametrize("charset", ["punycode", "undefined", "unicode_escape", '"idna"', "x"])
{%- if cookiecutter.use_admin %}
@pytest.mark.parametrize("path", [TOKEN, REVOKE, "/form", "/admin/login"])
{%- else %}
@pytest.mark.parametrize("path", [TOKEN, REVOKE, "/form"])
{%- endif %}
async def test_form_in_another_charset_is_rejected_unread(
    forms: FastAPI, path: str, charset: str
) -> None:
    headers = {"Content-Type": f"{MULTIPART}; Charset={charset}", "Origin": "https://test"}

    response = await new_client(forms).post(path, content=unread(), headers=headers)

    assert response.status_code == 415


@pytest.mark.parametrize("content_type", [MULTIPART, f"{MULTIPART}; charset=UTF-8"])
async def test_form_in_utf8_is_read(forms: FastAPI, content_type: str) -> None:
    headers = {"Content-Type": content_type}

    response = await new_client(forms).post("/form", content=FORM, headers=headers)

    assert response.json() == "ä"


@pytest.mark.parametrize("content_type", [MULTIPART, "application/json", f"{URLENCODED}x"])
@pytest.mark.parametrize("path", [TOKEN, REVOKE])
async def test_token_endpoints_read_urlencoded_forms_only(
    client: AsyncClient, path: str, content_type: str
) -> None:
    headers = {"Content-Type": content_type}

    response = await client.post(path, content=unread(), headers=headers)

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


{% if cookiecutter.use_admin -%}
@pytest.mark.parametrize("path", [TOKEN, REVOKE, "/admin/login"])
{%- else -%}
@pytest.mark.parametrize("path", [TOKEN, REVOKE])
{%- endif %}
async def test_large_login_form_is_rejected(client: AsyncClient, path: str) -> None:
    headers = {"Content-Type": URLENCODED, "Origin": "https://test"}

    response = await client.post(path, content=b"&" * 100_000, headers=headers)

    assert response.status_code == 413


@pytest.mark.parametrize(
    ("members", "detail", "listed"),
    [
        (2_000, "The request is not valid.", 1),
        # Two more are missing.
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


async def test_every_text_of_a_body_is_checked(admin: Account, app: FastAPI) -> None:
    description = app.openapi()
    members = [
        (method, path, name)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        for name in texts_of(operation, description["components"]["schemas"])
    ]
    assert ("patch", "/api/v1/users/me", "full_name") in members

    for method, path, name in members:
        for text in UNUSABLE:
            response = await admin.client.request(
                method,
                path,
                content=json.dumps({name: text}),
                headers={"Content-Type": "application/json"},
            )
            assert f"/body/{name}" in pointers(response), (path, name, text)
            assert "codec" not in response.text


def texts_of(operation: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    """The members of a JSON body that may be text."""
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return []
    model = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    properties = schemas[model]["properties"]
    return [name for name, schema in properties.items() if '"string"' in json.dumps(schema)]


async def test_text_of_an_unchecked_route_is_the_clients_error(
    new_app: NewApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = new_app()

    @app.post("/find")
    async def find(session: DbSession, email: Annotated[str, Body()]) -> bool:
        return await session.scalar(select(User.id).where(User.email == email)) is not None

    async with new_client(app) as client:
        client.headers["Content-Type"] = "application/json"
{%- if cookiecutter.database == "postgresql" %}
        responses = [await client.post("/find", content=json.dumps(text)) for text in UNUSABLE]
{%- else %}
        # SQLite stores NUL.
        responses = [await client.post("/find", content=json.dumps(text)) for text in UNUSABLE[1:]]
{%- endif %}

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
