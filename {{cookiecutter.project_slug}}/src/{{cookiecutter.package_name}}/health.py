"""Liveness and readiness probes."""

import asyncio
from typing import Literal

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

{% if cookiecutter.use_redis -%}
from .cache.client import RedisClient, RedisUnavailableError
{% endif -%}
from .database import Database
from .database.migrations import is_migrated
from .state import get_state

log = structlog.stdlib.get_logger(__name__)

TIMEOUT_SECONDS = 2

router = APIRouter(prefix="/health", include_in_schema=False)


async def _check_database(database: Database) -> Literal["ok", "unavailable", "not migrated"]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return "ok" if await is_migrated(database) else "not migrated"
    except (SQLAlchemyError, OSError) as error:
        log.warning("not ready", error=error)
        return "unavailable"
{%- if cookiecutter.use_redis %}


async def _check_redis(redis: RedisClient) -> Literal["ok", "unavailable"]:
    try:
        async with redis.available() as client:
            await client.ping()
    except RedisUnavailableError:
        return "unavailable"
    return "ok"
{%- endif %}


@router.api_route("/live", methods=["GET", "HEAD"])
async def live() -> dict[str, str]:
    """Liveness probe: restart the process if it fails."""
    return {"status": "ok"}


@router.api_route("/ready", methods=["GET", "HEAD"])
async def ready(request: Request) -> JSONResponse:
    """Readiness probe: 503 unless the database is available and migrated."""
    state = get_state(request.app)
    database = await _check_database(state.database)
{%- if cookiecutter.use_redis %}
    redis = await _check_redis(state.redis)
    checks = {"database": database, "redis": redis}
    status = "ok" if redis == "ok" else "degraded"
{%- else %}
    checks, status = {"database": database}, "ok"
{%- endif %}
    if database != "ok":
        return JSONResponse({"status": "unavailable", "checks": checks}, 503)
    return JSONResponse({"status": status, "checks": checks})
