"""The cache by itself: what is kept, for how long, and who loads."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from {{ cookiecutter.package_name }}.cache import client, store
from {{ cookiecutter.package_name }}.cache.client import Client, Redis
from {{ cookiecutter.package_name }}.cache.store import Cache

from support import NOWHERE, settings_for

KIND: TypeAdapter[str | None] = TypeAdapter(str | None)
TTL = 60

Replica = Callable[[], Cache]


class Source:
    """Where values are loaded from; closed, it keeps those who load waiting."""

    def __init__(self, *values: str | None) -> None:
        self.values = list(values)
        self.loads = 0
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def load(self) -> str | None:
        """The next value, and in the end the last one again and again."""
        self.loads += 1
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        self.begun.set()
        await self.open.wait()
        return value

    def get(self, cache: Cache, key: str = "key") -> Awaitable[str | None]:
        """Read through a cache."""

        async def get() -> str | None:
            return (await cache.get("things", key, self.load, KIND)).value

        return get()


@pytest.fixture
async def replica(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replica]:
    """Makes the caches of several processes."""
    monkeypatch.setattr(store, "LOAD_SECONDS", 60)
    made = [Redis(settings_for(NOWHERE)) for _ in range(3)]
    unused = iter(made)
    yield lambda: Cache(next(unused), ttl=TTL)
    for redis in made:
        await redis.__aexit__()


@pytest.fixture
def cache(replica: Replica) -> Cache:
    """The cache of a process."""
    return replica()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass."""
    present = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: present() + seconds)


async def test_value_is_loaded_once_for_all_replicas(replica: Replica) -> None:
    source = Source("one", "two")

    assert [await source.get(cache) for cache in (replica(), replica())] == ["one", "one"]
    assert await source.get(replica(), key="other") == "two"


async def test_forgotten_value_is_loaded_anew(replica: Replica) -> None:
    source, here, there = Source("old", "new"), replica(), replica()
    await source.get(here)

    await there.forget("things", "others")

    assert await source.get(here) == "new"


async def test_change_that_redis_missed_is_not_taken_for_told(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, source = replica(), Source("one", "two")
    call, told, answered = cache._redis.call, asyncio.Event(), asyncio.Event()

    async def slowly(command: Callable[[client.Pipeline], object]) -> None:
        await call(command)
        told.set()
        await answered.wait()

    async def in_vain(_: object) -> None:
        raise client.UnavailableError

    monkeypatch.setattr(cache._redis, "call", slowly)
    first = asyncio.create_task(cache.forget("things"))
    await told.wait()
    assert await source.get(replica()) == "one"
    monkeypatch.setattr(cache._redis, "call", in_vain)
    await cache.forget("things")
    monkeypatch.setattr(cache._redis, "call", call)
    answered.set()
    await first

    assert await source.get(cache) == "two"


async def test_value_loaded_before_a_change_is_not_taken_for_fresh(cache: Cache) -> None:
    source = Source("old", "new")
    source.open.clear()
    reader = asyncio.ensure_future(source.get(cache))
    await source.begun.wait()

    await cache.forget("things")
    source.open.set()

    assert await reader == "old"  # it had begun before the change
    assert await source.get(cache) == "new"


async def test_one_loads_while_the_others_wait(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, here, there = Source("one", "two"), replica(), replica()
    read, asked = Cache._read, []

    async def note(*arguments: Any) -> Any:
        kept = await read(*arguments)
        asked.append(asyncio.current_task())
        return kept

    monkeypatch.setattr(Cache, "_read", note)
    source.open.clear()
    readers = [asyncio.ensure_future(source.get(here))]
    await source.begun.wait()
    readers += [asyncio.ensure_future(source.get(cache)) for cache in (here, there, here, there)]
    # Until all have seen that there is none, and one that waits for the other process looks again.
    while set(asked) != set(readers) or len(asked) == len(readers):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    source.open.set()

    assert set(await asyncio.gather(*readers)) == {"one"}
    assert source.loads == 1


async def test_error_is_for_the_one_who_loads(cache: Cache) -> None:
    source = Source("one")
    failing = asyncio.Event()

    async def fail() -> str | None:
        failing.set()
        await source.begun.wait()
        raise LookupError

    first = asyncio.ensure_future(cache.get("things", "key", fail, KIND))
    await failing.wait()
    second = asyncio.ensure_future(source.get(cache))
    source.begun.set()

    with pytest.raises(LookupError):
        await first
    assert await second == "one"


async def test_next_one_loads_when_the_one_who_loads_gives_up(cache: Cache) -> None:
    source = Source("one", "two")
    source.open.clear()
    leader = asyncio.ensure_future(source.get(cache))
    await source.begun.wait()
    readers = [asyncio.ensure_future(source.get(cache)) for _ in range(5)]
    await asyncio.sleep(0.01)  # they have asked Redis, or else the first of them is the next

    leader.cancel()
    source.open.set()

    assert set(await asyncio.gather(*readers)) == {"two"}
    assert source.loads == 2


async def test_one_who_loads_for_long_is_not_waited_for(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOAD_SECONDS", 0.02)
    source, other = Source("slow"), Source("own")
    source.open.clear()
    reader = asyncio.ensure_future(source.get(cache))
    await source.begun.wait()

    assert await other.get(cache) == "own"

    source.open.set()
    assert await reader == "slow"


@pytest.mark.parametrize("kept", ["{version} too few", "{version} a b c\n1", "{version} a x\n1"])
async def test_entry_that_cannot_be_read_is_loaded_anew(
    cache: Cache, redis: Client, kept: str
) -> None:
    source = Source("one", "two")
    await source.get(cache)
    name, version_name = sorted(map(str, await redis.keys("*:things*")), key=len, reverse=True)
    version = await redis.get(version_name)

    await redis.set(name, kept.format(version=version))

    assert await source.get(cache) == "two"


async def test_old_value_serves_while_a_new_one_is_loaded(
    replica: Replica, later: Callable[[float], None]
) -> None:
    source, here, there = Source("old", "new"), replica(), replica()
    await source.get(here)
    later(TTL * 1.2)
    source.begun.clear()
    source.open.clear()
    reader = asyncio.ensure_future(source.get(here))
    await source.begun.wait()

    assert [await source.get(here), await source.get(there)] == ["old", "old"]

    source.open.set()
    assert [await reader, await source.get(there)] == ["new", "new"]


async def test_that_there_is_none_is_kept_for_a_shorter_time(
    cache: Cache, later: Callable[[float], None]
) -> None:
    source = Source(None, "one", "two")

    assert [await source.get(cache), await source.get(cache)] == [None, None]
    later(store.NEGATIVE_TTL * 1.2)
    assert await source.get(cache) == "one"
    later(store.NEGATIVE_TTL * 2.4)
    assert await source.get(cache) == "one"


async def test_what_is_too_long_is_not_kept(cache: Cache) -> None:
    source = Source("x" * store.MAX_LENGTH, "short")

    await source.get(cache)

    assert await source.get(cache) == "short"


@pytest.mark.parametrize("lost", ["*:things", "*:things:*"])
async def test_lost_keys_are_loaded_anew(cache: Cache, redis: Client, lost: str) -> None:
    source = Source("one", "two")
    await source.get(cache)

    assert await redis.delete(*await redis.keys(lost))

    assert await source.get(cache) == "two"


async def test_value_of_another_release_is_loaded_anew(cache: Cache) -> None:
    source = Source("one")
    numbers: TypeAdapter[int] = TypeAdapter(int)

    async def load() -> int:
        return 1

    await source.get(cache)

    assert (await cache.get("things", "key", load, numbers)).value == 1


async def test_replica_that_died_while_loading_is_not_waited_for_long(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, dying = Source("one"), replica()
    source.open.clear()
    reader = asyncio.ensure_future(source.get(dying))
    await source.begun.wait()
    monkeypatch.setattr(store, "LOAD_SECONDS", 0.05)
    waiting = asyncio.ensure_future(source.get(replica()))
    source.begun.clear()
    await source.begun.wait()

    source.open.set()

    assert [await reader, await waiting] == ["one", "one"]
    assert source.loads == 2
