"""Who may see the pages, and what their browser may do."""

from typing import Final

import structlog
from fastapi import FastAPI
from pydantic import ValidationError
from sqladmin.authentication import AuthenticationBackend
from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..auth.cookies import check_origin, read_cookie
from ..auth.dependencies import SAFE_METHODS
from ..auth.models import Role
from ..auth.schemas import SessionCreate
from ..auth.service import (
    AuthServices,
    authenticate,
    get_principal_by_cookie,
    get_user_for_update,
)
from ..auth.sessions import ClientInfo, create_browser_session, revoke_session
from ..database import Database
from ..errors import Problem, problem_response
from ..exceptions import IncorrectPasswordError
from ..settings import Settings

LIFETIME: Final = 12 * 3600  # seconds that a login lives: a working day
PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    # Scripts, styles and fonts are files of sqladmin; small pictures stand in its styles.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    # With no-referrer, browsers do not name the origin of a form.
    "Referrer-Policy": "same-origin",
}

log = structlog.stdlib.get_logger(__name__)


def cookie_name(settings: Settings) -> str:
    """Name of the cookie; __Host- would demand that it is sent to all paths (RFC 6265bis)."""
    return "__Secure-admin" if settings.secure_cookies else "admin"


class Login(AuthenticationBackend):
    """Logins are those of the service, listed and revoked as all others; there is no other state.

    Args:
        app: has the database and what authenticates.
    """

    def __init__(self, app: FastAPI) -> None:
        self.middlewares = []  # the base class would keep state in a signed cookie
        self.app = app

    async def authenticate(self, request: Request) -> bool:
        """Whether the request comes from an administrator whose login lives."""
        cookie = cookie_name(self.app.state.services.settings)
        token = read_cookie(request, cookie)
        if token is None:
            return False
        principal = await get_principal_by_cookie(self.app.state.services.database, cookie, token)
        if principal is None or principal.role is not Role.ADMIN:
            return False
        structlog.contextvars.bind_contextvars(user_id=str(principal.id))
        request.state.principal = principal
        return True

    async def open(self, request: Request) -> str | None:
        """Log in with the form; returns the token for the cookie, None for all but administrators.

        Raises:
            Problem: 429, too many failures for the account or the address.
        """
        form = await request.form(max_files=0)
        try:
            data = SessionCreate.model_validate(
                {"email": form.get("username"), "password": form.get("password")}
            )
        except ValidationError:
            return None
        auth: AuthServices = self.app.state.services.auth
        database: Database = self.app.state.services.database
        client = ClientInfo(
            address=request.client.host if request.client else None,
            user_agent=request.headers.get("User-Agent"),
        )
        password = data.password.get_secret_value()
        try:
            verified = await authenticate(database, auth, data.email, password, client)
            async with database.write_session() as session:
                user = await get_user_for_update(session, verified)
                if user.role is not Role.ADMIN:
                    return None
                lifetime = min(LIFETIME, auth.settings.session_ttl)
                cookie = cookie_name(auth.settings)
                replaced = read_cookie(request, cookie)
                token = await create_browser_session(
                    session, user, client, lifetime, cookie, replaced_token=replaced
                )
        except IncorrectPasswordError:
            return None
        log.info("admin action", action="login", user_id=str(user.id))
        return token

    async def close(self, request: Request) -> None:
        """Log out."""
        principal = request.state.principal
        async with self.app.state.services.database.write_session() as session:
            await revoke_session(session, principal.id, principal.session_id)
        log.info("admin action", action="logout", user_id=str(principal.id))

    def set_cookie(self, request: Request, response: Response, token: str = "") -> None:
        """Hand the login to the browser, for these pages only; without a token take it back."""
        settings: Settings = self.app.state.services.settings
        response.set_cookie(
            cookie_name(settings),
            token,
            max_age=LIFETIME if token else 0,
            path=request.scope["root_path"],
            secure=settings.secure_cookies,
            httponly=True,
            samesite="strict",
        )


class SecurityMiddleware:
    """Keeps other sites from acting through an administrator's browser, and pages to themselves."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        # CORS_ORIGINS names clients of the API, which have no business here.
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
                    # sqladmin names the host, which is whatever the client sent.
                    location = URL(headers["Location"]).replace(scheme="", netloc="")
                    headers["Location"] = str(location)
            await send(message)

        if scope["method"] not in SAFE_METHODS or "Origin" in Headers(scope=scope):
            # No token in the forms, which are sqladmin's: every browser says where an unsafe
            # request, or a script's, comes from, and sends a SameSite=Strict cookie with ours only.
            try:
                check_origin(Request(scope), self.settings)
            except Problem as problem:
                refusal = problem_response(problem.status_code, problem.detail)
                await refusal(scope, receive, send_page)
                return
        await self.app(scope, receive, send_page)
