"""Probes: is the process alive, and may it get traffic?"""

import asyncio
from typing import Literal

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

{% if cookiecutter.use_redis -%}
from .cache.client import Redis, UnavailableError
{% endif -%}
from .database import Database
from .database.migrations import is_migrated

log = structlog.stdlib.get_logger(__name__)

TIMEOUT_SECONDS = 2

router = APIRouter(prefix="/health", include_in_schema=False)


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether the service can work, and what it depends on."""
{% if cookiecutter.use_redis %}
    status: Literal["ok", "degraded", "unavailable"]
{%- else %}
    status: Literal["ok", "unavailable"]
{%- endif %}
    checks: dict[str, Literal["ok", "unavailable", "not migrated"]]


@router.get("/live")
async def live() -> Live:
    """The process runs; restart it when this fails."""
    return Live()


@router.get("/ready")
async def ready(request: Request, response: Response) -> Ready:
    """The database answers and its schema is the expected one; send no traffic when this is 503."""
    database = await _check_database(request.app.state.database)
{%- if cookiecutter.use_redis %}
    redis = await _check_redis(request.app.state.redis)
    checks = {"database": database, "redis": redis}
    if database == "ok":
        return Ready(status="ok" if redis == "ok" else "degraded", checks=checks)
    response.status_code = 503
    return Ready(status="unavailable", checks=checks)
{%- else %}
    if database == "ok":
        return Ready(status="ok", checks={"database": database})
    response.status_code = 503
    return Ready(status="unavailable", checks={"database": database})
{%- endif %}


async def _check_database(database: Database) -> Literal["ok", "unavailable", "not migrated"]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), database.session(readonly=True) as session:
            return "ok" if await is_migrated(session) else "not migrated"
    except (SQLAlchemyError, OSError) as error:
        log.warning("not ready", error_type=type(error).__name__, error_message=str(error))
        return "unavailable"
{%- if cookiecutter.use_redis %}


async def _check_redis(redis: Redis) -> Literal["ok", "unavailable"]:
    try:
        await redis.call(lambda client: client.ping())
    except UnavailableError:
        return "unavailable"
    return "ok"
{%- endif %}
