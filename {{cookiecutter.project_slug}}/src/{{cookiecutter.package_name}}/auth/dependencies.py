"""Dependencies of authenticated routes: the caller with the scopes of the route, the client."""

from collections.abc import Collection
from contextlib import suppress
from typing import Annotated, Any, Final
{%- if cookiecutter.use_redis %}
from uuid import UUID
{%- endif %}

import structlog
from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, OAuth2PasswordBearer, SecurityScopes

from ..database import Database
from ..errors import Problem, problem_responses
from ..exceptions import (
    InsufficientScopeError,
    InvalidTokenError,
    PermissionDeniedError,
    ReauthenticationRequiredError,
)
{%- if cookiecutter.use_prometheus %}
from ..instruments import INSUFFICIENT_SCOPE
{%- endif %}
from ..state import get_state
from ..token_format import PREFIX
from .cookies import check_csrf, clear_cookies, read_cookie, session_cookie
from .principal import Principal
{%- if cookiecutter.use_redis %}
from .scopes import ACCOUNT_READ, ACCOUNT_WRITE, EVERYONE, SCOPES, USERS_ADMIN
{%- else %}
from .scopes import ACCOUNT_READ, ACCOUNT_WRITE, USERS_ADMIN
{%- endif %}
from .service import (
    AuthServices,
    get_principal_by_cookie,
    get_principal_by_personal_token,
    get_principal_by_token,
    is_recently_authenticated,
)
from .sessions import ClientInfo{% if cookiecutter.use_redis %}, cache_namespace{% endif %}

# RFC 9110 section 9.2.1
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

bearer = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token",
    refreshUrl="/api/v1/auth/token",
    scheme_name="OAuth2",
    description="Access tokens of the token endpoint, or personal access tokens (RFC 6750). "
    "Without selected scopes, an access token has all scopes of the user.",
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
    return ClientInfo(address=_address_of(request), user_agent=request.headers.get("User-Agent"))


def _address_of(request: Request) -> str | None:
    # A trusted proxy may forward any text, and the columns are as long as an IPv6 address.
    return request.client.host[:45] or None if request.client else None


AuthDep = Annotated[AuthServices, Depends(get_auth_services)]
ClientDep = Annotated[ClientInfo, Depends(get_client)]


async def authenticate(request: Request) -> Principal:
    """Return the caller, by access token or else by session cookie, without checking scopes.

    It runs once for each request, because it does not depend on the scopes of the route.

    Raises:
        Problem: 401 with a challenge (RFC 6750 section 3), without valid credentials; 403, for an
            unsafe request with a cookie but without CSRF protection.
    """
    state, token = get_state(request.app), await bearer(request)
    if token is not None:
        principal = await _authenticate_token(request, state.database, state.auth, token)
    else:
        principal = await _authenticate_cookie(request, state.database, state.auth)
    structlog.contextvars.bind_contextvars(user_id=str(principal.id))
    return principal


async def _authenticate_token(
    request: Request, database: Database, auth: AuthServices, token: str
) -> Principal:
    principal, address = None, _address_of(request)
    if token.startswith(PREFIX):
        principal = await get_principal_by_personal_token(database, token, address)
{%- if cookiecutter.use_redis %}
        auth.token_owners.put(token, principal)
{%- endif %}
    else:
        with suppress(InvalidTokenError):
            claims = auth.tokens.verify(token)
            principal = await get_principal_by_token(database, claims, address)
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
    principal = None
    if token:
        principal = await get_principal_by_cookie(database, name, token, _address_of(request))
    if token is None or principal is None:
        raise Problem(401, "Not authenticated.", headers={"WWW-Authenticate": "Bearer"})
    if request.method not in SAFE_METHODS:
        check_csrf(request, auth.settings, token, principal.id)
    return principal


async def get_optional_account_writer(request: Request) -> Principal | None:
    """Return the caller, or None without valid credentials that allow changing the account.

    Raises:
        Problem: 403, for an unsafe request with a cookie but without CSRF protection.
    """
    try:
        principal = await authenticate(request)
    except Problem as problem:
        if problem.status_code != 401:
            raise
        return None
    return principal if ACCOUNT_WRITE in principal.scopes else None


async def get_current_principal(
    scopes: SecurityScopes,
    principal: Annotated[Principal, Depends(authenticate)],
    _: Annotated[str | None, Security(bearer)],
    __: Annotated[str | None, Security(cookie)],
) -> Principal:
    """Return the caller, whose credential must have the scopes of the route.

    Raises:
        Problem: see `authenticate`.
        InsufficientScopeError: the credential lacks a scope.
    """
    _check_scopes(principal.scopes, scopes)
    return principal


def _check_scopes(granted: Collection[str], required: SecurityScopes) -> None:
    if not set(required.scopes).issubset(granted):
{%- if cookiecutter.use_prometheus %}
        INSUFFICIENT_SCOPE.inc()
{%- endif %}
        raise InsufficientScopeError(required.scope_str)


# For other dependencies. Routes use an alias that names a scope.
CurrentPrincipal = Annotated[Principal, Depends(get_current_principal)]
AccountReader = Annotated[Principal, Security(get_current_principal, scopes=[ACCOUNT_READ])]
AccountWriter = Annotated[Principal, Security(get_current_principal, scopes=[ACCOUNT_WRITE])]
CurrentAdmin = Annotated[Principal, Security(get_current_principal, scopes=[USERS_ADMIN])]


async def clear_session_cookies(
    response: Response, principal: Annotated[Principal, Depends(authenticate)], auth: AuthDep
) -> None:
    """Delete the cookies of a browser, for routes that end its session."""
    if principal.credential == "cookie":
        clear_cookies(response, auth.settings)


ClearCookies = Depends(clear_session_cookies)


async def get_recent_principal(principal: CurrentPrincipal, auth: AuthDep) -> Principal:
    """Return the caller, if authenticated recently, for sensitive changes.

    Raises:
        PermissionDeniedError: the credential is for machines, which cannot authenticate again.
        ReauthenticationRequiredError: the authentication is older than STEP_UP_MAX_AGE. Clients
            call `POST /auth/reauthentication`, then repeat the request.
    """
    if principal.credential not in {"cookie", "token"}:
        message = "Log in to do this; personal access tokens and service accounts cannot."
        raise PermissionDeniedError(message)
    if not is_recently_authenticated(auth.settings, principal):
        max_age = auth.settings.step_up_max_age
        raise ReauthenticationRequiredError(max_age, mfa=principal.mfa_enabled)
    return principal


RecentPrincipal = Annotated[Principal, Security(get_recent_principal, scopes=[ACCOUNT_WRITE])]
RecentAdmin = Annotated[Principal, Security(get_recent_principal, scopes=[USERS_ADMIN])]

# The OpenAPI response of routes that depend on RecentPrincipal or RecentAdmin.
STEP_UP: Final[dict[int | str, dict[str, Any]]] = {
    401: problem_responses(401)[401] | {"description": "Unauthorized, or reauthentication required"}
}
{%- if cookiecutter.use_redis %}


async def get_current_user_id(
    request: Request,
    scopes: SecurityScopes,
    token: Annotated[str | None, Security(bearer)],
    _: Annotated[str | None, Security(cookie)],
) -> UUID:
    """Return the caller's id, for reads that the cache may answer without the database.

    The cache keeps the session of an access token until it is revoked, but not the role of the
    user. A scope that only some roles include is checked in the database.

    Raises:
        Problem: see `authenticate`.
        InsufficientScopeError: the credential lacks a scope of the route.
    """

    async def load() -> str:
        principal = await authenticate(request)
        _check_scopes(principal.scopes, scopes)
        return str(principal.id)

    state = get_state(request.app)
    try:
        claims = state.auth.tokens.verify(token or "")
    except InvalidTokenError:
        return UUID(await load())
    if any(SCOPES[name].roles != EVERYONE for name in scopes.scopes):
        return UUID(await load())
    if claims.scope is not None:
        _check_scopes(claims.scope.split(), scopes)
    namespace = cache_namespace(claims.session_id)
    user_id = await state.cache.get_or_load(namespace, "user_id", load)
    structlog.contextvars.bind_contextvars(user_id=user_id)
    return UUID(user_id)
{%- endif %}
