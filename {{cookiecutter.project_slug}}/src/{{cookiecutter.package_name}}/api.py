"""Which router is mounted where, under /api/v1."""

from fastapi import APIRouter

from .auth import router as auth
from .errors import problems
from .items import router as items
from .users import router as users

router = APIRouter(prefix="/api/v1", responses=problems(400, 413, 422, {% if cookiecutter.use_redis %}429, {% endif %}503))
router.include_router(auth.router)
router.include_router(users.router)
router.include_router(items.router)
