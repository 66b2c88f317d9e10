"""What every HTTP exchange gets: a request id, security headers, bounds, and one access line."""

import os
import re
import time
from collections.abc import Callable
from typing import Final

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors
from .logging import access_log
from .preconditions import ConditionalGetMiddleware
from .settings import Settings

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,128}")
FORMS: Final = {b"multipart/form-data", b"application/x-www-form-urlencoded"}
SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def setup(app: FastAPI, settings: Settings) -> None:
    """Add the middleware, innermost first."""
    app.add_middleware(ConditionalGetMiddleware)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=settings.max_body_size)
    app.add_middleware(TextMiddleware)
    app.add_middleware(HostMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False)
    errors.setup(app, settings)
    if settings.cors_origins:
        # Outside the problems, so that a browser client may read them.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials=True,
            allow_methods=["DELETE", "GET", "PATCH", "POST", "PUT"],
            allow_headers=["Authorization", "If-Match", "If-None-Match", "X-CSRF-Token"],
            expose_headers=[
                "ETag",
                "Location",
{%- if cookiecutter.use_redis %}
                "RateLimit",
                "RateLimit-Policy",
{%- endif %}
                "Retry-After",
                "X-CSRF-Token",
                "X-Request-ID",
            ],
            max_age=600,
        )
    headers = dict(SECURITY_HEADERS)
    if settings.environment == "production":
        headers["strict-transport-security"] = "max-age=63072000; includeSubDomains"
    app.add_middleware(ResponseMiddleware, headers=headers, log=access_log(settings))


class HostMiddleware(TrustedHostMiddleware):
    """Answer only the hosts that are allowed; probes call a replica by its address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = sum(name == b"host" for name, _ in scope["headers"])
            if hosts > 1 or (hosts == 0 and scope["http_version"] == "1.1"):
                # RFC 9112 section 3.2; the server's parser leaves it to the application.
                problem = errors.problem_response(400, "A request must have one Host header.")
                await problem(scope, receive, send)
                return
        is_probe = scope["type"] == "http" and scope["path"].startswith("/health/")
        app = self.app if is_probe else super().__call__
        await app(scope, receive, send)


class TextMiddleware:
    """Reject forms that are not UTF-8 (415), and NUL in the path or query (422).

    The form parser decodes with any codec that the client names. Some of them take quadratic time,
    and others raise errors that the parser does not expect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http":
            if "\0" in scope["path"]:
                app = _nul_problem("/path")
            elif b"%00" in scope["query_string"]:
                app = _nul_problem("/query")
            elif not _is_utf8(Headers(scope=scope).get("content-type", "")):
                app = errors.problem_response(415, "The charset of a form must be utf-8.")
        await app(scope, receive, send)


def _nul_problem(pointer: str) -> Response:
    error = errors.FieldError(pointer=pointer, detail="must not contain NUL characters")
    return errors.problem_response(422, "The request is not valid.", errors=[error])


def _is_utf8(content_type: str) -> bool:
    # Parsed as the form parser does, so that both see the same charset.
    media_type, options = parse_options_header(content_type)
    charset = options.get(b"charset", b"utf-8")
    return media_type not in FORMS or charset.lower() in {b"utf-8", b"utf8"}


class ResponseMiddleware:
    """Name the request, add the headers its response lacks, and log one access line in the end."""

    def __init__(self, app: ASGIApp, headers: dict[str, str], log: Callable[..., None]) -> None:
        self.app = app
        self.log = log
        self.headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        # Answers of the API are for the one who asked (RFC 9111 section 5.2.2.5).
        self.private = [*self.headers, (b"cache-control", b"no-store")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        started = time.perf_counter_ns()
        status = 500
        method, given = scope["method"], scope
        if method == "HEAD":
            # As GET, without the content (RFC 9110 section 9.3.2), which the routes do not offer.
            scope = {**given, "method": "GET"}
        asked = dict(scope["headers"])
        request_id = asked.get(b"x-request-id", b"").decode("latin-1")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = os.urandom(16).hex()
        correlation_id.set(request_id)
        headers = self.private if scope["path"].startswith("/api/") else self.headers

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = message["headers"]
                if status == 204:
                    # FastAPI names the type that the content would have.
                    sent = [header for header in sent if header[0] != b"content-type"]
                present = {name for name, _ in sent}
                message["headers"] = [
                    *sent,
                    *(header for header in headers if header[0] not in present),
                    (b"x-request-id", request_id.encode()),
                ]
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            given.update(scope, method=method)  # what the routes have noted
            client = scope.get("client")
            self.log(
                method=method,
                path=scope["path"],
                route=route_template(scope),
                status=status,
                duration=time.perf_counter_ns() - started,
                address=client[0] if client else None,
                user_agent=asked.get(b"user-agent", b"").decode("latin-1") or None,
            )


def route_template(scope: Scope) -> str | None:
    """The matched route with its prefixes, such as /api/v1/users/{user_id}; None when unknown."""
    path = getattr(scope.get("route"), "path", None)
{%- if cookiecutter.use_admin %}
    if not isinstance(path, str):
        return None
    # The pages are an application of their own, which knows its routes without the prefix.
    root: str = scope.get("root_path", "")
    return root.removeprefix(scope.get("app_root_path", root)) + path
{%- else %}
    return path if isinstance(path, str) else None
{%- endif %}
