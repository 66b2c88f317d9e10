"""Every error is a problem (RFC 9457, application/problem+json) that carries the request id."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .exceptions import (
    ConflictError,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
    IncorrectCodeError,
    IncorrectPasswordError,
    InsufficientScopeError,
    InvalidAccountTokenError,
    InvalidCursorError,
    InvalidScopeError,
    MailUnavailableError,
    MfaRequiredError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProofRequiredError,
    ReauthenticationRequiredError,
    RetryableError,
    ServiceError,
    TooManyAttemptsError,
    UnacceptablePasswordError,
    validation_message,
)

log = structlog.stdlib.get_logger(__name__)

{% if cookiecutter.database == "postgresql" -%}
# SQLSTATE of errors that may not recur when the request is repeated: connection, rollback
# (deadlock, serialization failure), resources, lock timeout, intervention (statement timeout,
# shutdown).
TRANSIENT = ("08", "40", "53", "55P03", "57")
# SQLSTATE of text with a NUL, in text and in JSON.
NOT_STORABLE = ("22021", "22P05")
# SQLSTATE of violated foreign keys, unique and exclusion constraints.
CONFLICTS = ("23503", "23505", "23P01")
{%- else -%}
# Another writer, or trouble with the file.
TRANSIENT = ("SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR")
CONFLICTS = (
    "SQLITE_CONSTRAINT_FOREIGNKEY",
    "SQLITE_CONSTRAINT_PRIMARYKEY",
    "SQLITE_CONSTRAINT_UNIQUE",
)
{%- endif %}
# The status of each error that services raise, subclasses included.
STATUSES: Final[Mapping[type[ServiceError], int]] = {
    MfaRequiredError: 401,
    ProofRequiredError: 401,
    ReauthenticationRequiredError: 401,
    IncorrectPasswordError: 403,
    PermissionDeniedError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    IdempotencyKeyInUseError: 409,
    IdempotencyKeyReusedError: 422,
    InvalidAccountTokenError: 422,
    InvalidCursorError: 422,
    InvalidScopeError: 422,
    UnacceptablePasswordError: 422,
    TooManyAttemptsError: 429,
    MailUnavailableError: 503,
    OverloadedError: 503,
}
# The part of the request that an error is about, subclasses first.
POINTERS: Final[Mapping[type[ServiceError], str]] = {
    IdempotencyKeyReusedError: "/header/Idempotency-Key",
    IncorrectCodeError: "/body/otp",
    IncorrectPasswordError: "/body/password",
    UnacceptablePasswordError: "/body/new_password",
    InvalidAccountTokenError: "/body/token",
    InvalidCursorError: "/query/cursor",
    InvalidScopeError: "/body/scopes",
}
REF_TEMPLATE: Final = "#/components/schemas/{model}"
NOT_STORABLE_DETAIL: Final = "The request must not contain NUL or lone surrogate characters."
MAX_ERRORS: Final = 50  # listed in one response
MAX_NAME: Final = 100  # characters of a member's name in a pointer


class FieldError(BaseModel):
    """An error in one part of the request."""

    pointer: str = Field(
        description="JSON Pointer (RFC 6901) below body, query, path, header or cookie.",
        examples=["/body/email"],
    )
    detail: str = Field(examples=["value is not a valid email address"])


class ProblemDetails(BaseModel):
    """The body of every error (RFC 9457 section 3)."""

    type: str = Field(default="about:blank", description="A URI that identifies the problem type.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str | None = Field(default=None, examples=["User not found."])
    request_id: str | None = Field(default=None, description="Include it in bug reports.")
    errors: list[FieldError] | None = None


class Problem(HTTPException):
    """An exception that a router or dependency raises to answer with a problem.

    Args:
        status: HTTP status code.
        detail: a sentence for the caller; never internals.
        headers: further response headers, such as Retry-After.
        errors: the errors of single fields.
    """

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(status, detail, headers)
        self.errors = errors


def problem_response(
    status: int,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldError] = (),
    type: str = "about:blank",  # noqa: A002 - the name in RFC 9457
) -> Response:
    """Build the response for a problem; the title is the status phrase (RFC 9457 section 4.2.1)."""
    phrase = HTTPStatus(status).phrase
    problem = ProblemDetails(
        type=type,
        title=phrase,
        status=status,
        detail=None if detail == phrase else detail,
        request_id=correlation_id.get(),
        errors=list(errors) or None,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def field_problem(status: int, pointer: str, detail: str) -> Problem:
    """Return a problem for one invalid field; the caller raises it."""
    return Problem(status, detail, errors=[FieldError(pointer=pointer, detail=detail)])


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route or router for these problem statuses."""
    # FastAPI describes a `model` as application/json, so refer to the schema that docs.py adds.
    schema = {"$ref": REF_TEMPLATE.format(model=ProblemDetails.__name__)}
    content = {"application/problem+json": {"schema": schema}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def setup(app: FastAPI) -> None:
    """Register handlers that answer every error with a problem."""
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(ServiceError, _service_problem)
    app.add_exception_handler(PoolTimeoutError, _database_problem)
    app.add_exception_handler(DBAPIError, _database_problem)
    app.add_exception_handler(UnicodeEncodeError, _text_problem)
    app.add_exception_handler(IntegrityError, _conflict)
    app.add_exception_handler(StaleDataError, _conflict)


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    errors = error.errors if isinstance(error, Problem) else ()
    return problem_response(error.status_code, error.detail, headers=error.headers, errors=errors)


async def _service_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)
    if status is None:
        raise error
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, ReauthenticationRequiredError):
        headers["WWW-Authenticate"] = _step_up_challenge(error)
    if isinstance(error, InsufficientScopeError):
        challenge = f'Bearer error="insufficient_scope", scope="{error.scope}"'
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, RetryableError):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    pointer = next((value for kind, value in POINTERS.items() if isinstance(error, kind)), None)
    errors = [] if pointer is None else [FieldError(pointer=pointer, detail=str(error))]
    return problem_response(status, str(error), headers=headers, errors=errors, type=error.type)


def _step_up_challenge(error: ReauthenticationRequiredError) -> str:
    """Build the challenge of RFC 9470 section 3."""
    acr = ', acr_values="aal2"' if error.mfa else ""
    return (
        'Bearer error="insufficient_user_authentication", '
        f'error_description="{error}", max_age="{error.max_age}"{acr}'
    )


async def _validation_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Leave out the input, which may be a password.
    details = error.errors()
    errors = [
        FieldError(pointer=_pointer(detail), detail=validation_message(detail))
        for detail in details[:MAX_ERRORS]
    ]
    summary = "The request is not valid."
    if len(details) > MAX_ERRORS:
        summary = f"The request is not valid: the first {MAX_ERRORS} of {len(details)} errors."
    return problem_response(422, summary, errors=errors)


def _pointer(detail: dict[str, Any]) -> str:
    # For malformed JSON, the location ends with an offset, which is not part of a JSON Pointer.
    parts = detail["loc"][:1] if detail["type"] == "json_invalid" else detail["loc"]
    escaped = (str(part)[:MAX_NAME].replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in escaped)


async def _text_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, UnicodeEncodeError)
    if error.reason != "surrogates not allowed":
        raise error
    return problem_response(422, NOT_STORABLE_DETAIL)


async def _database_problem(_: Request, error: Exception) -> Response:
{%- if cookiecutter.database == "postgresql" %}
    if isinstance(error, DBAPIError) and _is_caused_by_text(error):
        return problem_response(422, NOT_STORABLE_DETAIL)
{%- endif %}
    if isinstance(error, DBAPIError) and not _is_transient(error):
        raise error
    log.warning("transient database error", error=error)
    detail = "The database could not complete the request; try again shortly."
    return problem_response(503, detail, headers={"Retry-After": "1"})


async def _conflict(_: Request, error: Exception) -> Response:
    # Services handle expected conflicts. This is a race with a request that inserted or deleted a
    # row; a violation of another kind is a defect of the service.
    if isinstance(error, IntegrityError) and _code(error) not in CONFLICTS:
        raise error
    log.warning("conflict", error=error)
    return problem_response(409, "The request conflicts with the stored data.")

{% if cookiecutter.database == "postgresql" %}
def _is_caused_by_text(error: DBAPIError) -> bool:
    # asyncpg raises its DataError from the error of the encoder.
    cause = error.orig and error.orig.__cause__
    state = getattr(cause, "sqlstate", None)
    return state in NOT_STORABLE or isinstance(cause and cause.__cause__, UnicodeEncodeError)

{% endif %}
def _is_transient(error: DBAPIError) -> bool:
{%- if cookiecutter.database == "postgresql" %}
    if error.connection_invalidated or isinstance(error.orig, OSError):
        return True
{%- endif %}
    return _code(error).startswith(TRANSIENT)


def _code(error: DBAPIError) -> str:
{%- if cookiecutter.database == "postgresql" %}
    return getattr(error.orig, "sqlstate", None) or ""
{%- else %}
    return getattr(error.orig, "sqlite_errorname", None) or ""
{%- endif %}


class ProblemMiddleware:
    """Answer unhandled exceptions and plain text errors of libraries with a problem."""

    def __init__(self, app: ASGIApp, debug: bool) -> None:
        self.app = app
        self.debug = debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= 400:
                    content_type = Headers(raw=message["headers"]).get("content-type", "")
                    replaced = content_type.startswith("text/plain")
                if replaced:
                    await problem_response(message["status"])(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            await self.app(scope, receive, send_problem)
        except Exception as error:
            if started:
                raise  # the status is sent already, so the server closes the connection
            # Not raised again: the server would close the connection without announcing it, and the
            # next request on it would be lost.
            log.exception("unhandled exception")
            detail = f"{type(error).__name__}: {error}" if self.debug else None
            await problem_response(500, detail)(scope, receive, send)
