"""Browser sessions: cookies, and protection against cross-site request forgery (CSRF).

An unsafe request with a session cookie must carry the CSRF token of the session in a header, and
must come from our own origin or one in CORS_ORIGINS.
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
    """Return the value of a cookie, or None if it is missing or was sent more than once.

    Compares names exactly. Starlette's parser strips everything that Python regards as whitespace,
    so that it takes a cookie named `\\xa0__Host-session` for `__Host-session`.
    """
    pairs = (
        pair.lstrip(" ").partition("=")
        for header in connection.headers.getlist("Cookie")
        for pair in header.split(";")
    )
    values = [value for key, _, value in pairs if key == name]
    return values[0] if len(values) == 1 else None


def session_cookie(settings: Settings) -> str:
    """Return the name of the session cookie.

    The prefix restricts it to this host and to https (RFC 6265bis section 4.1.3).
    """
    return "__Host-session" if settings.secure_cookies else "session"


def csrf_cookie(settings: Settings) -> str:
    """Return the name of the cookie from which scripts of our pages read the CSRF token."""
    return "__Host-csrf" if settings.secure_cookies else "csrf"


def csrf_token(settings: Settings, session_token: str, user_id: UUID) -> str:
    """Return the CSRF token of a session: the user id, signed together with the session token."""
    key = settings.secret_key.get_secret_value().encode()
    signature = hmac.new(key, f"csrf{session_token}{user_id}".encode(), "sha256").hexdigest()
    return f"{user_id.hex}.{signature}"


def set_cookies(response: Response, settings: Settings, session_token: str, user_id: UUID) -> None:
    """Set the session cookie and the CSRF token."""
    _set(response, settings, session_cookie(settings), session_token, http_only=True)
    set_csrf(response, settings, session_token, user_id)


def set_csrf(response: Response, settings: Settings, session_token: str, user_id: UUID) -> None:
    """Set the CSRF token as a cookie and as a header.

    Pages of the origins in CORS_ORIGINS read the header, as they cannot read our cookies.
    """
    token = csrf_token(settings, session_token, user_id)
    response.headers[CSRF_HEADER] = token
    _set(response, settings, csrf_cookie(settings), token, http_only=False)


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
    """Delete the session and CSRF cookies."""
    for name in (session_cookie(settings), csrf_cookie(settings)):
        response.delete_cookie(name, path="/", secure=settings.secure_cookies, samesite="lax")


def check_csrf(request: Request, settings: Settings, session_token: str, user_id: UUID) -> None:
    """Reject an unsafe request that another site may have caused.

    Raises:
        Problem: 403, the origin is not allowed or unknown, or the CSRF token is missing or wrong.
    """
    check_origin(request, settings)
    actual = request.headers.get(CSRF_HEADER, "")
    expected = csrf_token(settings, session_token, user_id)
    if not hmac.compare_digest(actual.encode(), expected.encode()):
        raise Problem(403, f"The {CSRF_HEADER} header is missing or wrong.")


def check_origin(request: Request, settings: Settings) -> None:
    """Reject a request of another site (Fetch Metadata, or else the Origin header).

    Raises:
        Problem: 403, the origin is not allowed or unknown.
    """
    origin = request.headers.get("Origin")
    if origin in settings.cors_origins:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:
        host = request.headers.get("Host")
        is_own = origin in (f"https://{host}", f"http://{host}")
    if not is_own:
        raise Problem(403, "Requests from other sites are not allowed.")
