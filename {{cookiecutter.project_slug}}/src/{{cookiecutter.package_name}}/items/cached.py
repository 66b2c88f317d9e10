"""Reading items through the cache."""

from uuid import UUID

from ..cache.store import cached
from ..database import Reader
from ..errors import Problem
from ..pagination import Page
from . import service
from .schemas import ItemQuery, ItemRead


@cached(Page[ItemRead], namespace=service.namespace, key=ItemQuery.model_dump_json)
async def list_items(reader: Reader, owner_id: UUID, page: ItemQuery) -> Page[ItemRead]:
    """A page of the owner's items."""
    items, next_cursor = await service.list_items(reader, owner_id, page)
    read = [ItemRead.model_validate(item) for item in items]
    return Page[ItemRead](items=read, next_cursor=next_cursor)


@cached(tuple[str, ItemRead] | None, namespace=service.namespace, key=str)
async def get_item(reader: Reader, owner_id: UUID, item_id: UUID) -> tuple[str, ItemRead] | None:
    """One item of the owner with its ETag, or None if there is none."""
    try:
        item = await service.read_item(reader, owner_id, item_id)
    except Problem:
        return None
    return service.etag(item.version), ItemRead.model_validate(item)
