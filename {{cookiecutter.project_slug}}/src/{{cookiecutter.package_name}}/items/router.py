"""Routes under /items."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from ..auth.dependencies import CurrentUser{% if cookiecutter.use_redis %}, CurrentUserId{% endif %}
{%- if cookiecutter.use_redis %}
from ..cache.store import RequestCache
{%- endif %}
from ..database import Reading, {% if not cookiecutter.use_redis %}Record, {% endif %}Session
from ..errors import {% if cookiecutter.use_redis %}Problem, {% endif %}problems
from ..pagination import Page
from . import {% if cookiecutter.use_redis %}cached, {% endif %}service
from .models import Item
from .schemas import ItemCreate, ItemQuery, ItemRead, ItemUpdate

Content = TypeVar("Content")

router = APIRouter(prefix="/items", tags=["items"], responses=problems(401))

IfMatch = Annotated[
    list[Annotated[str, Field(max_length=200)]] | None,
    Header(description="ETag that the item must still have."),
]
IfNoneMatch = Annotated[
    list[Annotated[str, Field(max_length=8000)]] | None,
    Header(description="ETags that the client has already."),
]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Not Modified"}}


@router.post("", status_code=201, response_model=ItemRead, responses=problems(403))
async def create_item(
    data: ItemCreate, user: CurrentUser, session: Session, response: Response
) -> Mapping[str, Any]:
    """Make an item of the caller."""
    item = await service.create_item(session, user.id, data)
    response.headers["Location"] = f"/api/v1/items/{item['id']}"
    response.headers["ETag"] = service.etag(item["version"])
    return item

{% if cookiecutter.use_redis %}
@router.get("", response_model=Page[ItemRead], responses=NOT_MODIFIED)
async def list_items(
    page: Annotated[ItemQuery, Query()],
    user_id: CurrentUserId,
    reader: Reading,
    cache: RequestCache,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> Page[ItemRead] | Response:
    """The caller's items."""
    found = await cached.list_items(cache, reader, user_id, page)
    return _unless_known(found.value, found.etag, response, if_none_match)


@router.get("/{item_id}", response_model=ItemRead, responses={**NOT_MODIFIED, **problems(404)})
async def read_item(
    item_id: UUID,
    user_id: CurrentUserId,
    reader: Reading,
    cache: RequestCache,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> ItemRead | Response:
    """One item of the caller, with its ETag."""
    found = (await cached.get_item(cache, reader, user_id, item_id)).value
    if found is None:
        raise Problem(404, "No such item.")
    etag, item = found
    return _unless_known(item, etag, response, if_none_match)
{% else %}
@router.get("", response_model=Page[ItemRead])
async def list_items(
    page: Annotated[ItemQuery, Query()], user: CurrentUser, reader: Reading
) -> dict[str, object]:
    """The caller's items."""
    items, next_cursor = await service.list_items(reader, user.id, page)
    return {"items": items, "next_cursor": next_cursor}


@router.get("/{item_id}", response_model=ItemRead, responses={**NOT_MODIFIED, **problems(404)})
async def read_item(
    item_id: UUID,
    user: CurrentUser,
    reader: Reading,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> Record | Response:
    """One item of the caller, with its ETag."""
    item = await service.read_item(reader, user.id, item_id)
    return _unless_known(item, service.etag(item.version), response, if_none_match)
{% endif %}

@router.patch("/{item_id}", response_model=ItemRead, responses=problems(403, 404, 409, 412))
async def update_item(
    item_id: UUID,
    data: ItemUpdate,
    user: CurrentUser,
    session: Session,
    response: Response,
    if_match: IfMatch = None,
) -> Item:
    """Change an item of the caller; with If-Match only if nobody else has."""
    item = await service.update_item(session, user.id, item_id, data, _combined(if_match))
    response.headers["ETag"] = service.etag(item.version)
    return item


@router.delete("/{item_id}", status_code=204, responses=problems(403, 404, 409, 412))
async def delete_item(
    item_id: UUID, user: CurrentUser, session: Session, if_match: IfMatch = None
) -> None:
    """Delete an item of the caller; with If-Match only if nobody else has changed it."""
    await service.delete_item(session, user.id, item_id, _combined(if_match))


def _combined(lines: list[str] | None) -> str | None:
    # Several lines of a header mean the same as one with all their elements (RFC 9110 section 5.3).
    return None if lines is None else ", ".join(lines)


def _unless_known(
    content: Content, etag: str, response: Response, if_none_match: list[str] | None
) -> Content | Response:
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known = _combined(if_none_match)
    if known is not None and service.matches(known, etag, weak=True):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return content
