"""Liveness and readiness probes."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Literal

import structlog
from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

{% if cookiecutter.use_redis -%}
from .cache.client import RedisClient, RedisUnavailableError
{% endif -%}
from .database import Database
from .state import get_state

log = structlog.stdlib.get_logger(__name__)

MIGRATIONS = Path(__file__).parents[2] / "migrations"
TIMEOUT_SECONDS = 2


def setup(app: FastAPI) -> None:
    """Add the probes, which the API's description leaves out."""
    app.add_api_route("/health/live", live, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/health/ready", ready, methods=["GET", "HEAD"], include_in_schema=False)


@cache
def older_revisions() -> frozenset[str]:
    """Return the revisions of `migrations/`, except the newest.

    The folder is next to `src`, or in the working directory of an installed service.
    """
    from alembic.script import ScriptDirectory  # costs start-up time, used by probes only

    script = ScriptDirectory(MIGRATIONS if MIGRATIONS.is_dir() else "migrations")
    known = frozenset(migration.revision for migration in script.walk_revisions())
    return known - {script.get_current_head()}


async def _check_database(database: Database) -> Literal["ok", "unavailable", "not migrated"]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), database.probe_connection() as connection:
            revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    except (SQLAlchemyError, OSError) as error:
        log.warning("not ready", error=error)
        return "unavailable"
    # A revision that this code does not know is newer: deployments migrate the database first.
    is_older = revision is None or revision in await to_thread.run_sync(older_revisions)
    return "not migrated" if is_older else "ok"
{%- if cookiecutter.use_redis %}


async def _check_redis(redis: RedisClient) -> Literal["ok", "unavailable"]:
    try:
        async with redis.available() as client:
            await client.ping()
    except RedisUnavailableError:
        return "unavailable"
    return "ok"
{%- endif %}


async def live() -> JSONResponse:
    """Liveness probe: restart the process if it fails."""
    return JSONResponse({"status": "ok"})


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
