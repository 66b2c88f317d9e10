"""The rules of items: everybody sees and changes their own only."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, func, select
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy.dialects.postgresql import insert
{%- else %}
from sqlalchemy.dialects.sqlite import insert
{%- endif %}
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError

{% if cookiecutter.use_redis -%}
from ..cache.store import forget
{% endif -%}
from ..database import Reader, Record, utcnow
from ..errors import Problem
from ..pagination import paginate, shown
from .models import Item, Tag, item_tags
from .schemas import ItemCreate, ItemQuery, ItemRead, ItemUpdate

_items = Item.__table__.c
# The tags of an item as one text: what is only shown is read as columns, in one statement.
_tags_text = (
    select(func.aggregate_strings(Tag.__table__.c.name, " "))
    .join(item_tags, item_tags.c.tag_id == Tag.__table__.c.id)
    .where(item_tags.c.item_id == _items.id)
    .scalar_subquery()
)
_READ = select(*shown(Item, ItemRead), _items.version, _tags_text.label("tags")).where(
    _items.owner_id == bindparam("owner_id")
)
_READ_ONE = _READ.where(_items.id == bindparam("item_id"))
# A new row is shown as the insert returns it, in half the time that an object takes.
_CREATE = insert(Item.metadata.tables["items"]).returning(*shown(Item, ItemRead), _items.version)

{% if cookiecutter.use_redis %}
def namespace(owner_id: UUID) -> str:
    """What the cache keeps of an owner's items, and forgets when one of them changes."""
    return f"items:{owner_id}"

{% endif %}
def etag(version: int) -> str:
    """The strong validator of a version of an item (RFC 9110 section 8.8.3)."""
    return f'"{version}"'


async def create_item(session: AsyncSession, owner_id: UUID, data: ItemCreate) -> Mapping[str, Any]:
    """Make an item of the owner; returns what is shown of it, and its version."""
    tags = await _tags(session, data.tags)
    values = {"owner_id": owner_id, "version": 1, **data.model_dump(exclude={"tags"})}
    item = (await session.execute(_CREATE, values)).one()
    if tags:
        links = [{"item_id": item.id, "tag_id": tag.id} for tag in tags]
        await session.execute(item_tags.insert(), links)
{%- if cookiecutter.use_redis %}
    forget(session, namespace(owner_id))
{%- endif %}
    return {**item._mapping, "tags": tags}


async def list_items(
    reader: Reader, owner_id: UUID, page: ItemQuery
) -> tuple[Sequence[Record], str | None]:
    """The owner's items that match, and the cursor of the next page."""
    statement = _READ
    if page.q:
        statement = statement.where(Item.title.icontains(page.q, autoescape=True))
    if page.tag:
        statement = statement.where(Item.tags.any(Tag.name == page.tag))
    return await paginate(reader, statement, page, owner_id=owner_id)


async def read_item(reader: Reader, owner_id: UUID, item_id: UUID) -> Record:
    """One item of the owner, to be shown.

    Raises:
        Problem: as `get_item`.
    """
    item = await reader.row(_READ_ONE, owner_id=owner_id, item_id=item_id)
    if item is None:
        raise Problem(404, "No such item.")
    return item


async def get_item(session: AsyncSession, owner_id: UUID, item_id: UUID) -> Item:
    """One item of the owner, to be changed.

    Raises:
        Problem: 404, there is none, or it is somebody else's, which is not told apart.
    """
    item = await session.scalar(
        select(Item)
        .where(Item.id == item_id, Item.owner_id == owner_id)
        .options(selectinload(Item.tags))
    )
    if item is None:
        raise Problem(404, "No such item.")
    return item


async def update_item(
    session: AsyncSession, owner_id: UUID, item_id: UUID, data: ItemUpdate, if_match: str | None
) -> Item:
    """Change an item.

    Args:
        if_match: the If-Match header; None changes whatever version there is.

    Raises:
        Problem: 404, no such item; 412, it has changed since the version that if_match names;
            409, it changed at this moment, and no version was named.
    """
    item = await get_item(session, owner_id, item_id)
    _check_version(item, if_match)
    changes = data.model_dump(exclude_unset=True)
    if "tags" in changes:
        changes["tags"] = await _tags(session, changes["tags"])
    for name, value in changes.items():
        setattr(item, name, value)
    item.updated_at = utcnow()  # a change of the tags alone is a new version, too
    try:
        await session.flush()
    except StaleDataError:
        raise _changed(if_match) from None
{%- if cookiecutter.use_redis %}
    forget(session, namespace(owner_id))
{%- endif %}
    return item


async def delete_item(
    session: AsyncSession, owner_id: UUID, item_id: UUID, if_match: str | None
) -> None:
    """Delete an item.

    Raises:
        Problem: as `update_item`.
    """
    item = await get_item(session, owner_id, item_id)
    _check_version(item, if_match)
    # The database deletes what refers to the item. In the order of the ORM, which begins there, a
    # deletion and a change that run at the same time could wait for each other.
    deleted = await session.scalar(
        delete(Item).where(Item.id == item.id, Item.version == item.version).returning(Item.id)
    )
    if deleted is None:
        raise _changed(if_match)
{%- if cookiecutter.use_redis %}
    forget(session, namespace(owner_id))
{%- endif %}


def matches(header: str, etag: str, *, weak: bool = False) -> bool:
    """Whether If-Match or If-None-Match names this ETag (RFC 9110 section 13.1).

    Args:
        weak: so does a weak validator, which proxies that compress make of a strong one; it is
            for If-None-Match only.
    """
    tags = [tag.strip() for tag in header.split(",")]
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return "*" in tags or etag in tags


def _check_version(item: Item, if_match: str | None) -> None:
    if if_match is not None and not matches(if_match, etag(item.version)):
        raise _changed(if_match)


def _changed(if_match: str | None) -> Problem:
    # 412 is about a condition that the request has named (RFC 9110 section 15.5.13).
    status = 409 if if_match is None else 412
    return Problem(status, "The item has changed in the meantime; read it again.")


async def _tags(session: AsyncSession, names: list[str]) -> list[Tag]:
    if not names:
        return []
    # Two requests may bring the same new tag at once. Sorted names lock in the same order.
    await session.execute(
        insert(Tag).on_conflict_do_nothing(index_elements=[Tag.name]),
        [{"name": name} for name in names],
    )
    found = await session.scalars(select(Tag).where(Tag.name.in_(names)).order_by(Tag.name))
    return list(found)
