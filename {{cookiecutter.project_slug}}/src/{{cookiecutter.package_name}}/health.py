"""Probes: is the process alive, and may it get traffic?"""

import asyncio
from typing import Literal

import structlog
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.routing import Match, Route
from starlette.types import Scope

{% if cookiecutter.use_redis -%}
from .cache.client import Redis, UnavailableError
{% endif -%}
from .database import Database
from .database.migrations import is_migrated

log = structlog.stdlib.get_logger(__name__)

TIMEOUT_SECONDS = 2


async def _check_database(database: Database) -> Literal["ok", "unavailable", "not migrated"]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return "ok" if await is_migrated(database.reader) else "not migrated"
    except (SQLAlchemyError, OSError) as error:
        log.warning("not ready", error=error)
        return "unavailable"
{%- if cookiecutter.use_redis %}


async def _check_redis(redis: Redis) -> Literal["ok", "unavailable"]:
    try:
        await redis.call(lambda pipeline: pipeline.ping())
    except UnavailableError:
        return "unavailable"
    return "ok"
{%- endif %}


async def live(_: Request) -> Response:
    """The process runs; restart it when this fails."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """The database answers and its schema is the expected one; send no traffic when this is 503."""
    database = await _check_database(request.app.state.database)
{%- if cookiecutter.use_redis %}
    redis = await _check_redis(request.app.state.redis)
    checks = {"database": database, "redis": redis}
    status = "ok" if redis == "ok" else "degraded"
{%- else %}
    checks, status = {"database": database}, "ok"
{%- endif %}
    if database != "ok":
        return JSONResponse({"status": "unavailable", "checks": checks}, 503)
    return JSONResponse({"status": status, "checks": checks})


class Probe(Route):
    """A plain route, noted like those of FastAPI, which take longer for the same."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether this is the route of a request, and what to note."""
        match, noted = super().matches(scope)
        return match, {**noted, "route": self}


PROBES = [
    Probe("/health/live", live, include_in_schema=False),
    Probe("/health/ready", ready, include_in_schema=False),
]
