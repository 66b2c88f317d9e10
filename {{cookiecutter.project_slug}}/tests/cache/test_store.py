"""The cache: expiry, invalidation, and loads that callers share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from {{ cookiecutter.package_name }}.cache import store
from {{ cookiecutter.package_name }}.cache.client import (
    Client,
    RedisClient,
    RedisUnavailableError,
)
from {{ cookiecutter.package_name }}.cache.store import Cache

from support import NOWHERE, settings_for, until_set

Replica = Callable[[], "ObservedCache"]


class Source:
    """Where values are loaded from; a closed source blocks."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)
        self.loads = 0
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def load(self) -> str:
        """Return the next value; the last one again and again."""
        self.loads += 1
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        self.begun.set()
        await self.open.wait()
        return value

    async def get(self, cache: Cache, key: str = "key") -> str:
        """Read through a cache."""
        return await cache.get_or_load("things", key, self.load)


class ObservedRedis(RedisClient):
    """A client that records which task has used it, and can confirm late or fail."""

    def __init__(self) -> None:
        super().__init__(settings_for(NOWHERE))
        self.users: list[asyncio.Task[Any] | None] = []
        self.is_down = False
        self.confirmed = asyncio.Event()
        self.confirmed.set()

    @asynccontextmanager
    async def available(self) -> AsyncIterator[Client]:
        """Yield the client."""
        if self.is_down:
            raise RedisUnavailableError
        async with super().available() as redis:
            yield redis
        self.users.append(asyncio.current_task())
        await self.confirmed.wait()


class ObservedCache(Cache):
    """A cache on such a client."""

    def __init__(self, redis: ObservedRedis) -> None:
        super().__init__(redis, ttl=60)
        self.redis = redis


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks do."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def replica(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replica]:
    """Makes the caches of several processes."""
    monkeypatch.setattr(store, "LOAD_TIMEOUT", 60)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ObservedRedis()) for _ in range(3)]
        caches = [await stack.enter_async_context(ObservedCache(redis)) for redis in clients]
        yield iter(caches).__next__


@pytest.fixture
def cache(replica: Replica) -> ObservedCache:
    """The cache of a process."""
    return replica()


async def test_value_is_loaded_once_for_all_replicas(replica: Replica) -> None:
    source = Source("one", "two")

    assert [await source.get(cache) for cache in (replica(), replica())] == ["one", "one"]
    assert await source.get(replica(), key="other") == "two"


async def test_empty_value_is_cached(cache: Cache) -> None:
    source = Source("", "one")

    assert [await source.get(cache), await source.get(cache)] == ["", ""]


async def test_values_expire_at_different_times(cache: Cache, redis: Client) -> None:
    source = Source("one")
    for number in range(50):
        await source.get(cache, key=str(number))

    expiries = [await redis.pttl(key) for key in await redis.keys("*:things:*")]

    assert len(expiries) == 50
    assert max(expiries) <= 66_000
    assert max(expiries) - min(expiries) > 3_000


async def test_invalidated_value_is_loaded_again(replica: Replica) -> None:
    source, here, there = Source("old", "new"), replica(), replica()
    await source.get(here)

    await there.invalidate(["things", "others"])

    assert await source.get(here) == "new"


async def test_failed_invalidation_is_not_confirmed_by_an_earlier_one(replica: Replica) -> None:
    cache, source = replica(), Source("one", "two")
    cache.redis.confirmed.clear()
    first = asyncio.create_task(cache.invalidate(["things"]))
    await until(lambda: cache.redis.users == [first])
    assert await source.get(replica()) == "one"

    cache.redis.is_down = True
    await cache.invalidate(["things"])
    cache.redis.is_down = False
    cache.redis.confirmed.set()
    await first

    assert await source.get(cache) == "two"


async def test_value_loaded_before_an_invalidation_is_not_read_after_it(cache: Cache) -> None:
    source = Source("old", "new")
    source.open.clear()
    reader = asyncio.create_task(source.get(cache))
    await until_set(source.begun)

    await cache.invalidate(["things"])
    source.open.set()

    assert await reader == "old"  # it had begun before the change
    assert await source.get(cache) == "new"


async def test_one_caller_loads_while_the_others_wait(replica: Replica) -> None:
    source, here, there = Source("one", "two"), replica(), replica()
    source.open.clear()
    readers = [asyncio.create_task(source.get(here))]
    await until_set(source.begun)
    readers += [asyncio.create_task(source.get(cache)) for cache in (here, there, here, there)]
    # All have missed, and one has tried to lock the value and has polled.
    await until(lambda: {*readers} <= {*here.redis.users, *there.redis.users})
    await until(lambda: any(there.redis.users.count(reader) > 2 for reader in readers))
    source.open.set()

    assert set(await asyncio.gather(*readers)) == {"one"}
    assert source.loads == 1


class FailingSource(Source):
    """A source of an error."""

    async def load(self) -> str:
        """Raise an error."""
        await super().load()
        raise LookupError


async def test_callers_that_share_a_load_share_its_error(cache: ObservedCache) -> None:
    source = FailingSource("")
    source.open.clear()
    readers = [asyncio.create_task(source.get(cache)) for _ in range(20)]
    await until(lambda: {*readers} <= {*cache.redis.users})
    source.open.set()

    errors = await asyncio.gather(*readers, return_exceptions=True)

    assert [type(error) for error in errors] == [LookupError] * 20
    assert source.loads == 1
    assert await Source("one").get(cache) == "one"


async def test_error_of_another_replica_is_not_waited_for(replica: Replica) -> None:
    failing, source, there = FailingSource(""), Source("one"), replica()
    failing.open.clear()
    first = asyncio.create_task(failing.get(replica()))
    await until_set(failing.begun)
    second = asyncio.create_task(source.get(there))
    await until(lambda: there.redis.users.count(second) > 2)
    failing.open.set()

    async with asyncio.timeout(30):
        assert await second == "one"
    with pytest.raises(LookupError):
        await first


async def test_one_caller_loads_after_the_error_of_another_replica(replica: Replica) -> None:
    failing, source = FailingSource(""), Source("one", "two")
    failing.open.clear()
    source.open.clear()
    first = asyncio.create_task(failing.get(replica()))
    await until_set(failing.begun)
    waiting = [replica(), replica()]
    readers = [asyncio.create_task(source.get(cache)) for cache in waiting]
    await until(lambda: all(len(cache.redis.users) > 2 for cache in waiting))
    failing.open.set()
    await until_set(source.begun)
    for cache in waiting:
        cache.redis.users.clear()
    # The other caller has polled, unless it loads too.
    await until(lambda: source.loads > 1 or any(len(cache.redis.users) > 4 for cache in waiting))
    source.open.set()

    assert await asyncio.gather(*readers) == ["one", "one"]
    with pytest.raises(LookupError):
        await first


async def test_caller_that_does_not_wait_leaves_the_lock_of_another_replica(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, there = Source("one", "two"), replica()
    source.open.clear()
    first = asyncio.create_task(source.get(replica()))
    await until_set(source.begun)
    with monkeypatch.context() as patch:
        patch.setattr(store, "LOAD_TIMEOUT", 0.05)
        with pytest.raises(LookupError):
            await FailingSource("").get(replica())

    second = asyncio.create_task(source.get(there))
    await until(lambda: source.loads > 1 or len(there.redis.users) > 4)
    source.open.set()

    assert [await first, await second] == ["one", "one"]


async def test_another_caller_loads_when_the_one_that_loads_is_cancelled(
    cache: ObservedCache,
) -> None:
    source = Source("one", "two")
    source.open.clear()
    leader = asyncio.create_task(source.get(cache))
    await until_set(source.begun)
    readers = [asyncio.create_task(source.get(cache)) for _ in range(5)]
    await until(lambda: {*readers} <= {*cache.redis.users})

    leader.cancel()
    source.open.set()

    assert set(await asyncio.gather(*readers)) == {"two"}
    assert source.loads == 2


async def test_slow_load_is_not_waited_for(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOAD_TIMEOUT", 0.02)
    source, other = Source("slow"), Source("own")
    source.open.clear()
    reader = asyncio.create_task(source.get(cache))
    await until_set(source.begun)

    assert await other.get(cache) == "own"

    source.open.set()
    assert await reader == "slow"


async def test_replica_that_died_while_loading_is_not_waited_for(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("one")
    source.open.clear()
    reader = asyncio.create_task(source.get(replica()))
    await until_set(source.begun)
    monkeypatch.setattr(store, "LOAD_TIMEOUT", 0.05)
    waiting = asyncio.create_task(source.get(replica()))
    await until(lambda: source.loads == 2)

    source.open.set()

    assert [await reader, await waiting] == ["one", "one"]


async def test_long_value_is_not_cached(cache: Cache) -> None:
    source = Source("x" * (store.MAX_LENGTH + 1), "short")

    await source.get(cache)

    assert await source.get(cache) == "short"


@pytest.mark.parametrize("lost", ["*:things", "*:things:*"])
async def test_lost_keys_are_loaded_again(cache: Cache, redis: Client, lost: str) -> None:
    source = Source("one", "two")
    await source.get(cache)

    assert await redis.delete(*await redis.keys(lost))

    assert await source.get(cache) == "two"


async def test_entry_in_another_format_is_loaded_again(cache: Cache, redis: Client) -> None:
    source = Source("one", "two")
    await source.get(cache)
    [name] = await redis.keys("*:things:*")

    await redis.set(name, "unexpected")

    assert await source.get(cache) == "two"
