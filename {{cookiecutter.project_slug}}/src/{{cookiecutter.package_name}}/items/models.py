"""Items and their tags."""

from uuid import UUID

from sqlalchemy import Column, ForeignKey, Index, String, Table
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..database import Base, TimestampMixin, UuidKeyMixin

item_tags = Table(
    "item_tags",
    Base.metadata,
    Column("item_id", ForeignKey("items.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Tag(UuidKeyMixin, TimestampMixin, Base):
    """A word that items of all owners may share."""

    __tablename__ = "tags"

    name: Mapped[str] = mapped_column(String(50), unique=True)


class Item(UuidKeyMixin, TimestampMixin, Base):
    """An item of a user. `version` counts its changes."""

    __tablename__ = "items"

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(String(2000))
    version: Mapped[int] = mapped_column()

    tags: Mapped[list[Tag]] = relationship(
        secondary=item_tags, order_by=Tag.name, lazy="raise", passive_deletes=True
    )

    @property
    def tag_names(self) -> list[str]:
        """The names of the tags, in alphabetical order."""
        return [tag.name for tag in self.tags]

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - the base declares it so
    # An index for each order of the list, which is always one owner's.
    __table_args__ = (
        Index("ix_items_owner_id_created_at_id", "owner_id", "created_at", "id"),
        Index("ix_items_owner_id_title_id", "owner_id", "title", "id"),
    )
