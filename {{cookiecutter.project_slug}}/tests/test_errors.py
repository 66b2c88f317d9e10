"""Errors as clients see them: problems (RFC 9457) that tell nothing of the inside."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from httpx2 import ASGITransport, AsyncClient, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, StreamingResponse

from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.dependencies import DbSession
from {{ cookiecutter.package_name }}.http import SECURITY_HEADERS

from support import NewApp, exchange, listen, new_client, new_user, pointers, registration


def problem(response: Response, status: int) -> dict[str, Any]:
    """The problem in a response, after a check of what all of them have."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert SECURITY_HEADERS.items() <= dict(response.headers).items()
    body: dict[str, Any] = response.json()
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["request_id"] == response.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    ("method", "path", "status", "title", "headers"),
    [
        ("GET", "/api/v1/nowhere", 404, "Not Found", {}),
        ("TRACE", "/api/v1/notes", 405, "Method Not Allowed", {"allow": "POST"}),
        ("TRACE", "/health/live", 405, "Method Not Allowed", {}),
        ("GET", "/api/v1/users/me", 401, "Unauthorized", {"www-authenticate": "Bearer"}),
    ],
)
async def test_refusal_is_a_problem(
    client: AsyncClient, method: str, path: str, status: int, title: str, headers: dict[str, str]
) -> None:
    response = await client.request(method, path)

    assert problem(response, status)["title"] == title
    assert headers.items() <= dict(response.headers).items()


async def test_invalid_members_are_pointed_at_and_not_repeated(client: AsyncClient) -> None:
    sent = registration(email="nobody", password="hunter2") | {"a/b~c": "hunter2"}

    response = await client.post("/api/v1/users", json=sent)

    problem(response, 422)
    assert pointers(response) == ["/body/email", "/body/password", "/body/a~1b~0c"]
    assert "hunter2" not in response.text


@pytest.mark.parametrize(("content", "status"), [(b'{"email": ', 422), (b'"\xff"', 400)])
async def test_body_that_is_no_json(client: AsyncClient, content: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}

    response = await client.post("/api/v1/users", content=content, headers=headers)

    problem(response, status)


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_that_is_too_large(new_app: NewApp, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"0123456789"

    client = new_client(new_app(max_body_size=100))

    response = await client.post("/api/v1/users", content=chunks() if chunked else b"0" * 101)

    assert ("content-length" in response.request.headers) is not chunked
    problem(response, 413)


async def test_host_that_is_not_trusted(new_app: NewApp) -> None:
    client = new_client(new_app(allowed_hosts=["api.example", "www.other.example"]))

    for host in ("api.example", "api.example:8443"):
        assert (await client.get("/docs", headers={"Host": host})).status_code == 200
    for host in ("evil.example", "other.example", ""):
        problem(await client.get("/docs", headers={"Host": host}), 400)
    assert (await client.get("/health/live", headers={"Host": "10.0.0.7:8000"})).status_code == 200


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [("1.1", 0, 400), ("1.1", 1, 200), ("1.1", 2, 400), ("1.0", 0, 200), ("1.0", 2, 400)],
)
async def test_request_names_its_host_once(
    app: FastAPI, version: str, hosts: int, status: int
) -> None:
    lines = [f"GET /health/live HTTP/{version}", "Connection: close", *["Host: test"] * hosts]
    async with listen(app) as port:
        response = await exchange(port, "\r\n".join([*lines, "", ""]).encode())

    assert response.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"application/problem+json" in response) is (status == 400)


@pytest.mark.parametrize(
    ("debug", "detail"), [(False, None), (True, "RuntimeError: SELECT password FROM vault")]
)
async def test_unexpected_error_tells_its_cause_only_while_debugging(
    new_app: NewApp, debug: bool, detail: str | None
) -> None:
    app = new_app(debug=debug, cors_origins=["https://app.example"])

    @app.get("/fail")
    async def fail() -> None:
        raise RuntimeError("SELECT password FROM vault")

    response = await new_client(app).get("/fail", headers={"Origin": "https://app.example"})

    assert problem(response, 500).get("detail") == detail
    assert response.text.count("vault") == debug
    assert "Traceback" not in response.text
    assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_unexpected_error_is_logged_once_and_its_connection_goes_on(
    new_app: NewApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = new_app()

    @app.get("/fail")
    async def fail() -> None:
        raise LookupError

    async with listen(app) as port:
        answers = await exchange(
            port,
            b"GET /fail HTTP/1.1\r\nHost: test\r\n\r\n"
            b"GET /health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        )

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"500", b"200"]
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["message"], line["error.type"]) == ("unhandled exception", "LookupError")
    assert "raise LookupError" in line["error.stack_trace"]
    assert line["http.request.id"].encode() in answers


async def test_error_with_an_exception_handler_stores_nothing(
    new_app: NewApp, session: AsyncSession
) -> None:
    class QuotaExceededError(Exception):
        pass

    async def quota_exceeded(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"error": "quota exceeded"}, 403)

    app = new_app()
    app.add_exception_handler(QuotaExceededError, quota_exceeded)

    @app.post("/store")
    async def store(session: DbSession) -> None:
        session.add(new_user())
        await session.flush()
        raise QuotaExceededError

    response = await new_client(app).post("/store")

    assert (response.status_code, response.json()) == (403, {"error": "quota exceeded"})
    assert (await session.scalars(select(User.email))).all() == []


async def test_error_after_the_start_of_an_answer_is_left_to_the_server(new_app: NewApp) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"begun"
        raise LookupError

    app = new_app()
    app.add_api_route("/stream", lambda: StreamingResponse(chunks()))
    client = AsyncClient(transport=ASGITransport(app), base_url="https://test")

    with pytest.raises(LookupError):
        await client.get("/stream")
