"""Keys and times of all rows."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import MetaData, select
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from {{ cookiecutter.package_name }}.database import Base, TimestampMixin
from {{ cookiecutter.package_name }}.items.models import Tag

NOON = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5)))


class Counter(TimestampMixin, Base):
    """A row with an integer key, in a table that the migrations do not know."""

    __tablename__ = "counters"
    metadata = MetaData()

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


async def test_moment_comes_back_in_utc(session: AsyncSession) -> None:
    session.add(Tag(name="work", created_at=NOON))
    await session.flush()

    stored = await session.scalar(select(Tag.created_at).where(Tag.created_at == NOON))

    assert stored == NOON
    assert stored.tzinfo is UTC


async def test_moment_without_time_zone_is_refused(session: AsyncSession) -> None:
    session.add(Tag(name="work", created_at=NOON.replace(tzinfo=None)))

    with pytest.raises(StatementError, match="without a time zone"):
        await session.flush()


async def test_keys_sort_by_creation_and_changes_move_the_time_of_change(
    session: AsyncSession,
) -> None:
    for name in "cabd":
        session.add(Tag(name=name, created_at=NOON, updated_at=NOON))
        await session.flush()
    tags = (await session.scalars(select(Tag).order_by(Tag.id))).all()
    assert [tag.name for tag in tags] == ["c", "a", "b", "d"]
    assert {tag.id.version for tag in tags} == {7}  # RFC 9562

    tags[0].name = "e"
    await session.flush()

    assert tags[0].created_at == tags[1].updated_at == NOON < tags[0].updated_at


async def test_times_of_a_new_row_are_equal_whatever_its_key_is(session: AsyncSession) -> None:
    await (await session.connection()).run_sync(Counter.metadata.create_all)
    counter, tag = Counter(), Tag(name="work")
    session.add_all([counter, tag])
    await session.flush()

    assert counter.id == 1
    assert counter.updated_at == counter.created_at
    assert tag.updated_at == tag.created_at

    counter.value += 1
    await session.flush()

    assert counter.updated_at > counter.created_at
