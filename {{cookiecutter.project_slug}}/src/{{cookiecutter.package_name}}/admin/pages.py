"""The pages as a whole: sqladmin, with writes in one transaction and no change by a link."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from markupsafe import Markup
from sqladmin import Admin, ModelView
from sqladmin.authentication import login_required
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ..auth.dependencies import SAFE_METHODS
from ..errors import STATUSES
from ..exceptions import RetryableError
from ..settings import Settings
from .access import Login, SecurityMiddleware
from .transaction import RejectedError, transaction

# Routes of sqladmin that are not served as they are; files are columns that no model has.
REPLACED = {"import", "file_download", "file_preview", "login", "logout"}
LABELS = {
    "full_name": "Name",
    "is_active": "Active",
    "created_at": "Created",
    "updated_at": "Changed",
    "expires_at": "Expires",
}
LOGIN_BODY_SIZE = 32 * 1024  # parsing a form costs CPU for each byte, and this one is public


class ReadOnly(async_sessionmaker[AsyncSession]):
    """Read-only sessions of the database that the application has when one is asked for."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__()
        self.app = app

    def __call__(self, **options: Any) -> AsyncSession:
        session: AsyncSession = self.app.state.services.database.read_sessions(**options)
        return session


class AdminSite(Admin):
    """sqladmin, mounted at /admin.

    Args:
        app: the application; sqladmin's own attribute does not say that it is one of FastAPI.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self.logins = Login(app)
        super().__init__(
            app,
            session_maker=ReadOnly(app),
            title=app.title,
            favicon_url="data:,",  # none, which browsers would ask for
            authentication_backend=self.logins,
        )
        self.service = app
        # Errors of HTTP are pages; all others are left to the application around this one.
        pages = ExceptionMiddleware(self.admin.router, self.admin.exception_handlers)
        self.admin.middleware_stack = SecurityMiddleware(pages, settings)
        routes = [
            route for route in self.admin.routes if getattr(route, "name", "") not in REPLACED
        ]
        limit = Middleware(RequestBodyLimitMiddleware, max_body_size=LOGIN_BODY_SIZE)
        both = ["GET", "POST"]
        routes.append(Route("/login", self.login, name="login", methods=both, middleware=[limit]))
        routes.append(Route("/logout", self.logout, name="logout", methods=both))
        self.admin.router.routes = routes
        # It logs what it shows in a form with a traceback; what is unexpected is raised again.
        logging.getLogger("sqladmin.application").disabled = True

    def add_model_view(self, view: type[ModelView]) -> None:
        """Add a view with labels for its columns.

        A subclass, because sqladmin stores the application's session maker in the class.
        """
        names: list[str] = inspect(view.model).columns.keys()
        labels = {name: LABELS.get(name, name.replace("_", " ").capitalize()) for name in names}
        super().add_model_view(type(view.__name__, (view,), {"column_labels": labels}))

    async def index(self, request: Request) -> Response:
        """Begin with the first view."""
        return RedirectResponse(request.url_for("admin:list", identity=self.views[0].identity))

    async def login(self, request: Request) -> Response:
        """Show the form, or log in with it."""
        if request.method in SAFE_METHODS:
            return await super().login(request)
        error, status, headers = "Incorrect email or password.", 400, None
        try:
            token = await self.logins.open(request)
        except RetryableError as refusal:
            token, error, status = None, str(refusal), STATUSES[type(refusal)]
            headers = {"Retry-After": str(math.ceil(refusal.retry_after))}
        if token is None:
            page = "sqladmin/login.html"
            response: Response = await self.templates.TemplateResponse(
                request, page, {"error": error}, status_code=status
            )
            response.headers.update(headers or {})
        else:
            response = RedirectResponse(request.url_for("admin:index"), status_code=303)
            self.logins.set_cookie(request, response, token)
        return response

    @login_required
    async def logout(self, request: Request) -> Response:
        """Ask, then log out."""
        if request.method in SAFE_METHODS:
            return await self.ask(request, "Log out?", "Log out")
        await self.logins.close(request)
        response = RedirectResponse(request.url_for("admin:login"), status_code=303)
        self.logins.set_cookie(request, response)
        return response

    async def create(self, request: Request) -> Response:
        """Show a form for something new, or make it."""
        return await self._write(request, super().create)

    async def edit(self, request: Request) -> Response:
        """Show a form for something, or change it."""
        return await self._write(request, super().edit)

    async def delete(self, request: Request) -> Response:
        """Delete what is named: all or nothing."""
        if not request.query_params.get("pks"):
            raise HTTPException(400, "Nothing is selected.")
        try:
            urlsplit(request.headers.get("Referer", ""))  # sqladmin returns to its query
        except ValueError:
            raise HTTPException(400, "The Referer header is not a URL.") from None
        return await self._write(request, super().delete)

    async def ask(self, request: Request, question: str, verb: str) -> Response:
        """A page that asks before something is done: its button sends a POST to the same address.

        sqladmin makes links of actions; a link must not change anything (RFC 9110 section 9.2.1).
        """
        form = Markup(
            '<form method="post"><button class="btn btn-primary">{}</button> '
            '<a class="btn" href="{}">Cancel</a></form>'
        ).format(verb, request.url_for("admin:index"))
        context = {"status_code": question, "message": form}
        return await self.templates.TemplateResponse(request, "sqladmin/error.html", context)

    async def _write(
        self, request: Request, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if request.method in SAFE_METHODS or not await self.logins.authenticate(request):
            return await endpoint(request)
        await request.form(max_files=0)  # none takes files
        try:
            async with transaction(self.service, request, request.state.principal):
                response = await endpoint(request)
        except RejectedError:
            pass  # the response says why
        return response
