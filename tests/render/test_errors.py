"""Errors: hosts, large bodies and exceptions."""

import json
import re
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request
from httpx2 import ASGITransport, AsyncClient
from orders.auth.models import User
from orders.dependencies import DbSession
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, StreamingResponse
from support import NewApp, new_client, new_user

from render.connections import exchange, listen


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_body_is_rejected(new_app: NewApp, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"0123456789"

    client = new_client(new_app(max_body_size=100))

    response = await client.post("/api/v1/users", content=chunks() if chunked else b"0" * 101)

    assert ("content-length" in response.request.headers) is not chunked
    assert response.status_code == 413


async def test_unknown_host_is_rejected_except_by_probes(new_app: NewApp) -> None:
    client = new_client(new_app(allowed_hosts=["api.example", "www.other.example"]))

    for host in ("api.example", "api.example:8443"):
        assert (await client.get("/docs", headers={"Host": host})).status_code == 200
    for host in ("evil.example", "other.example", ""):
        assert (await client.get("/docs", headers={"Host": host})).status_code == 400
    assert (await client.get("/health/live", headers={"Host": "10.0.0.7:8000"})).status_code == 200


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [("1.1", 0, 400), ("1.1", 1, 200), ("1.1", 2, 400), ("1.0", 0, 200), ("1.0", 2, 400)],
)
async def test_request_must_have_one_host(
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
async def test_unexpected_error_has_cors_headers_and_its_cause_only_with_debug(
    new_app: NewApp, debug: bool, detail: str | None
) -> None:
    app = new_app(debug=debug, cors_origins=["https://app.example"])

    @app.get("/fail")
    async def fail() -> None:
        raise RuntimeError("SELECT password FROM vault")

    response = await new_client(app).get("/fail", headers={"Origin": "https://app.example"})

    assert response.status_code == 500
    assert response.json().get("detail") == detail
    assert response.text.count("vault") == debug
    assert "Traceback" not in response.text
    assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_unexpected_error_is_logged_once_and_keeps_the_connection(
    new_app: NewApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = new_app()

    @app.get("/fail")
    async def fail() -> None:
        raise LookupError

    async with listen(app) as port:
        responses = await exchange(
            port,
            b"GET /fail HTTP/1.1\r\nHost: test\r\n\r\n"
            b"GET /health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        )

    assert re.findall(rb"HTTP/1.1 (\d+)", responses) == [b"500", b"200"]
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["message"], line["error.type"]) == ("unhandled exception", "LookupError")
    assert "raise LookupError" in line["error.stack_trace"]
    assert line["http.request.id"].encode() in responses


async def test_handled_exception_rolls_back_the_request(
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


async def test_error_after_the_start_of_a_response_reaches_the_server(new_app: NewApp) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"started"
        raise LookupError

    app = new_app()
    app.add_api_route("/stream", lambda: StreamingResponse(chunks()))
    client = AsyncClient(transport=ASGITransport(app), base_url="https://test")

    with pytest.raises(LookupError):
        await client.get("/stream")
