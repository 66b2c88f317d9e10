"""Pages under /admin, on which administrators manage accounts, logins and data."""

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse

from ..settings import Settings
from . import items{% if cookiecutter.use_worker %}, jobs{% endif %}
from .pages import AdminSite
from .views import VIEWS


def setup(app: FastAPI, settings: Settings) -> None:
    """Serve the pages; each request takes the database that the application has by then."""
    pages = AdminSite(app, settings)
    for view in VIEWS + items.VIEWS{% if cookiecutter.use_worker %} + jobs.VIEWS{% endif %}:
        pages.add_view(view)
    app.add_route("/admin", _to_pages, include_in_schema=False)


async def _to_pages(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("admin:index").path)
