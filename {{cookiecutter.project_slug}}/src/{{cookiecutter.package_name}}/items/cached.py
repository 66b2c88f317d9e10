"""Reading items through the cache."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from ..cache.store import cached
from ..errors import Problem
from ..pagination import Page
from . import service
from .schemas import ItemQuery, ItemRead


@cached(Page[ItemRead], namespace=service.namespace, key=ItemQuery.model_dump_json)
async def list_items(session: AsyncSession, owner_id: UUID, page: ItemQuery) -> Page[ItemRead]:
    """A page of the owner's items."""
    items, next_cursor = await service.list_items(session, owner_id, page)
    read = [ItemRead.model_validate(item) for item in items]
    return Page[ItemRead](items=read, next_cursor=next_cursor)


@cached(tuple[str, ItemRead] | None, namespace=service.namespace, key=str)
async def get_item(
    session: AsyncSession, owner_id: UUID, item_id: UUID
) -> tuple[str, ItemRead] | None:
    """One item of the owner with its ETag, or None if there is none."""
    try:
        item = await service.read_item(session, owner_id, item_id)
    except Problem:
        return None
    return service.etag(item), ItemRead.model_validate(item)
