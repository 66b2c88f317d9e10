"""Announce that routes are deprecated, and when they will be removed."""

from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any

from fastapi import Depends, Request


def deprecation(
    *, since: date, sunset: date | None = None, link: str | None = None
) -> dict[str, Any]:
    """Return the parameters of an APIRouter, or of one route, that mark it as deprecated.

        router = APIRouter(prefix="/api/v1/invoices", **deprecation(since=date(2027, 1, 1)))

    Every response that the routes or their dependencies cause has the header fields, errors
    included. Malformed JSON and whatever the middleware rejects do not reach the routes.

    Args:
        since: the day of the Deprecation header (RFC 9745), from midnight UTC. It may be in the
            future.
        sunset: the day of the Sunset header (RFC 8594), on which the routes will be removed.
        link: the URL of a page about the deprecation, for the Link header.

    Raises:
        ValueError: the sunset is before the deprecation.
    """
    if sunset is not None and sunset < since:
        message = f"the sunset {sunset} is before the deprecation {since}"
        raise ValueError(message)
    headers = {"deprecation": f"@{int(_midnight(since).timestamp())}"}
    if sunset is not None:
        headers["sunset"] = format_datetime(_midnight(sunset), usegmt=True)
    if link is not None:
        relation = "deprecation" if sunset is None else "deprecation sunset"
        headers["link"] = f'<{link}>; rel="{relation}"'
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def announce(request: Request) -> None:
        request.state.route_headers = raw

    return {"deprecated": True, "dependencies": [Depends(announce)]}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
