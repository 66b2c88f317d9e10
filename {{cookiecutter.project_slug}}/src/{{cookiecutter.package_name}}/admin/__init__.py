"""Pages under /admin, on which administrators manage accounts, logins and data."""

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse

from ..settings import Settings
from . import audit, credentials, items{% if cookiecutter.use_worker %}, jobs{% endif %}, users
from .site import AdminSite


def setup(app: FastAPI, settings: Settings) -> None:
    """Mount the pages."""
    site = AdminSite(app, settings)
    for view in (
        users.UserView,
        users.LoginView,
        credentials.TokenView,
        credentials.ServiceAccountView,
        audit.AuditEventView,
        items.ItemView,
{%- if cookiecutter.use_worker %}
        jobs.JobView,
{%- endif %}
    ):
        site.add_view(view)
    app.add_route("/admin", _redirect_to_index, include_in_schema=False)


async def _redirect_to_index(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("admin:index").path)
