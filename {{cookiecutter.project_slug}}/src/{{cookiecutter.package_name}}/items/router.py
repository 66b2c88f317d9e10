"""Routes under /items."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, Security

from ..auth.dependencies import get_current_principal{% if cookiecutter.use_redis %}, get_current_user_id{% endif %}
from ..auth.principal import Principal
from ..auth.scopes import define_scopes
{%- if cookiecutter.use_redis %}
from ..dependencies import CacheDep, DatabaseDep, DbSession, ReadSession
{%- else %}
from ..dependencies import DbSession, ReadSession
{%- endif %}
from ..errors import problem_responses
from ..idempotency.route import IdempotentRoute, begin
from ..pagination import Page{% if not cookiecutter.use_redis %}, RowPage{% endif %}
from ..preconditions import NOT_MODIFIED, IfMatch, check_if_match, etag_of{% if cookiecutter.use_redis %}, json_response{% endif %}, set_etag
from . import service
from .models import Item
from .schemas import ItemCreate, ItemQuery, ItemRead, ItemUpdate

router = APIRouter(
    prefix="/api/v1/items",
    tags=["items"],
    route_class=IdempotentRoute,
    responses=problem_responses(401, 403),
)

READ, WRITE = define_scopes("items")
Reader = Annotated[Principal, Security(get_current_principal, scopes=[READ])]
Writer = Annotated[Principal, Security(get_current_principal, scopes=[WRITE])]
Idempotent = Security(begin, scopes=[WRITE])
{%- if cookiecutter.use_redis %}
ReaderId = Annotated[UUID, Security(get_current_user_id, scopes=[READ])]
{%- endif %}


@router.post(
    "",
    status_code=201,
    response_model=ItemRead,
    dependencies=[Idempotent],
    responses=problem_responses(409),
)
async def create_item(
    data: ItemCreate, principal: Writer, session: DbSession, response: Response
) -> Item:
    """Create an item that belongs to the caller."""
    item = await service.create_item(session, principal.id, data)
    response.headers["Location"] = f"/api/v1/items/{item.id}"
    response.headers["ETag"] = etag_of(item.version)
    return item


{% if cookiecutter.use_redis -%}
@router.get("", response_model=Page[ItemRead], responses=NOT_MODIFIED)
async def list_items(
    query: Annotated[ItemQuery, Query()],
    user_id: ReaderId,
    database: DatabaseDep,
    cache: CacheDep,
) -> Response:
    """List the caller's items."""

    async def load() -> str:
        async with database.read_session() as session:
            page = await service.list_items(session, user_id, query)
        return Page[ItemRead].model_validate(page).model_dump_json()

    namespace = service.cache_namespace(user_id)
    body = await cache.get_or_load(namespace, query.model_dump_json(), load)
    return json_response(body)
{%- else -%}
@router.get("", response_model=Page[ItemRead])
async def list_items(
    query: Annotated[ItemQuery, Query()], principal: Reader, session: ReadSession
) -> RowPage:
    """List the caller's items."""
    return await service.list_items(session, principal.id, query)
{%- endif %}


@router.get(
    "/{item_id}", response_model=ItemRead, responses={**NOT_MODIFIED, **problem_responses(404)}
)
async def read_item(
    item_id: UUID, principal: Reader, session: ReadSession, response: Response
) -> Item:
    """Return an item of the caller, with its ETag."""
    item = await service.get_item(session, principal.id, item_id)
    set_etag(response, etag_of(item.version))
    return item


@router.patch("/{item_id}", response_model=ItemRead, responses=problem_responses(404, 412))
async def update_item(
    item_id: UUID,
    data: ItemUpdate,
    principal: Writer,
    session: DbSession,
    response: Response,
    if_match: IfMatch = None,
) -> Item:
    """Change an item of the caller; with If-Match, only that version."""
    item = await service.get_item(session, principal.id, item_id, for_update=True)
    check_if_match(if_match, etag_of(item.version))
    item = await service.update_item(session, item, data)
    response.headers["ETag"] = etag_of(item.version)
    return item


@router.delete("/{item_id}", status_code=204, responses=problem_responses(404, 409, 412))
async def delete_item(
    item_id: UUID, principal: Writer, session: DbSession, if_match: IfMatch = None
) -> None:
    """Delete an item of the caller; with If-Match, only that version."""
    item = await service.get_item(session, principal.id, item_id, for_update=True)
    check_if_match(if_match, etag_of(item.version))
    await service.delete_item(session, item)
