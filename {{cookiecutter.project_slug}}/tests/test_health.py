"""Health checks."""

from httpx2 import AsyncClient

from {{ cookiecutter.package_name }}.main import create_app

{% if cookiecutter.database == "postgresql" -%}
from support import log_in, new_client, settings_for

UNAVAILABLE = "postgresql://127.0.0.1:1/name?sslmode=disable"
{%- else -%}
from support import PROJECT, log_in, new_client, settings_for

UNAVAILABLE = f"sqlite:///{PROJECT}"  # a folder
{%- endif %}


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
