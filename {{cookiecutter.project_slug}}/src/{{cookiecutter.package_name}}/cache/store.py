"""A cache-aside cache: what was read is kept for a while, and forgotten when it changes.

Each value belongs to a namespace, such as what one user owns, and carries the version of that
namespace. To forget a namespace is to give it another version: a value that was loaded before a
change never counts as fresh, however late it arrives.
"""

import asyncio
import hashlib
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Generic, TypeVar

import structlog
from fastapi import Depends, Request
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import after_commit
from .client import PREFIX, Pipeline, Redis, UnavailableError

log = structlog.stdlib.get_logger(__name__)

Value = TypeVar("Value")

MAX_LENGTH: Final = 262_144  # characters; longer values are not kept
NEGATIVE_TTL: Final = 5.0  # seconds that "there is none" is kept, at most
VERSION_TTL: Final = 86_400  # seconds; what is kept under a lost version is not used
LOAD_SECONDS: Final = 2.0  # that others wait for the one who loads
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Cached(Generic[Value]):
    """A value, its strong validator (RFC 9110 section 8.8.3), and the time until it is fresh."""

    value: Value
    etag: str
    fresh_until: float = 0

    @property
    def is_fresh(self) -> bool:
        """Whether the value may be used without a second thought."""
        return time.time() < self.fresh_until


class Cache:
    """Keeps values as long as their namespace is not forgotten.

    Args:
        ttl: seconds that a value is fresh, give or take a tenth. For as long again it serves those
            who would otherwise wait for somebody who loads it anew.
    """

    def __init__(self, redis: Redis, *, ttl: int) -> None:
        self._redis = redis
        self._ttl = ttl
        self._loading: dict[tuple[str, str], asyncio.Future[Cached[Any] | None]] = {}
        self._untold: dict[str, float] = {}

    async def get(
        self,
        namespace: str,
        key: str,
        load: Callable[[], Awaitable[Value]],
        kind: TypeAdapter[Value],
    ) -> Cached[Value]:
        """The value that is kept, or else what `load` returns: one loads while the others wait.

        Without Redis everybody loads.

        Args:
            key: names the value in its namespace.
            load: may return None for "there is none", which is kept, too, but not for long.
            kind: writes and reads the value.
        """
        name = f"{_version_key(namespace)}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        try:
            if namespace in self._untold:
                raise UnavailableError
            version, found = await self._read(namespace, name, kind)
        except UnavailableError:
            return _pack(await load(), kind)[0]
        if found is not None and found.is_fresh:
            return found
        loading = self._loading.get((name, version))
        if loading is not None:
            if found is not None:
                return found
            await asyncio.wait([loading], timeout=LOAD_SECONDS)
            if not loading.done():
                return _pack(await load(), kind)[0]
            return loading.result() or await self.get(namespace, key, load, kind)
        loading = self._loading[name, version] = asyncio.get_running_loop().create_future()
        try:
            found = await self._refresh(namespace, name, version, found, load, kind)
            loading.set_result(found)
        finally:
            del self._loading[name, version]
            if not loading.done():
                loading.set_result(None)  # one of those who wait is next
        return found

    async def forget(self, *namespaces: str) -> None:
        """Use nothing of these namespaces any more that was loaded until now.

        While Redis is away, this process uses nothing of them and goes on trying to tell it. Other
        processes may use what is kept until it is too old.
        """
        # What was kept before a change is too old by the end of this time.
        self._untold |= dict.fromkeys(namespaces, time.monotonic() + 3 * self._ttl)
        try:
            await self._tell(namespaces)
        except BaseException as error:
            log.warning("cache not told of a change", namespaces=namespaces)
            self._redis.repeat(partial(self._tell, namespaces))
            if not isinstance(error, UnavailableError):
                raise

    async def _tell(self, namespaces: Sequence[str]) -> None:
        now = time.monotonic()
        known = {namespace: self._untold.get(namespace, 0) for namespace in namespaces}
        late = [namespace for namespace, end in known.items() if end > now]

        def tell(pipeline: Pipeline) -> None:
            for namespace in late:
                pipeline.set(_version_key(namespace), _new_version(), ex=VERSION_TTL)

        if late:
            await self._redis.call(tell)
        for namespace, end in known.items():
            if self._untold.get(namespace) == end:  # or else it has changed once more meanwhile
                del self._untold[namespace]

    async def _read(
        self, namespace: str, name: str, kind: TypeAdapter[Value]
    ) -> tuple[str, Cached[Value] | None]:
        """The version of the namespace, and what is kept under it."""
        key = _version_key(namespace)
        version: str | None
        [(version, kept)] = await self._redis.call(lambda pipeline: pipeline.mget(key, name))
        if version is None:
            new = _new_version()
            [version] = await self._redis.call(
                lambda pipeline: pipeline.set(key, new, nx=True, get=True, ex=VERSION_TTL)
            )
            return version or new, None
        return version, _unpack(kept, version, kind)

    async def _refresh(
        self,
        namespace: str,
        name: str,
        version: str,
        stale: Cached[Value] | None,
        load: Callable[[], Awaitable[Value]],
        kind: TypeAdapter[Value],
    ) -> Cached[Value]:
        """Load and keep the value, unless another process is doing so."""
        lock = f"{name}:{version}"
        try:
            [is_ours] = await self._redis.call(
                lambda pipeline: pipeline.set(lock, "", nx=True, px=int(LOAD_SECONDS * 1000))
            )
            if not is_ours:
                found = stale or await self._wait(namespace, name, kind)
                if found is not None:
                    return found
        except UnavailableError:
            return _pack(await load(), kind)[0]
        try:
            value = await load()
        except BaseException:
            with suppress(UnavailableError):
                await self._redis.call(lambda pipeline: pipeline.delete(lock))
            raise
        ttl = self._ttl if value is not None else min(self._ttl, NEGATIVE_TTL)
        found, text = _pack(value, kind, version, ttl * random.uniform(0.9, 1.1))  # noqa: S311

        def keep(pipeline: Pipeline) -> None:
            if len(text) <= MAX_LENGTH:
                pipeline.set(name, text, px=int(ttl * 2000))
            pipeline.delete(lock)

        with suppress(UnavailableError):
            await self._redis.call(keep)
        return found

    async def _wait(
        self, namespace: str, name: str, kind: TypeAdapter[Value]
    ) -> Cached[Value] | None:
        """What another process loads, unless it takes too long."""
        end = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < end:
            await asyncio.sleep(POLL_SECONDS)
            _, found = await self._read(namespace, name, kind)
            if found is not None:
                return found
        return None


def forget(session: AsyncSession, *namespaces: str) -> None:
    """Have the namespaces forgotten when the session's transaction is committed.

    A process without a cache, such as a command, tells nobody: what it changes may be read from the
    cache until it is too old.
    """
    cache: Cache | None = session.info.get("cache")
    if cache is not None:
        after_commit(session, partial(cache.forget, *namespaces))


async def _request_cache(request: Request) -> Cache:
    cache: Cache = request.app.state.services.cache
    return cache


RequestCache = Annotated[Cache, Depends(_request_cache)]


def _version_key(namespace: str) -> str:
    return f"{PREFIX}:cache:{namespace}"


def _new_version() -> str:
    return secrets.token_hex(8)


def _pack(
    value: Value, kind: TypeAdapter[Value], version: str = "", ttl: float = 0
) -> tuple[Cached[Value], str]:
    """The value, and the text that is kept: a line about it, and its JSON."""
    text = kind.dump_json(value).decode()
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    found = Cached(value, etag, time.time() + ttl)
    return found, f"{version} {etag} {found.fresh_until}\n{text}"


def _unpack(text: str | None, version: str, kind: TypeAdapter[Value]) -> Cached[Value] | None:
    if text is None or not text.startswith(f"{version} "):
        return None
    line, _, value = text.partition("\n")
    try:
        _, etag, fresh_until = line.split(" ")
        return Cached(kind.validate_json(value), etag, float(fresh_until))
    except ValueError:  # kept by another release
        return None
