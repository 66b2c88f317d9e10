"""Request ids, HEAD, empty responses and CORS."""

import pytest
from httpx2 import ASGITransport, AsyncClient
from support import Account, NewApp, new_client

ORIGIN = "https://app.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization, content-type, if-match, x-csrf-token",
}


@pytest.mark.parametrize("request_id", ["", "short", "f" * 129, '"},{"a":"b'])
async def test_invalid_request_id_is_replaced(
    new_app: NewApp, capsys: pytest.CaptureFixture[str], request_id: str
) -> None:
    client = new_client(new_app(log_level="WARNING"))
    headers = {"X-Request-ID": request_id}
    ids = [(await client.get("/unknown", headers=headers)).headers["x-request-id"] for _ in "ab"]

    assert capsys.readouterr().out == ""
    assert len(set(ids)) == 2
    assert all(len(id_) == 32 and id_.isalnum() for id_ in ids)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_head_has_the_headers_of_get(member: Account, path: str) -> None:
    get = await member.client.get(path)
    head = await member.client.head(path)

    assert head.content == b""
    assert head.status_code == get.status_code
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


async def test_empty_response_has_no_content_type(member: Account, new_app: NewApp) -> None:
    app = new_app()

    @app.delete("/thing", status_code=204)
    async def delete_thing() -> None:
        pass

    for response in (
        await new_client(app).delete("/thing"),
        await member.client.delete("/api/v1/auth/session"),
    ):
        assert (response.status_code, response.content) == (204, b"")
        assert "Content-Type" not in response.headers


@pytest.mark.parametrize("origins", [[ORIGIN], []])
async def test_only_allowed_origins_may_read_responses_and_errors(
    new_app: NewApp, origins: list[str]
) -> None:
    client = new_client(new_app(cors_origins=origins))

    for origin in (ORIGIN, f"{ORIGIN}.evil", "http://app.example", "null"):
        client.headers["Origin"] = origin
        allowed = origin if origin in origins else None
        for response in (
            await client.get("/health/live"),
            await client.get("/unknown"),
            await client.options("/api/v1/users/me", headers=PREFLIGHT),
        ):
            assert response.headers.get("access-control-allow-origin") == allowed
            assert not allowed or response.headers["access-control-allow-credentials"] == "true"
            assert not origins or "Origin" in response.headers["vary"]
            assert "x-request-id" in response.headers


async def test_service_works_below_a_path_of_a_proxy(new_app: NewApp) -> None:
    transport = ASGITransport(app=new_app(allowed_hosts=["api.example"]), root_path="/shop")
    async with AsyncClient(transport=transport, base_url="https://10.0.0.7/shop") as client:
        probe = await client.get("/health/live")
        client.headers["Host"] = "api.example"
        api = await client.get("/api/v1/users/me")
        docs = await client.get("/docs")

    assert probe.status_code == 200
    assert (api.status_code, api.headers["Cache-Control"]) == (401, "no-store")
    assert "url: 'openapi.json'" in docs.text
