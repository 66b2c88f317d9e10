"""Operations on tags. A renamed or deleted tag is a new version of each of its items."""

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

{% if cookiecutter.use_redis -%}
from ..cache.store import invalidate
{% endif -%}
from ..database import explain_conflict, utcnow
from ..exceptions import NotFoundError
from ..schemas import RequestModel
from .models import Item, Tag
from .schemas import TagName
{%- if cookiecutter.use_redis %}
from .service import cache_namespace
{%- endif %}

CONFLICTS = {"{% if cookiecutter.database == "postgresql" %}uq_tags_name{% else %}tags.name{% endif %}": "A tag with this name exists."}


class TagWrite(RequestModel):
    """A new or changed tag."""

    name: TagName


async def create_tag(session: AsyncSession, data: TagWrite) -> Tag:
    """Create a tag.

    Raises:
        ConflictError: a tag with this name exists.
    """
    tag = Tag(name=data.name)
    session.add(tag)
    with explain_conflict(CONFLICTS):
        await session.flush()
    return tag


async def rename_tag(session: AsyncSession, tag_id: UUID, data: TagWrite) -> Tag:
    """Rename a tag.

    Raises:
        NotFoundError: there is no such tag.
        ConflictError: a tag with this name exists.
    """
    tag = await _get_tag_for_update(session, tag_id)
    tag.name = data.name
    with explain_conflict(CONFLICTS):
        await session.flush()
    return tag


async def delete_tag(session: AsyncSession, tag_id: UUID) -> None:
    """Delete a tag and remove it from all items.

    Raises:
        NotFoundError: there is no such tag.
    """
    await session.delete(await _get_tag_for_update(session, tag_id))
    await session.flush()


async def _get_tag_for_update(session: AsyncSession, tag_id: UUID) -> Tag:
    # Change the items first: requests that change an item lock the item before its tags.
{%- if cookiecutter.use_redis %}
    owner_ids = await session.scalars(
        update(Item)
        .where(Item.tags.any(Tag.id == tag_id))
        .values(version=Item.version + 1, updated_at=utcnow())
        .returning(Item.owner_id)
        .execution_options(synchronize_session=False)
    )
    invalidate(session, *map(cache_namespace, owner_ids.unique()))
{%- else %}
    await session.execute(
        update(Item)
        .where(Item.tags.any(Tag.id == tag_id))
        .values(version=Item.version + 1, updated_at=utcnow())
        .execution_options(synchronize_session=False)
    )
{%- endif %}
    tag = await session.get(Tag, tag_id, with_for_update=True)
    if tag is None:
        raise NotFoundError("Tag not found.")
    return tag
