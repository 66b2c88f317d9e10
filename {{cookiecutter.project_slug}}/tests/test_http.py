"""What every exchange has: a request id, security headers, and who may read the answer."""

import pytest
from httpx2 import AsyncClient

from {{ cookiecutter.package_name }}.http import SECURITY_HEADERS

from support import Account, NewApp, new_client

ORIGIN = "https://app.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization, content-type, if-match, x-csrf-token",
}


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/docs", "/api/v1/users/me"])
@pytest.mark.parametrize("presented", ["0123-abcd_EF.gh", "f" * 128])
async def test_request_id_of_the_caller_is_kept(
    client: AsyncClient, path: str, presented: str
) -> None:
    response = await client.get(path, headers={"X-Request-ID": presented})

    assert response.headers["x-request-id"] == presented


@pytest.mark.parametrize("presented", ["", "short", "f" * 129, '"},{"a":"b'])
async def test_request_id_is_made_when_there_is_no_usable_one(
    client: AsyncClient, presented: str
) -> None:
    headers = {"X-Request-ID": presented}
    ids = [(await client.get("/nowhere", headers=headers)).headers["x-request-id"] for _ in "ab"]

    assert len(set(ids)) == 2
    assert all(len(request_id) == 32 and request_id.isalnum() for request_id in ids)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_head_is_get_without_the_content(member: Account, path: str) -> None:
    got = await member.client.get(path)
    head = await member.client.head(path)

    assert head.content == b""
    assert head.status_code == got.status_code
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


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


async def test_answers_of_the_api_are_not_stored(member: Account) -> None:
    response = await member.client.get("/api/v1/users/me")

    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("environment", ["local", "test", "production"])
async def test_security_headers(new_app: NewApp, environment: str) -> None:
    client = new_client(new_app(environment=environment, allowed_hosts=["test"], bcrypt_rounds=10))

    headers = dict((await client.get("/health/live")).headers)

    assert SECURITY_HEADERS.items() <= headers.items()
    assert ("strict-transport-security" in headers) is (environment == "production")


@pytest.mark.parametrize("named", [[ORIGIN], []])
async def test_only_named_origins_may_read_answers_and_errors(
    new_app: NewApp, named: list[str]
) -> None:
    client = new_client(new_app(cors_origins=named))

    for origin in (ORIGIN, f"{ORIGIN}.evil", "http://app.example", "null"):
        client.headers["Origin"] = origin
        allowed = origin if origin in named else None
        for response in (
            await client.get("/health/live"),
            await client.get("/nowhere"),
            await client.options("/api/v1/users/me", headers=PREFLIGHT),
        ):
            assert response.headers.get("access-control-allow-origin") == allowed
            assert not allowed or response.headers["access-control-allow-credentials"] == "true"
            assert not named or "Origin" in response.headers["vary"]
            assert "x-request-id" in response.headers
