"""Conditional requests: ETag, If-Match and If-None-Match (RFC 9110 sections 8.8.3 and 13.1)."""

{% if cookiecutter.use_redis -%}
import hashlib
{% endif -%}
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Header
from pydantic import Field
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Problem

# The header fields of a 304 (RFC 9110 section 15.4.5).
KEPT_HEADERS: Final = ("cache-control", "content-location", "etag", "expires", "vary")
NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "Not Modified"}}

# A list, as the header may be sent more than once (RFC 9110 section 5.3).
IfMatch = Annotated[
    list[Annotated[str, Field(max_length=200)]] | None,
    Header(description="Apply the request only if the current ETag is listed."),
]


def etag_of(version: int) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def etag_matches(header: str, etag: str, *, weak: bool = False) -> bool:
    """Return whether the header lists the entity tag or is `*`.

    Args:
        weak: also accept the weak form, into which a compressing proxy turns a strong tag. Only
            If-None-Match uses weak comparison (RFC 9110 section 13.1.2).
    """
    tags = re.findall(r'(?:W/)?"[^"]*"|\*', header)
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return bool(etag) and ("*" in tags or etag in tags)


def set_etag(response: Response, etag: str) -> None:
    """Set the ETag, and let clients cache the response if they revalidate it."""
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, no-cache"


{% if cookiecutter.use_redis -%}
def json_response(body: str) -> Response:
    """Return a response with a JSON body, such as one from the cache, and its ETag."""
    response = Response(body, media_type="application/json")
    set_etag(response, f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"')
    return response


{% endif -%}
def check_if_match(if_match: Sequence[str] | None, etag: str) -> None:
    """Reject the request if If-Match does not list the current ETag.

    Raises:
        Problem: 412, the resource has another entity tag.
    """
    if if_match is not None and not etag_matches(", ".join(if_match), etag):
        raise Problem(412, "The resource has changed; read it again.")


class ConditionalGetMiddleware:
    """Answer GET with 304 if If-None-Match lists the ETag of the response.

    A route only sets the ETag header; the middleware compares it with If-None-Match.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        known = ", ".join(Headers(scope=scope).getlist("if-none-match"))
        is_known = False

        async def send_conditionally(message: Message) -> None:
            nonlocal is_known
            if message["type"] == "http.response.start" and message["status"] == 200:
                headers = Headers(raw=message["headers"])
                is_known = etag_matches(known, headers.get("etag", ""), weak=True)
                if is_known:
                    kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
                    await Response(status_code=304, headers=kept)(scope, receive, send)
            if not is_known:
                await send(message)

        await self.app(scope, receive, send_conditionally if known else send)
