"""The admin site: sqladmin with the service's logins, errors and transactions."""

import logging
import math
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from sqladmin import Admin, ModelView
from sqladmin.authentication import login_required
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from ..errors import STATUSES, ProblemMiddleware, problem_response
from ..exceptions import MfaRequiredError, RetryableError, ServiceError
from ..settings import Settings
from ..state import get_state
from .auth import AdminAuthentication, RouteAuthorization, SecurityMiddleware
from .transaction import transaction
from .views import TEMPLATES, AdminView, confirm, raise_unexpected_error

MAX_FORM_SIZE: Final = 32 * 1024  # parsing costs CPU for each byte, and the login form is public
CODE_REQUIRED: Final = "Enter a code of your authenticator app, or a recovery code."
LABELS: Final = {
    "full_name": "Name",
    "is_active": "Active",
    "mfa_enabled": "Second factor",
    "created_at": "Created",
    "updated_at": "Changed",
    "expires_at": "Expires",
    "last_used_at": "Last used",
    "scope": "Scopes",
    "client_id": "Client ID",
}


class ReadSessions(async_sessionmaker[AsyncSession]):
    """Create read-only sessions from the application's current database, which tests replace."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__()
        self.app = app

    def __call__(self, **options: Any) -> AsyncSession:
        return get_state(self.app).database.read_sessions(**options)


class AdminSite(Admin):
    """The pages, mounted at /admin."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            app,
            session_maker=ReadSessions(app),
            title=app.title,
            # An empty icon, so that browsers do not request /favicon.ico.
            favicon_url="data:,",
            templates_dir=str(TEMPLATES),
            middlewares=[
                Middleware(SecurityMiddleware, settings=settings),
                Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_FORM_SIZE),
                Middleware(ProblemMiddleware, debug=settings.debug),
            ],
            authentication_backend=AdminAuthentication(settings),
            authorization_backend=RouteAuthorization(),
        )
        # The mounted application shares the state, which `get_state` reads.
        self.admin.state = app.state
        # HTTP errors are pages, and all other errors the same problems as in the API.
        self.admin.exception_handlers = {**app.exception_handlers, **self.admin.exception_handlers}
        self.admin.exception_handlers[ClientDisconnect] = _bad_request
        self.admin.add_route("/logout", self.logout, methods=["POST"])
        # sqladmin logs each rejected form with a traceback.
        logging.getLogger("sqladmin.application").disabled = True

    def add_model_view(self, view: type[ModelView]) -> None:
        """Add a view with labels for its columns.

        A subclass, because sqladmin stores the application's session maker in the class.
        """
        names: list[str] = inspect(view.model).columns.keys()
        labels = {name: LABELS.get(name, name.replace("_", " ").capitalize()) for name in names}
        super().add_model_view(type(view.__name__, (view,), {"column_labels": labels}))

    async def index(self, request: Request) -> Response:
        """Redirect to the first view."""
        return RedirectResponse(request.url_for("admin:list", identity=self.views[0].identity))

    async def login(self, request: Request) -> Response:
        """Show the login form, or log in."""
        try:
            return await super().login(request)
        except ServiceError as error:
            page = "sqladmin/login.html"
            message = CODE_REQUIRED if isinstance(error, MfaRequiredError) else str(error)
            response: Response = await self.templates.TemplateResponse(
                request, page, {"error": message}, status_code=400
            )
            if isinstance(error, RetryableError):
                response.status_code = STATUSES[type(error)]
                response.headers["Retry-After"] = str(math.ceil(error.retry_after))
            return response

    @login_required
    async def logout(self, request: Request) -> Response:
        """Ask for confirmation, or log out."""
        if request.method != "POST":
            return await confirm(self.templates, request, "Log out?", "Log out")
        return await super().logout(request)

    async def create(self, request: Request) -> Response:
        """Show the form of a new row, or create the row."""
        response: Response = await super().create(request)
        raise_unexpected_error(request)
        return response

    async def edit(self, request: Request) -> Response:
        """Show the form of a row, or change the row."""
        response: Response = await super().edit(request)
        raise_unexpected_error(request)
        return response

    @login_required
    async def delete(self, request: Request) -> Response:
        """Delete the selected rows in one transaction."""
        identity = request.path_params["identity"]
        view = next((view for view in self.views if view.identity == identity), None)
        if not isinstance(view, AdminView) or not view.can_delete:
            raise HTTPException(404)
        url = request.url_for("admin:list", identity=identity)
        try:
            # The query of the list, to which the browser returns.
            url = url.replace(query=urlsplit(request.headers.get("Referer", "")).query)
        except ValueError:
            raise HTTPException(400, "The Referer header is not a URL.") from None
        try:
            async with transaction(request) as tx:
                for key in view.selected_keys(request):
                    await view.delete_row(tx, key)
                    tx.record("delete", identity, key)
        except ServiceError as error:
            url = url.include_query_params(error=str(error))
        return PlainTextResponse(str(url))


async def _bad_request(_: Request, __: Exception) -> Response:
    return problem_response(400)
