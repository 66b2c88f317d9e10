"""Probes, headers of all responses, and conditional requests (RFC 9110 section 13)."""

from itertools import chain

import pytest
from fastapi import Response
from httpx2 import AsyncClient

from {{ cookiecutter.package_name }}.http import SECURITY_HEADERS
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.preconditions import (
    IfMatch,
    check_if_match,
    etag_of,
    set_etag,
)

{% if cookiecutter.database == "postgresql" -%}
from support import Account, NewApp, log_in, new_client, settings_for

UNAVAILABLE = "postgresql://127.0.0.1:1/name?sslmode=disable"
{%- else -%}
from support import PROJECT, Account, NewApp, log_in, new_client, settings_for

UNAVAILABLE = f"sqlite:///{PROJECT}"  # a folder
{%- endif %}
ORIGIN = "https://app.example"


async def test_running_service_is_live_and_ready(client: AsyncClient) -> None:
    live = await client.get("/health/live")
    ready = await client.get("/health/ready")

    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200
    assert {ready.json()["status"], *ready.json()["checks"].values()} == {"ok"}


async def test_service_without_its_database_is_live_but_not_ready() -> None:
    app = create_app(settings_for(UNAVAILABLE))
    async with app.router.lifespan_context(app), new_client(app) as client:
        live = await client.get("/health/live")
        ready = await client.get("/health/ready")
        login = await log_in(client, "ada@example.com")

    assert (live.status_code, ready.status_code, login.status_code) == (200, 503, 503)
    assert login.headers["Retry-After"] == "1"
    assert ready.json()["status"] == ready.json()["checks"]["database"] == "unavailable"


@pytest.mark.parametrize("path", ["/health/live", "/unknown", "/docs", "/api/v1/users/me"])
async def test_valid_request_id_of_the_client_is_returned(client: AsyncClient, path: str) -> None:
    request_id = "0123-abcd_EF.gh"

    response = await client.get(path, headers={"X-Request-ID": request_id})

    assert response.headers["X-Request-ID"] == request_id


async def test_api_responses_are_not_stored_by_caches(member: Account) -> None:
    response = await member.client.get("/api/v1/users/me")

    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("environment", ["local", "test", "production"])
async def test_security_headers(new_app: NewApp, environment: str) -> None:
    client = new_client(new_app(environment=environment, allowed_hosts=["test"], bcrypt_rounds=10))

    headers = dict((await client.get("/health/live")).headers)

    assert SECURITY_HEADERS.items() <= headers.items()
    assert ("strict-transport-security" in headers) is (environment == "production")


@pytest.mark.parametrize(("origin", "is_allowed"), [(ORIGIN, True), (f"{ORIGIN}.evil", False)])
async def test_only_allowed_origins_may_read_responses(
    new_app: NewApp, origin: str, is_allowed: bool
) -> None:
    client = new_client(new_app(cors_origins=[ORIGIN]))
    preflight = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}

    for response in (
        await client.get("/unknown", headers={"Origin": origin}),
        await client.options("/api/v1/users/me", headers=preflight),
    ):
        allowed = response.headers.get("Access-Control-Allow-Origin")
        assert allowed == (origin if is_allowed else None)


async def test_scripts_of_allowed_origins_may_send_every_described_header(new_app: NewApp) -> None:
    app = new_app(cors_origins=[ORIGIN])
    operations = chain.from_iterable(path.values() for path in app.openapi()["paths"].values())
    headers = {
        parameter["name"]
        for operation in operations
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "header"
    }
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": ", ".join({"Authorization", "Content-Type", *headers}),
    }

    response = await new_client(app).options("/api/v1/users/me", headers=preflight)

    assert headers
    assert response.status_code == 200, response.text


async def test_only_allowed_hosts_are_answered(new_app: NewApp) -> None:
    client = new_client(new_app(allowed_hosts=["api.example"]))

    assert (await client.get("/api/v1/users/me")).status_code == 400
    assert (await client.get("/health/live")).status_code == 200


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
