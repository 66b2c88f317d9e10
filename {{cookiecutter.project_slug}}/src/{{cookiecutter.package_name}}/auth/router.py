"""Routes under /auth, and the public keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response

from ..database import Database
from ..dependencies import DatabaseDep, DbSession, ReadSession
from ..errors import Problem, problem_responses
from ..exceptions import IncorrectPasswordError, InvalidTokenError
from . import service, sessions
from .cookies import check_origin, read_cookie, session_cookie, set_cookies, set_csrf
from .dependencies import (
    AuthDep,
    ClearCookies,
    ClientDep,
    CurrentPrincipal,
    clear_session_cookies,
)
from .models import User
from .oauth import NO_STORE, OAuthError, OAuthRoute
from .schemas import (
    LoginSessionRead,
    OAuthErrorBody,
    RevocationRequest,
    SessionCreate,
    TokenRequest,
    TokenResponse,
    UserRead,
)
from .service import AuthServices, Principal
from .sessions import ClientInfo

# Parsing a form costs CPU for each byte, and no parameter is longer than a few kilobytes.
oauth = APIRouter(
    prefix="/api/v1/auth", tags=["auth"], route_class=OAuthRoute, max_body_size=32 * 1024
)
router = APIRouter(prefix="/api/v1/auth", tags=["auth"], responses=problem_responses(401))
well_known = APIRouter(prefix="/.well-known", tags=["auth"])

OAUTH_ERRORS = {
    400: {"model": OAuthErrorBody, "description": "OAuth 2.0 error"},
    **problem_responses(429),
}


@oauth.post("/token", responses=OAUTH_ERRORS)
async def create_token(
    form: Annotated[TokenRequest, Form()],
    response: Response,
    database: DatabaseDep,
    auth: AuthDep,
    client: ClientDep,
) -> TokenResponse:
    """Token endpoint (RFC 6749 section 3.2): `password` and `refresh_token` grants."""
    if form.scope:
        raise OAuthError("invalid_scope", "No scopes are defined; leave the parameter out.")
    if form.grant_type == "password":
        tokens = await _grant_by_password(form, database, auth, client)
    elif form.grant_type == "refresh_token":
        tokens = await _grant_by_refresh_token(form, database, auth)
    elif form.grant_type:
        raise OAuthError("unsupported_grant_type", "grant_type must be password or refresh_token.")
    else:
        raise OAuthError("invalid_request", "grant_type is required.")
    response.headers.update(NO_STORE)
    return tokens


async def _grant_by_password(
    form: TokenRequest, database: Database, auth: AuthServices, client: ClientInfo
) -> TokenResponse:
    if not form.username or not form.password:
        raise OAuthError("invalid_request", "username and password are required.")
    password = form.password.get_secret_value()
    login = service.login_transaction(database, auth, form.username, password, client)
    try:
        async with login as (session, user):
            return await sessions.create_token_session(
                session, auth.tokens, user, client, auth.settings.session_ttl
            )
    except IncorrectPasswordError as error:
        raise OAuthError("invalid_grant", str(error)) from None


async def _grant_by_refresh_token(
    form: TokenRequest, database: Database, auth: AuthServices
) -> TokenResponse:
    if not form.refresh_token:
        raise OAuthError("invalid_request", "refresh_token is required.")
    try:
        async with database.write_session() as session:
            return await sessions.rotate_refresh_token(
                session, auth.tokens, form.refresh_token, auth.settings.session_ttl
            )
    except InvalidTokenError:
        raise OAuthError("invalid_grant", "The refresh token is not valid.") from None


@oauth.post("/revoke", response_class=Response, responses=OAUTH_ERRORS)
async def revoke_token(
    form: Annotated[RevocationRequest, Form()], session: DbSession, auth: AuthDep
) -> None:
    """Revocation endpoint (RFC 7009): revoke the session of the token; ignore unknown tokens."""
    await sessions.revoke_token(session, auth.tokens, form.token)


@router.post(
    "/session", status_code=201, response_model=UserRead, responses=problem_responses(403, 429)
)
async def create_session(
    data: SessionCreate,
    request: Request,
    response: Response,
    database: DatabaseDep,
    auth: AuthDep,
    client: ClientDep,
) -> User:
    """Log a browser in: set the session and CSRF cookies, and revoke the session they replace."""
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        check_origin(request, auth.settings)
    cookie = session_cookie(auth.settings)
    password = data.password.get_secret_value()
    login = service.login_transaction(database, auth, data.email, password, client)
    try:
        async with login as (session, user):
            token = await sessions.create_browser_session(
                session,
                user,
                client,
                auth.settings.session_ttl,
                cookie,
                replaced_token=read_cookie(request, cookie),
            )
    except IncorrectPasswordError as error:
        raise Problem(401, str(error), headers={"WWW-Authenticate": "Bearer"}) from None
    set_cookies(response, auth.settings, token, user.id)
    response.headers.update(NO_STORE)
    return user


@router.get("/session", response_model=UserRead)
async def read_session(
    request: Request, response: Response, principal: CurrentPrincipal, auth: AuthDep
) -> Principal:
    """Return the caller's account, and to a browser a new CSRF token."""
    token = read_cookie(request, session_cookie(auth.settings))
    if principal.is_browser and token is not None:
        set_csrf(response, auth.settings, token, principal.id)
    return principal


@router.delete(
    "/session",
    status_code=204,
    dependencies=[ClearCookies],
    responses=problem_responses(403, 404),
)
async def delete_session(principal: CurrentPrincipal, session: DbSession) -> None:
    """Log out: revoke the session of this request, by cookie or by token."""
    await sessions.revoke_session(session, principal.id, principal.session_id)


@router.get("/sessions")
async def list_sessions(
    principal: CurrentPrincipal, session: ReadSession
) -> list[LoginSessionRead]:
    """List the caller's valid sessions."""
    return [
        LoginSessionRead(
            id=login.id,
            kind="token" if login.cookie_hash is None else "cookie",
            current=login.id == principal.session_id,
            address=login.address,
            user_agent=login.user_agent,
            created_at=login.created_at,
            refreshed_at=login.updated_at if login.cookie_hash is None else None,
            expires_at=login.expires_at,
        )
        for login in await sessions.list_sessions(session, principal.id)
    ]


@router.delete(
    "/sessions", status_code=204, dependencies=[ClearCookies], responses=problem_responses(403)
)
async def delete_sessions(principal: CurrentPrincipal, session: DbSession) -> None:
    """Log out everywhere: revoke every session of the caller."""
    await sessions.revoke_all_sessions(session, principal.id)


@router.delete("/sessions/{session_id}", status_code=204, responses=problem_responses(403, 404))
async def delete_session_by_id(
    session_id: UUID,
    principal: CurrentPrincipal,
    session: DbSession,
    auth: AuthDep,
    response: Response,
) -> None:
    """Revoke one session of the caller."""
    await sessions.revoke_session(session, principal.id, session_id)
    if session_id == principal.session_id:
        await clear_session_cookies(response, principal, auth)


@well_known.get("/jwks.json")
async def read_jwks(auth: AuthDep) -> dict[str, list[dict[str, str]]]:
    """Return the public keys with which other services verify access tokens (RFC 7517)."""
    return auth.tokens.public_jwks()
