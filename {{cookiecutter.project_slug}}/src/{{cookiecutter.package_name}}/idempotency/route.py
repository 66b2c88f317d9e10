"""Repeat a POST request safely (draft-ietf-httpapi-idempotency-key-header).

A router gets the route class, and each route that accepts keys depends on `begin`:

    router = APIRouter(prefix="/api/v1/invoices", route_class=IdempotentRoute)
    Idempotent = Security(begin, scopes=[WRITE])

    @router.post("", dependencies=[Idempotent], responses=problem_responses(409))

One transaction stores the key, the changes of the route and the response. The route must make all
its changes in `DbSession`. Its response is stored, so it must not contain a secret, set cookies or
be a stream.
"""

import hashlib
import re
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import Header, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import select
from sqlalchemy.dialects.{{ cookiecutter.database }} import insert
from sqlalchemy.exc import DBAPIError
from starlette.requests import ClientDisconnect

from ..auth.dependencies import CurrentPrincipal
from ..database import utcnow
from ..dependencies import DbSession
from ..errors import Problem, field_problem
from ..exceptions import IdempotencyKeyInUseError, IdempotencyKeyReusedError
from ..http import route_template
{%- if cookiecutter.use_prometheus %}
from ..instruments import IDEMPOTENT_REQUESTS
{%- endif %}
from .models import IdempotencyKey

HEADER: Final = "Idempotency-Key"
LIFETIME: Final = timedelta(hours=24)
# A string (RFC 9651 section 3.3.3) of visible characters, or the same without quotes.
SYNTAX: Final = r'^([!#-\[\]-~]{1,255}|"([!#-\[\]-~]|\\["\\]){1,255}")$'
{%- if cookiecutter.database == "postgresql" %}
# SQLSTATE of a lock timeout and a statement timeout.
LOCK_TIMEOUTS: Final = frozenset({"55P03", "57014"})
{%- endif %}

Key = Annotated[
    str | None,
    Header(
        alias=HEADER,
        pattern=SYNTAX,
        description="A unique value, such as a UUID in quotes. Within 24 hours, the same request "
        "with the same key returns the first response and changes nothing.",
    ),
]


class Replay(Exception):  # noqa: N818 - not an error
    """The request has been carried out before, with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class IdempotentRoute(APIRoute):
    """A route that stores its response with the Idempotency-Key of the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler of the route. FastAPI commits `DbSession` after the wrapper returns."""
        handle = super().get_route_handler()

        async def handle_idempotently(request: Request) -> Response:
            if HEADER not in request.headers:
                return await handle(request)
            try:
                await request.body()  # for the fingerprint; FastAPI reads a form as a stream
            except ClientDisconnect as error:
                raise Problem(400, "The body cannot be read.") from error
            try:
                response = await handle(request)
            except Replay as replay:
                return replay.response
            row: IdempotencyKey | None = getattr(request.state, "idempotency_key", None)
            if row is not None:
                headers = response.headers
                row.status = response.status_code
                row.headers = {name: ", ".join(headers.getlist(name)) for name in headers}
                row.body = bytes(response.body)
{%- if cookiecutter.use_prometheus %}
                IDEMPOTENT_REQUESTS.labels("new").inc()
{%- endif %}
            return response

        return handle_idempotently


async def begin(
    request: Request, principal: CurrentPrincipal, session: DbSession, key: Key = None
) -> None:
    """Insert the Idempotency-Key of the request, if it has one.

    Concurrent requests with the same key wait for the first one. If that fails, its key is rolled
    back, and the next request is carried out.

    Raises:
        Problem: 422, the header was sent twice.
        IdempotencyKeyReusedError: the key was sent with another request.
        IdempotencyKeyInUseError: the first request takes too long.
        Replay: the request has been carried out.
    """
    assert isinstance(request.scope["route"], IdempotentRoute), "the router has no route_class"
    if key is None:
        return
    if len(request.headers.getlist(HEADER)) > 1:
        raise field_problem(422, f"/header/{HEADER}", "The header was sent twice.")
    if key.startswith('"'):
        key = re.sub(r"\\(.)", r"\1", key[1:-1])
    now = utcnow()
    url = f"{request.url.path}?{request.url.query}\n"
    identity = {
        "user_id": principal.id,
        "operation": f"{request.method} {route_template(request.scope)}",
        "key": key,
    }
    content = {
        "fingerprint": hashlib.sha256(url.encode() + await request.body()).hexdigest(),
        "expires_at": now + LIFETIME,
    }
    try:
        request.state.idempotency_key = await session.scalar(
            insert(IdempotencyKey)
            .values(**identity, **content)
            .on_conflict_do_update(
                index_elements=list(identity), set_=content, where=IdempotencyKey.expires_at < now
            )
            .returning(IdempotencyKey)
        )
    except DBAPIError as error:
        if not is_lock_timeout(error):
            raise
{%- if cookiecutter.use_prometheus %}
        IDEMPOTENT_REQUESTS.labels("in_use").inc()
{%- endif %}
        raise IdempotencyKeyInUseError(retry_after=1) from error
    if request.state.idempotency_key is not None:
        return
    stored = await session.scalar(select(IdempotencyKey).filter_by(**identity))
    assert stored is not None, "the conflict has locked the row"
    if stored.fingerprint != content["fingerprint"]:
{%- if cookiecutter.use_prometheus %}
        IDEMPOTENT_REQUESTS.labels("mismatch").inc()
{%- endif %}
        raise IdempotencyKeyReusedError
{%- if cookiecutter.use_prometheus %}
    IDEMPOTENT_REQUESTS.labels("replayed").inc()
{%- endif %}
    assert stored.status is not None
    raise Replay(Response(stored.body, stored.status, stored.headers))


def is_lock_timeout(error: DBAPIError) -> bool:
    """Return whether a statement has waited too long for another transaction."""
{%- if cookiecutter.database == "postgresql" %}
    return getattr(error.orig, "sqlstate", None) in LOCK_TIMEOUTS
{%- else %}
    return getattr(error.orig, "sqlite_errorname", None) == "SQLITE_BUSY"
{%- endif %}
