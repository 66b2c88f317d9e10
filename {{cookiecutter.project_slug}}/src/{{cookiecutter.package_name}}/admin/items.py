"""Pages of the sample resource."""

import re
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from wtforms import Form, HiddenField, StringField, TextAreaField

from ..auth import models as auth
{%- if cookiecutter.use_redis %}
from ..cache.store import forget
{%- endif %}
from ..database import explain_conflict, utcnow
from ..exceptions import ConflictError, NotFoundError
from ..items import models as stored
from ..items import service as items
from ..items.schemas import ItemUpdate, TagName
from ..schemas import RequestModel
from .models import ReadModel
from .transaction import AdminTransaction
from .views import TEXT, AdminView, changed

Row = TypeVar("Row", stored.Item, stored.Tag)

{% if cookiecutter.database == "postgresql" -%}
TAG_CONFLICTS = {"uq_tags_name": "There is a tag of this name already."}
{%- else -%}
TAG_CONFLICTS = {"tags.name": "There is a tag of this name already."}
{%- endif %}


class Item(ReadModel):
    """An item, whose it is, and the names of its tags."""

    __table__ = (
        select(
            stored.Item.id,
            stored.Item.title,
            auth.User.email,
            select(func.aggregate_strings(stored.Tag.name, ", "))
            .join(stored.item_tags, stored.item_tags.c.tag_id == stored.Tag.id)
            .where(stored.item_tags.c.item_id == stored.Item.id)
            .scalar_subquery()
            .label("tags"),
            stored.Item.description,
            stored.Item.version,
            stored.Item.created_at,
            stored.Item.updated_at,
        )
        .join(auth.User, auth.User.id == stored.Item.owner_id)
        .subquery("shown_items")
    )


class Tag(ReadModel):
    """A tag, and how many items have it."""

    __table__ = select(
        stored.Tag.id,
        stored.Tag.name,
        select(func.count())
        .where(stored.item_tags.c.tag_id == stored.Tag.id)
        .scalar_subquery()
        .label("items"),
        stored.Tag.created_at,
    ).subquery("shown_tags")


class TagWrite(RequestModel):
    """A tag."""

    name: TagName


class ItemForm(Form):  # type: ignore[misc]
    """An item, and the version of it that the form was filled with."""

    version = HiddenField()
    title = StringField("Title", render_kw=TEXT)
    description = TextAreaField("Description", render_kw={**TEXT, "rows": 5})
    tags = StringField("Tags", description="Separated by commas.", render_kw=TEXT)


class TagForm(Form):  # type: ignore[misc]
    """A tag."""

    name = StringField("Name", render_kw=TEXT)


class ItemView(AdminView, model=Item):
    """Items of all accounts."""

    icon = "fa-solid fa-box"
    can_create = False  # an item is made by its owner
    column_list = ("title", "email", "tags", "created_at", "updated_at")
    column_searchable_list = ("title", "email")
    column_sortable_list = ("title", "email", "created_at", "updated_at")
    column_default_sort = ("created_at", True)
    form = ItemForm

    async def change(self, work: AdminTransaction, key: UUID, data: dict[str, Any]) -> stored.Item:
        """Change an item, unless it has changed since the form was filled."""
        session = await work.begin()
        owner_id = await _owner_id(session, key)
        item = await items.get_item(session, owner_id, key, for_update=True)
        given = {
            "title": data["title"],
            "description": data["description"].replace("\r\n", "\n") or None,
        }
        changes = changed(item, given)
        tags = [name for name in re.split(r"[\s,]+", data["tags"]) if name]
        if set(tags) != {tag.name for tag in item.tags}:
            changes["tags"] = tags
        if changes:
            if data["version"] != str(item.version):
                raise ConflictError("The item has changed in the meantime; read it again.")
            await items.update_item(session, item, ItemUpdate(**changes))
        work.record("change", self.identity, key, changes)
        return item

    async def remove(self, work: AdminTransaction, key: UUID) -> None:
        """Delete an item."""
        session = await work.begin()
        owner_id = await _owner_id(session, key)
        item = await items.get_item(session, owner_id, key, for_update=True)
        await items.delete_item(session, item)


class TagView(AdminView, model=Tag):
    """Tags; those of an item are part of its version."""

    icon = "fa-solid fa-tag"
    column_list = ("name", "items", "created_at")
    column_searchable_list = ("name",)
    column_sortable_list = ("name", "items", "created_at")
    column_default_sort = "name"
    form = TagForm

    async def add(self, work: AdminTransaction, data: dict[str, Any]) -> stored.Tag:
        """Make a tag."""
        tag = stored.Tag(name=TagWrite(**data).name)
        session = await work.begin()
        session.add(tag)
        await _flush(session)
        return tag

    async def change(self, work: AdminTransaction, key: UUID, data: dict[str, Any]) -> stored.Tag:
        """Rename a tag."""
        name = TagWrite(**data).name
        session = await work.begin()
        tag = await _existing(session, stored.Tag, key)
        # Before the tag, as requests that change an item lock the item first.
        await _touch_items(session, key)
        tag.name = name
        await _flush(session)
        work.record("change", self.identity, key, ["name"])
        return tag

    async def remove(self, work: AdminTransaction, key: UUID) -> None:
        """Take a tag from all items."""
        session = await work.begin()
        tag = await _existing(session, stored.Tag, key)
        await _touch_items(session, key)
        await session.delete(tag)
        await session.flush()


VIEWS: tuple[type[AdminView], ...] = (ItemView, TagView)


async def _existing(session: AsyncSession, model: type[Row], key: UUID) -> Row:
    row = await session.get(model, key)
    if row is None:
        raise NotFoundError(f"{model.__name__} not found.")
    return row


async def _owner_id(session: AsyncSession, key: UUID) -> UUID:
    return (await _existing(session, stored.Item, key)).owner_id


async def _flush(session: AsyncSession) -> None:
    with explain_conflict(TAG_CONFLICTS):
        await session.flush()


async def _touch_items(session: AsyncSession, key: UUID) -> None:
    # Clients would otherwise take what they have of these items for the present version.
{%- if cookiecutter.use_redis %}
    owners = await session.scalars(
        update(stored.Item)
        .where(stored.Item.tags.any(stored.Tag.id == key))
        .values(version=stored.Item.version + 1, updated_at=utcnow())
        .returning(stored.Item.owner_id)
        .execution_options(synchronize_session=False)
    )
    forget(session, *map(items.cache_namespace, owners.unique()))
{%- else %}
    await session.execute(
        update(stored.Item)
        .where(stored.Item.tags.any(stored.Tag.id == key))
        .values(version=stored.Item.version + 1, updated_at=utcnow())
        .execution_options(synchronize_session=False)
    )
{%- endif %}
