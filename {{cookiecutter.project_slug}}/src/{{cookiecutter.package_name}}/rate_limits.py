"""Rate limits per user, or per client address for unauthenticated requests."""

import hmac
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .auth.cookies import csrf_cookie, csrf_token, read_cookie, session_cookie
from .auth.dependencies import bearer, cookie
from .cache.limits import Allowance
from .errors import Problem, problem_response
from .exceptions import InvalidTokenError
from .http import route_path
{%- if cookiecutter.use_prometheus %}
from .instruments import RATE_LIMITED
{%- endif %}
from .state import get_state
from .throttle import Limit, address_key
from .token_format import PREFIX

TOO_MANY: Final = "Too many requests; try again later."


def _token_key(connection: HTTPConnection) -> str | None:
    auth = get_state(connection.app).auth
    scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if token.startswith(PREFIX):
        owner = auth.token_owners.get(token)
        return None if owner is None else f"user:{owner}"
    with suppress(InvalidTokenError):
        return f"user:{auth.tokens.verify(token).user_id}"
    return None


def _cookie_key(connection: HTTPConnection) -> str | None:
    auth = get_state(connection.app).auth
    # The CSRF cookie proves to which user the session cookie was issued.
    proof = read_cookie(connection, csrf_cookie(auth.settings)) or ""
    with suppress(ValueError):
        user_id = UUID(proof.partition(".")[0])
        session_token = read_cookie(connection, session_cookie(auth.settings)) or ""
        expected = csrf_token(auth.settings, session_token, user_id)
        if hmac.compare_digest(proof.encode(), expected.encode()):
            return f"user:{user_id}"
    return None


# For each security scheme, a function that returns the rate limit key of the authenticated caller,
# or None, without a query. No other caller can obtain this key. Add an entry for each new scheme,
# or its callers share the limit of their address; a test compares the entries with the OpenAPI
# description.
CALLERS: Final[dict[str, Callable[[HTTPConnection], str | None]]] = {
    bearer.scheme_name: _token_key,
    cookie.scheme_name: _cookie_key,
}


class RateLimitMiddleware:
    """Limit requests to /api/ per user, or per client address without valid credentials."""

    def __init__(self, app: ASGIApp, limit: Limit) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not route_path(scope).startswith("/api/"):
            await self.app(scope, receive, send)
            return
        allowance = await _hit(HTTPConnection(scope), "default", self.limit)
        headers = allowance.headers("default")
        if allowance.wait > 0:
            await problem_response(429, TOO_MANY, headers=headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                for name, value in headers.items():
                    MutableHeaders(scope=message).append(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class RateLimit:
    """A dependency that limits a route or router, in addition to the global limit.

    Args:
        policy: names the limit in its header fields; routes of the same policy count together.

    Raises:
        Problem: 429 with Retry-After, the limit is reached.
    """

    def __init__(self, policy: str, limit: Limit) -> None:
        self.policy = policy
        self.limit = limit

    async def __call__(self, request: Request, response: Response) -> None:
        allowance = await _hit(request, self.policy, self.limit)
        headers = allowance.headers(self.policy)
        if allowance.wait > 0:
            raise Problem(429, TOO_MANY, headers=headers)
        for name, value in headers.items():
            response.headers.append(name, value)


async def _hit(connection: HTTPConnection, policy: str, limit: Limit) -> Allowance:
    keys = (caller_key(connection) for caller_key in CALLERS.values())
    address = connection.client.host if connection.client else None
    caller = next(filter(None, keys), None) or address_key(address)
    throttle = get_state(connection.app).throttle
{%- if cookiecutter.use_prometheus %}
    allowance = await throttle.hit(f"rate:{policy}:{caller}", limit)
    if allowance.wait > 0:
        RATE_LIMITED.labels(policy).inc()
    return allowance
{%- else %}
    return await throttle.hit(f"rate:{policy}:{caller}", limit)
{%- endif %}
