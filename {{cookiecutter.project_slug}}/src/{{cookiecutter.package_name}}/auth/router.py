"""Routes under /auth, and the public keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response

from ..database import Reading, Session
from ..errors import Problem, problems
from ..users.models import User
from ..users.schemas import UserRead
from . import service
from .cookies import (
    check_origin,
    clear_cookies,
    read_cookie,
    session_cookie,
    set_cookies,
    set_csrf,
)
from .dependencies import Auth, Client, CurrentUser
from .oauth import NO_STORE, OAuthError, OAuthRoute
from .schemas import (
    LoginSessionRead,
    OAuthErrorBody,
    RevocationRequest,
    SessionCreate,
    TokenRequest,
    TokenResponse,
)
from .service import Principal

# Parsing a form costs CPU for each byte, and no parameter is longer than a few kilobytes.
oauth = APIRouter(route_class=OAuthRoute, max_body_size=32 * 1024)
browser = APIRouter()
well_known = APIRouter(prefix="/.well-known", tags=["auth"])

OAUTH_ERRORS = {400: {"model": OAuthErrorBody, "description": "OAuth 2.0 error"}, **problems(429)}


@oauth.post("/token", responses=OAUTH_ERRORS)
async def create_token(
    form: Annotated[TokenRequest, Form()],
    response: Response,
    session: Session,
    auth: Auth,
    client: Client,
) -> TokenResponse:
    """Token endpoint (RFC 6749 section 3.2): `password` and `refresh_token` grants."""
    if form.scope:
        raise OAuthError("invalid_scope", "No scopes are defined; leave the parameter out.")
    if form.grant_type == "password":
        if not form.username or not form.password:
            raise OAuthError("invalid_request", "username and password are required.")
        password = form.password.get_secret_value()
        user = await service.authenticate(session, auth, form.username, password, client)
        if user is None:
            raise OAuthError("invalid_grant", "E-mail or password is wrong.")
        issued = await service.open_token_family(session, auth, user, client)
    elif form.grant_type == "refresh_token":
        if not form.refresh_token:
            raise OAuthError("invalid_request", "refresh_token is required.")
        issued = await service.rotate(session, auth, form.refresh_token)
    elif form.grant_type:
        raise OAuthError("unsupported_grant_type", "grant_type must be password or refresh_token.")
    else:
        raise OAuthError("invalid_request", "grant_type is required.")
    response.headers.update(NO_STORE)
    return TokenResponse(
        access_token=issued.access_token,
        expires_in=auth.tokens.ttl,
        refresh_token=issued.refresh_token,
    )


@oauth.post("/revoke", response_class=Response, responses=OAUTH_ERRORS)
async def revoke_token(
    form: Annotated[RevocationRequest, Form()], session: Session, auth: Auth
) -> None:
    """Revocation endpoint (RFC 7009): ends the login of the token; unknown tokens are no error."""
    await service.revoke_token(session, auth, form.token)


@browser.post(
    "/session", status_code=201, response_model=UserRead, responses=problems(401, 403, 429)
)
async def create_session(
    data: SessionCreate,
    request: Request,
    response: Response,
    session: Session,
    auth: Auth,
    client: Client,
) -> User:
    """Log a browser in: sets the session and CSRF cookies, and revokes the session they replace."""
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        check_origin(request, auth.settings)
    password = data.password.get_secret_value()
    user = await service.authenticate(session, auth, data.email, password, client)
    if user is None:
        raise Problem(401, "E-mail or password is wrong.", headers={"WWW-Authenticate": "Bearer"})
    cookie = session_cookie(auth.settings)
    token = await service.open_browser_session(
        session, auth, user, client, cookie, replaced=read_cookie(request, cookie)
    )
    set_cookies(response, auth.settings, token, user.id)
    response.headers.update(NO_STORE)
    return user


@browser.get("/session", response_model=UserRead, responses=problems(401))
async def read_session(
    request: Request, response: Response, user: CurrentUser, auth: Auth
) -> Principal:
    """Who is logged in. A browser gets its CSRF token anew."""
    token = read_cookie(request, session_cookie(auth.settings))
    if token is not None:
        set_csrf(response, auth.settings, token, user.id)
    return user


@browser.delete("/session", status_code=204, responses=problems(401, 403, 404))
async def delete_session(
    response: Response, user: CurrentUser, session: Session, auth: Auth
) -> None:
    """Log out: ends the login of this request, by cookie or by token."""
    await service.revoke_session(session, user.id, user.session_id)
    clear_cookies(response, auth.settings)


@browser.get("/sessions", responses=problems(401))
async def list_sessions(user: CurrentUser, reader: Reading) -> list[LoginSessionRead]:
    """The caller's logins that are alive."""
    return [
        LoginSessionRead(
            id=login.id,
            kind="token" if login.cookie_hash is None else "cookie",
            current=login.id == user.session_id,
            address=login.address,
            user_agent=login.user_agent,
            created_at=login.created_at,
            refreshed_at=login.updated_at if login.cookie_hash is None else None,
            expires_at=login.expires_at,
        )
        for login in await service.list_sessions(reader, user.id)
    ]


@browser.delete("/sessions", status_code=204, responses=problems(401, 403))
async def delete_sessions(
    response: Response, user: CurrentUser, session: Session, auth: Auth
) -> None:
    """Log out everywhere: ends every login of the caller."""
    await service.revoke_all(session, user.id)
    clear_cookies(response, auth.settings)


@browser.delete("/sessions/{session_id}", status_code=204, responses=problems(401, 403, 404))
async def delete_session_by_id(session_id: UUID, user: CurrentUser, session: Session) -> None:
    """End one login of the caller."""
    await service.revoke_session(session, user.id, session_id)


@well_known.get("/jwks.json")
async def read_jwks(auth: Auth) -> dict[str, list[dict[str, str]]]:
    """The public keys that check access tokens (RFC 7517); empty with a symmetric key."""
    return auth.tokens.public_jwks()


router = APIRouter(prefix="/auth", tags=["auth"])
router.include_router(oauth)
router.include_router(browser)
