"""Middleware for every request: checks, response headers and the access log."""

import logging
import re
import time
from typing import Final

import structlog
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors
from .settings import Settings

log = structlog.stdlib.get_logger("access")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,128}")
FORMS: Final = {b"multipart/form-data", b"application/x-www-form-urlencoded"}
SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def is_request_id(value: str) -> bool:
    """Return whether the request id of a client is short and plain enough to be logged."""
    return REQUEST_ID.fullmatch(value) is not None


def cors(settings: Settings) -> list[Middleware]:
    """Return the CORS middleware for CORS_ORIGINS, or an empty list without origins."""
    if not settings.cors_origins:
        return []
    middleware = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_credentials=True,
        allow_methods=["DELETE", "GET", "PATCH", "POST", "PUT"],
        allow_headers=[
            "Authorization",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "X-CSRF-Token",
        ],
        expose_headers=[
            "Deprecation",
            "ETag",
            "Link",
            "Location",
{%- if cookiecutter.use_redis %}
            "RateLimit",
            "RateLimit-Policy",
{%- endif %}
            "Retry-After",
            "Sunset",
            "X-CSRF-Token",
            "X-Request-ID",
        ],
        max_age=600,
    )
    return [middleware]


class HostMiddleware(TrustedHostMiddleware):
    """Reject requests for hosts that are not in ALLOWED_HOSTS.

    Probes are exempt, because they use a replica's IP address.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = sum(name == b"host" for name, _ in scope["headers"])
            if hosts > 1 or (hosts == 0 and scope["http_version"] == "1.1"):
                # RFC 9112 section 3.2; the server's parser leaves it to the application.
                problem = errors.problem_response(400, "A request must have one Host header.")
                await problem(scope, receive, send)
                return
        is_probe = scope["type"] == "http" and route_path(scope).startswith("/health/")
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


class DefaultHeadersMiddleware:
    """Set the security headers of each response, unless the route has set them.

    A dependency may add the headers of `request.state.route_headers`, also to errors.
    """

    def __init__(self, app: ASGIApp, *, https_only: bool) -> None:
        self.app = app
        headers = dict(SECURITY_HEADERS)
        if https_only:
            headers["strict-transport-security"] = "max-age=63072000; includeSubDomains"
        self.headers = Headers(headers).raw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        defaults = self.headers
        if route_path(scope).startswith("/api/"):
            defaults = [*defaults, (b"cache-control", b"no-store")]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if message["status"] == 204:
                    # FastAPI names a content type although there is no content.
                    headers = [header for header in headers if header[0] != b"content-type"]
                names = {name for name, _ in headers}
                missing = [header for header in defaults if header[0] not in names]
                added = scope.get("state", {}).get("route_headers", ())
                message = {**message, "headers": [*headers, *missing, *added]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


class AccessLogMiddleware:
    """Log each request with its route, status and duration; probes that succeed at level debug."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        is_probe = route_path(scope).startswith("/health/")
        started = time.perf_counter_ns()
        status = 500

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        finally:
            log.log(
                logging.DEBUG if is_probe and status < 400 else logging.INFO,
                "request",
                method=scope["method"],
                path=scope["path"],
                route=route_template(scope),
                status=status,
                duration=time.perf_counter_ns() - started,
                address=scope["client"][0] if scope.get("client") else None,
                user_agent=Headers(scope=scope).get("user-agent"),
            )


def route_path(scope: Scope) -> str:
    """Return the path below `root_path`, which a proxy may put in front of the service."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def route_template(scope: Scope) -> str | None:
    """Return the template of the matched route, or None without a match.

    An example is /api/v1/users/{user_id}.
    """
    path = getattr(scope.get("route"), "path", None)
{%- if cookiecutter.use_admin %}
    if not isinstance(path, str):
        return None
    # The admin pages are a mounted application, whose routes do not include the mount path.
    root: str = scope.get("root_path", "")
    return root.removeprefix(scope.get("app_root_path", root)) + path
{%- else %}
    return path if isinstance(path, str) else None
{%- endif %}
