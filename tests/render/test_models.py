"""Keys and timestamps of rows."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from orders.auth.models import User
from sqlalchemy import select
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession
from support import new_user

from render.counters import Counter

NOON = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5)))


async def test_timestamps_are_loaded_in_utc(session: AsyncSession) -> None:
    session.add(Counter(created_at=NOON))
    await session.flush()

    stored = await session.scalar(select(Counter.created_at).where(Counter.created_at == NOON))

    assert stored == NOON
    assert stored.tzinfo is UTC


async def test_timestamp_without_time_zone_is_rejected(session: AsyncSession) -> None:
    session.add(Counter(created_at=NOON.replace(tzinfo=None)))

    with pytest.raises(StatementError, match="without a time zone"):
        await session.flush()


async def test_keys_sort_by_creation_and_updates_set_updated_at(
    session: AsyncSession,
) -> None:
    for name in "cabd":
        session.add(new_user(full_name=name, created_at=NOON))
        await session.flush()
    users = (await session.scalars(select(User).order_by(User.id))).all()
    assert [user.full_name for user in users] == ["c", "a", "b", "d"]
    assert {user.id.version for user in users} == {7}  # RFC 9562

    users[0].full_name = "e"
    await session.flush()

    assert users[0].created_at == users[1].updated_at == NOON < users[0].updated_at


async def test_timestamps_of_a_new_row_are_equal(session: AsyncSession) -> None:
    counter, user = Counter(), new_user()
    session.add_all([counter, user])
    await session.flush()

    assert isinstance(counter.id, int)
    assert counter.updated_at == counter.created_at
    assert user.updated_at == user.created_at

    counter.value += 1
    await session.flush()

    assert counter.updated_at > counter.created_at
