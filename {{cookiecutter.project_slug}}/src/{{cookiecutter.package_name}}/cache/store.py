"""Cache-aside reads, invalidated by namespace."""

import asyncio
import hashlib
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import Context
from typing import Final, Self

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

{% if cookiecutter.use_prometheus -%}
from ..instruments import CACHE_READS
{% endif -%}
from .client import KEY_PREFIX, RETRY_INTERVAL, RedisClient, RedisUnavailableError

log = structlog.stdlib.get_logger(__name__)

MAX_LENGTH: Final = 262_144  # characters; longer values are not cached
VERSION_TTL: Final = 86_400  # seconds
LOAD_TIMEOUT: Final = 2.0  # seconds to wait for the load of another caller
POLL_INTERVAL: Final = 0.02  # seconds between checks for a value that another process loads
INVALIDATED: Final = "invalidated_namespaces"  # key in `session.info`

Load = Callable[[], Awaitable[str]]


class Cache:
    """Text in Redis, such as JSON bodies, by namespace and key; an async context manager.

    Each entry carries the version of its namespace. Invalidating a namespace gives it another
    version, so that a value loaded before is never read again, even if it is stored afterwards.

    Args:
        ttl: seconds until a value expires; it varies by a tenth, so that values that were loaded
            together do not expire together.
    """

    def __init__(self, redis: RedisClient, *, ttl: int) -> None:
        self._redis = redis
        self._ttl = ttl
        self._loading: dict[tuple[str, str], asyncio.Future[str]] = {}
        # Namespaces whose invalidation Redis has not confirmed, with the time when all values
        # loaded before it have expired.
        self._pending: dict[str, float] = {}
        self._retry: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.wait([self._retry])
        with suppress(RedisUnavailableError):
            await self._send_invalidations(self._pending.copy())

    async def get_or_load(self, namespace: str, key: str, load: Load) -> str:
        """Return the cached value, or load and cache it. Concurrent callers share one load.

        Callers in one process that share a load also share its error. Without Redis, every caller
        loads.

        Args:
            namespace: names what is invalidated together, such as `orders:{user_id}`, or `news`
                for values that are the same for everyone.
            key: identifies the value in its namespace, such as the query.
            load: returns the value, such as a JSON body.
        """
        name = f"{_version_key(namespace)}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        version: str | None = None
        value: str | None = None
        with suppress(RedisUnavailableError):
            version, value = await self._read(namespace, name)
{%- if cookiecutter.use_prometheus %}
        CACHE_READS.labels("miss" if value is None else "hit").inc()
{%- endif %}
        if value is not None:
            return value
        if version is None:
            return await load()
        while (loading := self._loading.get((name, version))) is not None:
            await asyncio.wait([loading], timeout=LOAD_TIMEOUT)
            if not loading.done():
                return await load()
            if not loading.cancelled():
                return loading.result()
        loading = self._loading[name, version] = asyncio.get_running_loop().create_future()
        try:
            value = await self._load_and_store(namespace, name, version, load)
            loading.set_result(value)
        except Exception as error:
            loading.set_exception(error)
            loading.exception()  # asyncio logs exceptions that no one has retrieved
            raise
        finally:
            del self._loading[name, version]
            loading.cancel()  # If this caller was canceled, a waiting caller loads instead.
        return value

    async def invalidate(self, namespaces: Iterable[str]) -> None:
        """Make every later `get_or_load` ignore what was loaded until now.

        During an outage, this process does not read the namespaces from the cache, and invalidates
        them when Redis is available again. Until then, other processes may read old values.
        """
        changes = dict.fromkeys(namespaces, time.monotonic() + 2 * self._ttl)
        self._pending |= changes
        try:
            with suppress(RedisUnavailableError):
                await self._send_invalidations(changes)
        finally:
            if self._retry is None and changes.items() & self._pending.items():
                log.warning("cache invalidation postponed", namespaces=list(changes))
                self._retry = asyncio.create_task(self._retry_invalidations(), context=Context())

    async def invalidate_changes(self, session: AsyncSession) -> None:
        """Invalidate the namespaces that `invalidate` has noted for the session."""
        if namespaces := session.info.pop(INVALIDATED, None):
            await self.invalidate(namespaces)

    async def _read(self, namespace: str, name: str) -> tuple[str, str | None]:
        """Return the version of the namespace, and the value if it has this version."""
        if namespace in self._pending:
            raise RedisUnavailableError
        key = _version_key(namespace)
        async with self._redis.available() as redis:
            version, entry = await redis.mget(key, name)
            if version is None:
                new = _new_version()
                await redis.set(key, new, nx=True, ex=VERSION_TTL)
                version = await redis.get(key) or new
        entry_version, _, value = str(entry).partition("\n")
        return str(version), value if entry_version == version else None

    async def _load_and_store(self, namespace: str, name: str, version: str, load: Load) -> str:
        """Load and cache the value, unless another process is loading it."""
        lock, lock_ttl = f"{name}:{version}", int(LOAD_TIMEOUT * 1000)
        deadline = time.monotonic() + LOAD_TIMEOUT
        try:
            async with self._redis.available() as redis:
                has_lock = bool(await redis.set(lock, "", nx=True, px=lock_ttl))
            while not has_lock and time.monotonic() < deadline:
                await asyncio.sleep(POLL_INTERVAL)
                # Check the lock before reading: the holder stores the value and releases the lock
                # together.
                async with self._redis.available() as redis:
                    has_lock = bool(await redis.set(lock, "", nx=True, px=lock_ttl))
                _, value = await self._read(namespace, name)
                if value is not None:
                    if has_lock:
                        async with self._redis.available() as redis:
                            await redis.delete(lock)
                    return value
        except RedisUnavailableError:
            return await load()
        value = None
        try:
            value = await load()
        finally:
            with suppress(RedisUnavailableError):
                async with self._redis.available() as redis:
                    pipeline = redis.pipeline()
                    if value is not None and len(value) <= MAX_LENGTH:
                        ttl = self._ttl * random.uniform(0.9, 1.1)  # noqa: S311
                        pipeline.set(name, f"{version}\n{value}", px=int(ttl * 1000))
                    if has_lock:
                        pipeline.delete(lock)
                    await pipeline.execute()
        return value

    async def _send_invalidations(self, changes: dict[str, float]) -> None:
        if changes:
            async with self._redis.available() as redis:
                pipeline = redis.pipeline()
                for namespace in changes:
                    pipeline.set(_version_key(namespace), _new_version(), ex=VERSION_TTL)
                await pipeline.execute()
        for namespace, _ in changes.items() & self._pending.items():
            del self._pending[namespace]  # unless it has changed again meanwhile

    async def _retry_invalidations(self) -> None:
        while self._pending:
            await asyncio.sleep(RETRY_INTERVAL)
            now = time.monotonic()
            # During a long outage, forget what has expired.
            self._pending = {name: end for name, end in self._pending.items() if end > now}
            with suppress(RedisUnavailableError):
                await self._send_invalidations(self._pending.copy())
        self._retry = None


def invalidate(session: AsyncSession, *namespaces: str) -> None:
    """Invalidate namespaces after the session's transaction.

    Processes without a cache, such as management commands, do not invalidate: cached values may be
    stale until they expire.
    """
    session.info.setdefault(INVALIDATED, set()).update(namespaces)


def _version_key(namespace: str) -> str:
    return f"{KEY_PREFIX}:cache:{namespace}"


def _new_version() -> str:
    return secrets.token_hex(8)
