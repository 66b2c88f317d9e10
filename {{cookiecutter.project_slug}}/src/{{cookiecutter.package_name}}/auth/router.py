"""Routes under /auth, and the public keys."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response

from ..database import Database
from ..dependencies import DatabaseDep, DbSession, ReadSession
from ..errors import FieldError, Problem, problem_responses
from ..exceptions import (
    EmailNotVerifiedError,
    InactiveClientError,
    IncorrectCodeError,
    IncorrectPasswordError,
    InvalidClientError,
    InvalidScopeError,
    InvalidTokenError,
    MfaRequiredError,
)
{% if cookiecutter.use_prometheus -%}
from ..instruments import GRANTS, TOKEN_REQUESTS
{% endif -%}
from ..token_format import PREFIX
from . import client_auth, service, sessions
from .client_assertions import ASSERTION_TYPE
from .client_auth import ClientCredentials
from .cookies import check_origin, read_cookie, session_cookie, set_cookies, set_csrf
from .dependencies import (
    AccountReader,
    AccountWriter,
    AuthDep,
    ClearCookies,
    ClientDep,
    clear_session_cookies,
)
from .models import User
from .oauth import NO_STORE, OAuthError, OAuthRoute
from .personal_tokens import revoke_presented_token
from .principal import Principal
from .schemas import (
    LoginSessionRead,
    OAuthErrorBody,
    Reauthentication,
    RevocationRequest,
    SessionCreate,
    TokenRequest,
    TokenResponse,
    UserRead,
)
from .scopes import effective_scopes
from .service import AuthServices
from .sessions import ClientInfo

# Parsing a form costs CPU for each byte, and no parameter is longer than a few kilobytes.
oauth = APIRouter(
    prefix="/api/v1/auth", tags=["auth"], route_class=OAuthRoute, max_body_size=32 * 1024
)
router = APIRouter(prefix="/api/v1/auth", tags=["auth"], responses=problem_responses(401, 403))
well_known = APIRouter(prefix="/.well-known", tags=["auth"])

OAUTH_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": OAuthErrorBody, "description": "OAuth 2.0 error"},
    **problem_responses(429),
}
CLIENT_ERROR: dict[int | str, dict[str, Any]] = {
    401: {"model": OAuthErrorBody, "description": "OAuth 2.0 error invalid_client"}
}


@oauth.post("/token", responses=OAUTH_ERRORS | CLIENT_ERROR, response_model_exclude_none=True)
async def create_token(
    form: Annotated[TokenRequest, Form()],
    request: Request,
    response: Response,
    database: DatabaseDep,
    auth: AuthDep,
    client: ClientDep,
) -> TokenResponse:
    """Token endpoint (RFC 6749 section 3.2).

    Grants: `password`, `refresh_token`, and `client_credentials` for service accounts, which
    authenticate with `client_secret_basic` or `private_key_jwt`.

    If the error is `mfa_required`, repeat the request with a code of the user's authenticator app,
    or a recovery code, in `otp`.
    """
    try:
        if form.grant_type == "password":
            tokens = await _grant_by_password(form, database, auth, client)
        elif form.grant_type == "refresh_token":
            tokens = await _grant_by_refresh_token(form, database, auth, client)
        elif form.grant_type == "client_credentials":
            tokens = await _grant_by_client_credentials(form, request, database, auth, client)
        elif form.grant_type:
            description = "grant_type must be password, refresh_token or client_credentials."
            raise OAuthError("unsupported_grant_type", description)
        else:
            raise OAuthError("invalid_request", "grant_type is required.")
    except InvalidScopeError as error:
{%- if cookiecutter.use_prometheus %}
        _count(form.grant_type, "rejected")
{%- endif %}
        raise OAuthError("invalid_scope", str(error)) from None
{%- if cookiecutter.use_prometheus %}
    except OAuthError:
        _count(form.grant_type, "rejected")
        raise
    _count(form.grant_type, "issued")
{%- endif %}
    response.headers.update(NO_STORE)
    return tokens

{% if cookiecutter.use_prometheus %}
def _count(grant: str | None, outcome: str) -> None:
    TOKEN_REQUESTS.labels(grant if grant in GRANTS else "unsupported", outcome).inc()

{% endif %}
async def _grant_by_password(
    form: TokenRequest, database: Database, auth: AuthServices, client: ClientInfo
) -> TokenResponse:
    if not form.username or not form.password:
        raise OAuthError("invalid_request", "username and password are required.")
    password = form.password.get_secret_value()
    otp = form.otp.get_secret_value() if form.otp else None
    transaction = service.login_transaction(database, auth, form.username, password, client, otp)
    try:
        async with transaction as login:
            return await sessions.create_token_session(
                login.session,
                auth.tokens,
                login.user,
                client,
                auth.settings.session_ttl,
                amr=login.amr,
                scope=form.scope,
            )
    except MfaRequiredError as error:
        raise OAuthError("mfa_required", str(error)) from None
    except EmailNotVerifiedError as error:
        raise OAuthError("email_not_verified", str(error)) from None
    except IncorrectPasswordError as error:
        raise OAuthError("invalid_grant", str(error)) from None


async def _grant_by_refresh_token(
    form: TokenRequest, database: Database, auth: AuthServices, client: ClientInfo
) -> TokenResponse:
    if not form.refresh_token:
        raise OAuthError("invalid_request", "refresh_token is required.")
    try:
        async with database.write_session() as session:
            return await sessions.rotate_refresh_token(
                session,
                auth.tokens,
                form.refresh_token,
                client,
                auth.settings.session_ttl,
                scope=form.scope,
            )
    except InvalidTokenError:
        raise OAuthError("invalid_grant", "The refresh token is not valid.") from None


async def _grant_by_client_credentials(
    form: TokenRequest,
    request: Request,
    database: Database,
    auth: AuthServices,
    client: ClientInfo,
) -> TokenResponse:
    try:
        credentials = _read_credentials(form, request.headers.get("Authorization", ""))
        # The URL contains the Host header; ALLOWED_HOSTS rejects the names of other services.
        audiences = [auth.settings.jwt_issuer, str(request.url.replace(query=""))]
        transaction = client_auth.client_transaction(database, auth, credentials, client, audiences)
        async with transaction as login:
            return await sessions.create_client_session(
                login.session, auth.tokens, login.user, client, login.scope, form.scope
            )
    except InvalidClientError as error:
        raise OAuthError("invalid_client", str(error)) from None
    except InactiveClientError as error:
        raise OAuthError("unauthorized_client", str(error)) from None


def _read_credentials(form: TokenRequest, authorization: str) -> ClientCredentials:
    is_basic = authorization.partition(" ")[0].lower() == "basic"
    if form.client_assertion:
        if is_basic or form.client_assertion_type != ASSERTION_TYPE:
            description = f"client_assertion_type must be {ASSERTION_TYPE}, without a Basic header."
            raise OAuthError("invalid_request", description)
        credentials = client_auth.read_assertion(form.client_assertion)
    elif is_basic:
        credentials = client_auth.read_basic_credentials(authorization)
    else:
        raise InvalidClientError
    if form.client_id not in {None, str(credentials.client_id)}:
        raise InvalidClientError
    return credentials


@oauth.post("/revoke", response_class=Response, responses=OAUTH_ERRORS)
async def revoke_token(
    form: Annotated[RevocationRequest, Form()],
    session: DbSession,
    auth: AuthDep,
    client: ClientDep,
) -> None:
    """Revocation endpoint (RFC 7009): revoke a personal access token or a session.

    An access or refresh token revokes its session. Unknown tokens are ignored.
    """
    if form.token.startswith(PREFIX):
        await revoke_presented_token(session, form.token, client)
    else:
        await sessions.revoke_token(session, auth.tokens, form.token, client)


@router.post("/session", status_code=201, response_model=UserRead, responses=problem_responses(429))
async def create_session(
    data: SessionCreate,
    request: Request,
    response: Response,
    database: DatabaseDep,
    auth: AuthDep,
    client: ClientDep,
) -> User:
    """Log a browser in: set the session and CSRF cookies, and revoke the session they replace.

    If the problem type is `/problems/mfa-required`, repeat the request with a code of the user's
    authenticator app, or a recovery code, in `otp`.
    """
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        check_origin(request, auth.settings)
    cookie = session_cookie(auth.settings)
    password = data.password.get_secret_value()
    otp = data.otp.get_secret_value() if data.otp else None
    transaction = service.login_transaction(database, auth, data.email, password, client, otp)
    try:
        async with transaction as login:
            token = await sessions.create_browser_session(
                login.session,
                login.user,
                client,
                auth.settings.session_ttl,
                cookie,
                amr=login.amr,
                replaced_token=read_cookie(request, cookie),
            )
    except IncorrectPasswordError as error:
        is_code = isinstance(error, IncorrectCodeError)
        errors = [FieldError(pointer="/body/otp", detail=str(error))] if is_code else []
        challenge = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, str(error), headers=challenge, errors=errors) from None
    set_cookies(response, auth.settings, token, login.user.id)
    response.headers.update(NO_STORE)
    return login.user


@router.get("/session", response_model=UserRead)
async def read_session(
    request: Request, response: Response, principal: AccountReader, auth: AuthDep
) -> Principal:
    """Return the caller's account, and to a browser a new CSRF token."""
    token = read_cookie(request, session_cookie(auth.settings))
    if principal.credential == "cookie" and token is not None:
        set_csrf(response, auth.settings, token, principal.id)
    return principal


@router.delete(
    "/session",
    status_code=204,
    dependencies=[ClearCookies],
    responses=problem_responses(404),
)
async def delete_session(principal: AccountWriter, session: DbSession) -> None:
    """Log out: revoke the session of this request, by cookie or by token."""
    await sessions.revoke_session(session, principal.id, principal.session_id, by=principal)


@router.post("/reauthentication", status_code=204, responses=problem_responses(429))
async def reauthenticate(
    data: Reauthentication, principal: AccountWriter, database: DatabaseDep, auth: AuthDep
) -> None:
    """Authenticate again in this session, before a route that demands it (RFC 9470).

    If the problem type is `/problems/mfa-required`, repeat the request with a code in `otp`.
    """
    otp = data.otp.get_secret_value() if data.otp else None
    password = data.password.get_secret_value()
    await service.reauthenticate(database, auth, principal, password, otp)


@router.get("/sessions")
async def list_sessions(principal: AccountReader, session: ReadSession) -> list[LoginSessionRead]:
    """List the caller's valid sessions."""
    return [
        LoginSessionRead(
            id=login.id,
            kind="token" if login.cookie_hash is None else "cookie",
            current=login.id == principal.session_id,
            scopes=sorted(effective_scopes(principal.role, login.scope)),
            address=login.address,
            user_agent=login.user_agent,
            created_at=login.created_at,
            authenticated_at=login.authenticated_at or login.created_at,
            refreshed_at=login.updated_at if login.cookie_hash is None else None,
            expires_at=login.expires_at,
        )
        for login in await sessions.list_sessions(session, principal.id)
    ]


@router.delete("/sessions", status_code=204, dependencies=[ClearCookies])
async def delete_sessions(principal: AccountWriter, session: DbSession) -> None:
    """Log out everywhere: revoke every session of the caller."""
    await sessions.revoke_all_sessions(session, principal.id, by=principal)


@router.delete("/sessions/{session_id}", status_code=204, responses=problem_responses(404))
async def delete_session_by_id(
    session_id: UUID,
    principal: AccountWriter,
    session: DbSession,
    auth: AuthDep,
    response: Response,
) -> None:
    """Revoke one session of the caller."""
    await sessions.revoke_session(session, principal.id, session_id, by=principal)
    if session_id == principal.session_id:
        await clear_session_cookies(response, principal, auth)


@well_known.get("/jwks.json")
async def read_jwks(auth: AuthDep) -> dict[str, list[dict[str, str]]]:
    """Return the public keys with which other services verify access tokens (RFC 7517)."""
    return auth.tokens.public_jwks()
