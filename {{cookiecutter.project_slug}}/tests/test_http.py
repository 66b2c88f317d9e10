"""Probes, and the headers and request ids of all responses."""

import pytest
from httpx2 import AsyncClient

from {{ cookiecutter.package_name }}.http import SECURITY_HEADERS
from {{ cookiecutter.package_name }}.main import create_app

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


async def test_only_allowed_hosts_are_answered(new_app: NewApp) -> None:
    client = new_client(new_app(allowed_hosts=["api.example"]))

    assert (await client.get("/api/v1/users/me")).status_code == 400
    assert (await client.get("/health/live")).status_code == 200
