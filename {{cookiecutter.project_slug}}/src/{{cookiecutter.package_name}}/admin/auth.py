"""Login to the pages, and their protection in the browser."""

from typing import Final

import structlog
from pydantic import ValidationError
from sqladmin.authentication import AuthenticationBackend
from sqladmin.authorization import AllowAllAuthorizationBackend
from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..auth.cookies import check_origin, read_cookie
from ..auth.dependencies import SAFE_METHODS, get_auth_services, get_client
from ..auth.models import Role
from ..auth.schemas import SessionCreate
from ..auth.service import (
    INCORRECT_CREDENTIALS,
    get_principal_by_cookie,
    is_recently_authenticated,
    login_transaction,
)
from ..auth.sessions import create_browser_session, revoke_session
from ..dependencies import get_database
from ..errors import Problem, problem_response
from ..exceptions import IncorrectPasswordError
from ..settings import Settings

MAX_TTL: Final = 12 * 3600  # seconds until a login expires: a working day
PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    # sqladmin serves its scripts, styles and fonts. The styles contain small images.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    # With no-referrer, browsers send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
}
# Other routes of sqladmin return 404: they serve files from paths stored in columns, import data,
# or may be added by later versions.
ROUTES: Final = {"index", "list", "details", "create", "edit", "delete", "export", "logout"}

log = structlog.stdlib.get_logger(__name__)


class AdminAuthentication(AuthenticationBackend):
    """Administrators log in with their accounts. A login is a browser session of the service."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.secret_key.get_secret_value())
        self.middlewares = []  # no signed session cookie of sqladmin
        self.settings = settings
        # The __Host- prefix would require Path=/, and with it the API would receive the cookie.
        self.cookie = "__Secure-admin" if settings.secure_cookies else "admin"

    async def authenticate(self, request: Request) -> bool | Response:
        """Return whether the request has the cookie of an administrator's valid session.

        Forms and actions also need a recent login. A form that is sent too late shows an error
        instead, so that its input is not lost.
        """
        token = read_cookie(request, self.cookie)
        if token is None:
            return False
        database = await get_database(request)
        address = (await get_client(request)).address
        principal = await get_principal_by_cookie(database, self.cookie, token, address)
        if principal is None or principal.role is not Role.ADMIN:
            return False
        structlog.contextvars.bind_contextvars(user_id=str(principal.id))
        request.state.principal = principal
        is_recent = is_recently_authenticated(self.settings, principal)
        if _begins_change(request) and not is_recent:
            url = request.url_for("admin:login").include_query_params(again=1)
            return RedirectResponse(url, status_code=302)
        return True

    async def login(self, request: Request) -> Response:
        """Log in with the form.

        Raises:
            IncorrectPasswordError: the credentials are wrong or not those of an administrator.
            ServiceError: see `auth.service.login_transaction`.
        """
        form = await request.form(max_files=0)
        credentials = {
            "email": form.get("username"),
            "password": form.get("password"),
            "otp": form.get("otp") or None,
        }
        try:
            data = SessionCreate.model_validate(credentials)
        except ValidationError:
            raise IncorrectPasswordError(INCORRECT_CREDENTIALS) from None
        database, auth = await get_database(request), await get_auth_services(request)
        client = await get_client(request)
        password = data.password.get_secret_value()
        ttl = min(MAX_TTL, self.settings.session_ttl)
        otp = data.otp.get_secret_value() if data.otp else None
        transaction = login_transaction(database, auth, data.email, password, client, otp)
        async with transaction as login:
            if login.user.role is not Role.ADMIN:
                raise IncorrectPasswordError(INCORRECT_CREDENTIALS)
            replaced = read_cookie(request, self.cookie)
            token = await create_browser_session(
                login.session,
                login.user,
                client,
                ttl,
                self.cookie,
                amr=login.amr,
                replaced_token=replaced,
            )
        log.info("admin action", action="login", user_id=str(login.user.id))
        response = RedirectResponse(request.url_for("admin:index"), status_code=303)
        self._set_cookie(request, response, token, ttl)
        return response

    async def logout(self, request: Request) -> Response:
        """Revoke the session."""
        principal = request.state.principal
        async with (await get_database(request)).write_session() as session:
            await revoke_session(session, principal.id, principal.session_id, by=principal)
        log.info("admin action", action="logout", user_id=str(principal.id))
        response = RedirectResponse(request.url_for("admin:login"), status_code=303)
        self._set_cookie(request, response, "", 0)
        return response

    def _set_cookie(self, request: Request, response: Response, token: str, ttl: int) -> None:
        response.set_cookie(
            self.cookie,
            token,
            max_age=ttl,
            path=request.scope["root_path"],
            secure=self.settings.secure_cookies,
            httponly=True,
            samesite="strict",
        )


def _begins_change(request: Request) -> bool:
    """Return whether the request opens a form, or confirms or runs an action."""
    name, is_safe = request.scope["route"].name, request.method in SAFE_METHODS
    if name.startswith("view-"):
        return not is_safe
    return name.startswith("action-") or (is_safe and name in {"create", "edit"})


class RouteAuthorization(AllowAllAuthorizationBackend):
    """Allow the named routes, and the actions of the views."""

    async def load(self, request: Request) -> None:
        """Reject other routes, and forms with files."""
        name = request.scope["route"].name
        if name not in ROUTES and not name.startswith(("action-", "view-")):
            raise HTTPException(404)
        await request.form(max_files=0)


class SecurityMiddleware:
    """Reject requests of other sites (CSRF), and set the headers of the pages."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        # CORS_ORIGINS names clients of the API, which must not use the pages.
        self.settings = settings.model_copy(update={"cors_origins": []})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(f"{scope['root_path']}/statics/"):
            await self.app(scope, receive, send)
            return

        async def send_page(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(PAGE_HEADERS)
                if "Location" in headers:
                    # sqladmin redirects to the host that the client sent.
                    location = URL(headers["Location"]).replace(scheme="", netloc="")
                    headers["Location"] = str(location)
            await send(message)

        if scope["method"] not in SAFE_METHODS or "Origin" in Headers(scope=scope):
            # Forms need no CSRF token: browsers send the origin with unsafe requests, and the
            # cookie, which is SameSite=Strict, only with requests of this site.
            try:
                check_origin(Request(scope), self.settings)
            except Problem as problem:
                response = problem_response(problem.status_code, problem.detail)
                await response(scope, receive, send_page)
                return
        await self.app(scope, receive, send_page)
