"""Browser sessions: cookies, and the proof that a request was meant by the person (CSRF).

An unsafe request with a session cookie must carry the CSRF token, which is bound to the session, in
a header, and must come from our own origin or one that CORS_ORIGINS names.
"""

import hmac
from typing import Final
from uuid import UUID

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ..errors import Problem
from ..settings import Settings

CSRF_HEADER: Final = "X-CSRF-Token"


def read_cookie(connection: HTTPConnection, name: str) -> str | None:
    """Return the value of a cookie; None without it, and if it was sent more than once.

    Names are compared exactly. Starlette's parser strips all that Python takes for a space, so that
    a cookie of another site, such as one named `\\xa0__Host-session`, would pass for ours.
    """
    pairs = (
        pair.lstrip(" ").partition("=")
        for header in connection.headers.getlist("Cookie")
        for pair in header.split(";")
    )
    values = [value for key, _, value in pairs if key == name]
    return values[0] if len(values) == 1 else None


def session_cookie(settings: Settings) -> str:
    """Name of the session cookie; the prefix binds it to this host and to https (RFC 6265bis)."""
    return "__Host-session" if settings.secure_cookies else "session"


def csrf_cookie(settings: Settings) -> str:
    """Name of the cookie from which the page's script reads the CSRF token."""
    return "__Host-csrf" if settings.secure_cookies else "csrf"


def csrf_token(settings: Settings, session_token: str, user_id: UUID) -> str:
    """The CSRF token of a session, which says whose it is."""
    key = settings.secret_key.get_secret_value().encode()
    proof = hmac.new(key, f"csrf{session_token}{user_id}".encode(), "sha256").hexdigest()
    return f"{user_id.hex}.{proof}"


def set_cookies(response: Response, settings: Settings, session_token: str, user_id: UUID) -> None:
    """Hand a session to the browser."""
    _set(response, settings, session_cookie(settings), session_token, http_only=True)
    set_csrf(response, settings, session_token, user_id)


def set_csrf(response: Response, settings: Settings, session_token: str, user_id: UUID) -> None:
    """Hand the CSRF token of a session to the browser, in a cookie and in a header.

    Pages of another origin, which CORS_ORIGINS names, cannot read our cookies.
    """
    proof = csrf_token(settings, session_token, user_id)
    response.headers[CSRF_HEADER] = proof
    _set(response, settings, csrf_cookie(settings), proof, http_only=False)


def _set(response: Response, settings: Settings, name: str, value: str, *, http_only: bool) -> None:
    response.set_cookie(
        name,
        value,
        max_age=settings.session_ttl,
        path="/",
        secure=settings.secure_cookies,
        httponly=http_only,
        samesite="lax",
    )


def clear_cookies(response: Response, settings: Settings) -> None:
    """Take the session back from the browser."""
    for name in (session_cookie(settings), csrf_cookie(settings)):
        response.delete_cookie(name, path="/", secure=settings.secure_cookies, samesite="lax")


def check_csrf(request: Request, settings: Settings, session_token: str, user_id: UUID) -> None:
    """Refuse an unsafe request that another site may have caused.

    Raises:
        Problem: 403, the origin is foreign or unknown, or the CSRF token is missing or wrong.
    """
    check_origin(request, settings)
    presented = request.headers.get(CSRF_HEADER, "")
    expected = csrf_token(settings, session_token, user_id)
    if not hmac.compare_digest(presented.encode(), expected.encode()):
        raise Problem(403, f"The {CSRF_HEADER} header is missing or wrong.")


def check_origin(request: Request, settings: Settings) -> None:
    """Refuse a request of a foreign site (Fetch Metadata, or the Origin header without it).

    Raises:
        Problem: 403, the request comes from elsewhere or does not say from where.
    """
    origin = request.headers.get("Origin")
    if origin in settings.cors_origins:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        host = request.headers.get("Host")
        own = origin in (f"https://{host}", f"http://{host}")
    if not own:
        raise Problem(403, "Requests with a session cookie must come from this site.")
