"""The error format of OAuth 2.0 (RFC 6749 section 5.2), used at its endpoints."""

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

FORM = "application/x-www-form-urlencoded"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """A token or revocation request is rejected.

    Args:
        error: the code that RFC 6749 section 5.2 defines for the case. Two are additions:
            `mfa_required`, as other providers name it, and `email_not_verified`.
        description: a sentence for the developer of the client.
    """

    def __init__(
        self,
        error: Literal[
            "invalid_request",
            "invalid_client",
            "invalid_grant",
            "invalid_scope",
            "unauthorized_client",
            "unsupported_grant_type",
            "mfa_required",
            "email_not_verified",
        ],
        description: str,
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class OAuthRoute(APIRoute):
    """A route that answers malformed requests and repeated parameters with `invalid_request`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler of the route."""
        handle = super().get_route_handler()

        async def handle_oauth(request: Request) -> Response:
            media_type = request.headers.get("Content-Type", "").partition(";")[0]
            if media_type.strip().lower() != FORM:
                raise OAuthError("invalid_request", f"The Content-Type must be {FORM}.")
            try:
                form = await request.form()
            except (HTTPException, ClientDisconnect) as error:
                raise OAuthError("invalid_request", "The form cannot be read.") from error
            if len(form.multi_items()) != len(form):
                raise OAuthError("invalid_request", "A parameter was sent twice.")
            try:
                return await handle(request)
            except RequestValidationError as error:
                names = ", ".join(sorted({str(detail["loc"][-1]) for detail in error.errors()}))
                raise OAuthError("invalid_request", f"Not valid: {names}.") from error

        return handle_oauth


def setup(app: FastAPI) -> None:
    """Answer OAuth errors in their own format."""
    app.add_exception_handler(OAuthError, _oauth_error)


async def _oauth_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, OAuthError)
    body = {"error": error.error, "error_description": error.description}
    if error.error == "invalid_client":
        challenge = {"WWW-Authenticate": 'Basic realm="clients", charset="UTF-8"'}
        return JSONResponse(body, 401, headers=NO_STORE | challenge)
    return JSONResponse(body, 400, headers=NO_STORE)
