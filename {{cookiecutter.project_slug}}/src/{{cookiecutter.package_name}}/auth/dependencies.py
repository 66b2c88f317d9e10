"""What routes ask for: the caller, an administrator, where a request comes from."""

{% if cookiecutter.use_redis -%}
import hmac
from collections.abc import Callable
from contextlib import suppress
{% endif -%}
from typing import Annotated{% if cookiecutter.use_redis %}, Final{% endif %}
{%- if cookiecutter.use_redis %}
from uuid import UUID
{%- endif %}

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, OAuth2PasswordBearer
{%- if cookiecutter.use_redis %}
from starlette.requests import HTTPConnection
{%- endif %}

{% if cookiecutter.use_redis -%}
from ..cache.denylist import Denylist
{% endif -%}
from ..database import Reader
from ..database.engine import SAFE_METHODS
from ..errors import Problem
from ..users.models import Role
from .cookies import check_csrf{% if cookiecutter.use_redis %}, csrf_cookie, csrf_token{% endif %}, read_cookie, session_cookie
from .service import (
    AuthTools,
    ClientInfo,
    Principal,
    principal_of_cookie,
    principal_of_token,
)
from .tokens import InvalidTokenError

bearer = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token",
    refreshUrl="/api/v1/auth/token",
    scheme_name="OAuth2",
    description="Access tokens of the token endpoint (RFC 6750).",
    auto_error=False,
)
cookie = APIKeyCookie(
    name="__Host-session",
    scheme_name="Cookie",
    description="Browser session; unsafe requests also need the X-CSRF-Token header.",
    auto_error=False,
)


async def _auth_tools(request: Request) -> AuthTools:
    tools: AuthTools = request.app.state.auth
    return tools


async def _client(request: Request) -> ClientInfo:
    return ClientInfo(
        address=request.client.host if request.client else None,
        user_agent=request.headers.get("User-Agent"),
    )


Auth = Annotated[AuthTools, Depends(_auth_tools)]
Client = Annotated[ClientInfo, Depends(_client)]


async def current_principal(
    request: Request,
    token: Annotated[str | None, Security(bearer)],
    _: Annotated[str | None, Security(cookie)],
) -> Principal:
    """The caller, by access token or else by session cookie.

    Raises:
        Problem: 401 with a challenge (RFC 6750 section 3), nobody or a wrong token; 403, a cookie
            without CSRF proof on an unsafe request.
    """
    auth: AuthTools = request.app.state.auth
    reader: Reader = request.app.state.database.reader
    if token is not None:
        principal = await _by_token(reader, auth, token)
    else:
        principal = await _by_cookie(request, reader, auth)
    structlog.contextvars.bind_contextvars(user_id=str(principal.id))
    return principal


async def _by_token(reader: Reader, auth: AuthTools, token: str) -> Principal:
    try:
        claims = auth.tokens.verify(token)
    except InvalidTokenError:
        claims = None
    principal = await principal_of_token(reader, claims) if claims else None
    if principal is None:
        raise Problem(
            401,
            "The access token is not valid.",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return principal


async def _by_cookie(request: Request, reader: Reader, auth: AuthTools) -> Principal:
    name = session_cookie(auth.settings)
    token = read_cookie(request, name)
    principal = await principal_of_cookie(reader, name, token) if token else None
    if token is None or principal is None:
        raise Problem(401, "Not authenticated.", headers={"WWW-Authenticate": "Bearer"})
    if request.method not in SAFE_METHODS:
        check_csrf(request, auth.settings, token, principal.id)
    return principal


CurrentUser = Annotated[Principal, Depends(current_principal)]


async def admin_user(user: CurrentUser) -> Principal:
    """The caller, who is an administrator.

    Raises:
        Problem: 403, the caller is not.
    """
    if user.role is not Role.ADMIN:
        raise Problem(403, "Only administrators may do this.")
    return user


AdminUser = Annotated[Principal, Depends(admin_user)]
{%- if cookiecutter.use_redis %}


async def current_user_id(
    request: Request,
    auth: Auth,
    token: Annotated[str | None, Security(bearer)],
    cookie_token: Annotated[str | None, Security(cookie)],
) -> UUID:
    """The caller's id, for reads that the cache may answer: it may do without the database.

    An access token is taken at its word when the denylist knows that it is not revoked.

    Raises:
        Problem: as `current_principal`.
    """
    if token is not None:
        with suppress(InvalidTokenError):
            claims = auth.tokens.verify(token)
            denylist: Denylist = request.app.state.denylist
            if await denylist.allows(claims.session_id):
                structlog.contextvars.bind_contextvars(user_id=str(claims.user_id))
                return claims.user_id
    principal = await current_principal(request, token, cookie_token)
    return principal.id


CurrentUserId = Annotated[UUID, Depends(current_user_id)]


def _caller_of_token(connection: HTTPConnection) -> str | None:
    auth: AuthTools = connection.app.state.auth
    scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        with suppress(InvalidTokenError):
            return f"user:{auth.tokens.verify(token).user_id}"
    return None


def _caller_of_cookie(connection: HTTPConnection) -> str | None:
    auth: AuthTools = connection.app.state.auth
    # The CSRF cookie proves whose the session cookie is, or was.
    proof = read_cookie(connection, csrf_cookie(auth.settings)) or ""
    with suppress(ValueError):
        user_id = UUID(proof.partition(".")[0])
        session_token = read_cookie(connection, session_cookie(auth.settings)) or ""
        expected = csrf_token(auth.settings, session_token, user_id)
        if hmac.compare_digest(proof.encode(), expected.encode()):
            return f"user:{user_id}"
    return None


# How rate limits recognize the caller of each security scheme, without the database: a key that
# only this caller can have, or None. Add an entry with each new scheme. Without one, its callers
# would share the limit of their address; a test compares the entries with the OpenAPI description.
CALLERS: Final[dict[str, Callable[[HTTPConnection], str | None]]] = {
    bearer.scheme_name: _caller_of_token,
    cookie.scheme_name: _caller_of_cookie,
}


def proven_caller(connection: HTTPConnection) -> str | None:
    """Return the rate limit key of the caller, or None to limit by client address."""
    callers = (caller_of(connection) for caller_of in CALLERS.values())
    return next(filter(None, callers), None)
{%- endif %}
