"""Which router is mounted where, under /api/v1."""

from fastapi import FastAPI

from .auth import router as auth
from .errors import problems
from .items import router as items
from .users import router as users

RESPONSES = problems(400, 413, 422, {% if cookiecutter.use_redis %}429, {% endif %}503)


def setup(app: FastAPI) -> None:
    """Mount the routers; a request tries them in this order, so the busiest is first."""
    for router in (items.router, users.router, auth.router):
        app.include_router(router, prefix="/api/v1", responses=RESPONSES)
