"""Keys and times of all rows."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.items.models import Tag

NOON = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5)))


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
