"""Dependencies of authenticated routes: the caller, an administrator, the client."""

from contextlib import suppress
from typing import Annotated
{%- if cookiecutter.use_redis %}
from uuid import UUID
{%- endif %}

import structlog
from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, OAuth2PasswordBearer

from ..database import Database
from ..errors import Problem
from ..exceptions import InvalidTokenError
from ..state import get_state
from .cookies import check_csrf, clear_cookies, read_cookie, session_cookie
from .models import Role
from .service import AuthServices, Principal, get_principal_by_cookie, get_principal_by_token
from .sessions import ClientInfo{% if cookiecutter.use_redis %}, cache_namespace{% endif %}

# RFC 9110 section 9.2.1
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

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


async def get_auth_services(request: Request) -> AuthServices:
    """Return the shared authentication services."""
    return get_state(request.app).auth


async def get_client(request: Request) -> ClientInfo:
    """Return the address and user agent of the client."""
    return ClientInfo(
        address=request.client.host if request.client else None,
        user_agent=request.headers.get("User-Agent"),
    )


AuthDep = Annotated[AuthServices, Depends(get_auth_services)]
ClientDep = Annotated[ClientInfo, Depends(get_client)]


async def get_current_principal(
    request: Request,
    token: Annotated[str | None, Security(bearer)],
    _: Annotated[str | None, Security(cookie)],
) -> Principal:
    """Return the caller, by access token or else by session cookie.

    Raises:
        Problem: 401 with a challenge (RFC 6750 section 3), without valid credentials; 403, for an
            unsafe request with a cookie but without CSRF protection.
    """
    state = get_state(request.app)
    if token is not None:
        principal = await _authenticate_token(state.database, state.auth, token)
    else:
        principal = await _authenticate_cookie(request, state.database, state.auth)
    structlog.contextvars.bind_contextvars(user_id=str(principal.id))
    return principal


async def _authenticate_token(database: Database, auth: AuthServices, token: str) -> Principal:
    principal = None
    with suppress(InvalidTokenError):
        principal = await get_principal_by_token(database, auth.tokens.verify(token))
    if principal is None:
        raise Problem(
            401,
            "The access token is not valid.",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return principal


async def _authenticate_cookie(
    request: Request, database: Database, auth: AuthServices
) -> Principal:
    name = session_cookie(auth.settings)
    token = read_cookie(request, name)
    principal = await get_principal_by_cookie(database, name, token) if token else None
    if token is None or principal is None:
        raise Problem(401, "Not authenticated.", headers={"WWW-Authenticate": "Bearer"})
    if request.method not in SAFE_METHODS:
        check_csrf(request, auth.settings, token, principal.id)
    return principal


CurrentPrincipal = Annotated[Principal, Depends(get_current_principal)]


async def clear_session_cookies(
    response: Response, principal: CurrentPrincipal, auth: AuthDep
) -> None:
    """Delete the cookies of a browser, for routes that end its session."""
    if principal.is_browser:
        clear_cookies(response, auth.settings)


ClearCookies = Depends(clear_session_cookies)


async def get_current_admin(principal: CurrentPrincipal) -> Principal:
    """Return the caller, if an administrator.

    Raises:
        Problem: 403, the caller is not an administrator.
    """
    if principal.role is not Role.ADMIN:
        raise Problem(403, "Only administrators may do this.")
    return principal


CurrentAdmin = Annotated[Principal, Depends(get_current_admin)]
{%- if cookiecutter.use_redis %}


async def get_current_user_id(
    request: Request,
    token: Annotated[str | None, Security(bearer)],
    cookie_token: Annotated[str | None, Security(cookie)],
) -> UUID:
    """Return the caller's id, for reads that the cache may answer without the database.

    The cache keeps the session of an access token until it is revoked.

    Raises:
        Problem: as `get_current_principal`.
    """

    async def load() -> str:
        principal = await get_current_principal(request, token, cookie_token)
        return str(principal.id)

    state = get_state(request.app)
    try:
        session_id = state.auth.tokens.verify(token or "").session_id
    except InvalidTokenError:
        return UUID(await load())
    user_id = await state.cache.get_or_load(cache_namespace(session_id), "user_id", load)
    structlog.contextvars.bind_contextvars(user_id=user_id)
    return UUID(user_id)


CurrentUserId = Annotated[UUID, Depends(get_current_user_id)]
{%- endif %}
