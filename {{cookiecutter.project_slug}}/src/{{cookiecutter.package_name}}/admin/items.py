"""Pages of the sample resource."""

import re
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from wtforms import Form, HiddenField, StringField, TextAreaField

from ..auth.models import User
from ..exceptions import ConflictError, NotFoundError
from ..items import models, service
from ..items.schemas import ItemUpdate
from .transaction import AdminTransaction, transaction
from .views import TEXT, AdminView, ReadModel, changed


class Item(ReadModel):
    """An item, with the email of its owner and the names of its tags."""

    __table__ = (
        select(
            models.Item.id,
            models.Item.title,
            User.email,
            select(func.aggregate_strings(models.Tag.name, ", "))
            .join(models.item_tags, models.item_tags.c.tag_id == models.Tag.id)
            .where(models.item_tags.c.item_id == models.Item.id)
            .scalar_subquery()
            .label("tags"),
            models.Item.description,
            models.Item.version,
            models.Item.created_at,
            models.Item.updated_at,
        )
        .join(User, User.id == models.Item.owner_id)
        .subquery("item_rows")
    )


class ItemForm(Form):  # type: ignore[misc]
    """An item; `version` detects concurrent changes."""

    version = HiddenField()
    title = StringField("Title", render_kw=TEXT)
    description = TextAreaField("Description", default="", render_kw={**TEXT, "rows": 5})
    tags = StringField("Tags", default="", description="Separated by commas.", render_kw=TEXT)


class ItemView(AdminView, model=Item):
    """Items of all accounts, which their owners create."""

    icon = "fa-solid fa-box"
    can_create = False
    column_list = ("title", "email", "tags", "created_at", "updated_at")
    column_searchable_list = ("title", "email")
    column_sortable_list = ("title", "email", "created_at", "updated_at")
    column_default_sort = ("created_at", True)
    form = ItemForm

    async def update_row(self, request: Request, key: UUID, data: dict[str, Any]) -> models.Item:
        description = data["description"].replace("\r\n", "\n") or None
        async with transaction(request) as tx:
            item = await _get_item(tx.session, key)
            changes = changed(item, {"title": data["title"], "description": description})
            tag_names = [name for name in re.split(r"[\s,]+", data["tags"]) if name]
            if set(tag_names) != set(item.tag_names):
                changes["tags"] = tag_names
            if changes:
                if data["version"] != str(item.version):
                    raise ConflictError("The item has changed in the meantime; load it again.")
                await service.update_item(tx.session, item, ItemUpdate(**changes))
            tx.record("change", self.identity, item.id, changes)
        return item

    async def delete_row(self, tx: AdminTransaction, key: UUID) -> None:
        await service.delete_item(tx.session, await _get_item(tx.session, key))


async def _get_item(session: AsyncSession, key: UUID) -> models.Item:
    owner_id = await session.scalar(select(models.Item.owner_id).where(models.Item.id == key))
    if owner_id is None:
        raise NotFoundError("Item not found.")
    return await service.get_item(session, owner_id, key, for_update=True)
