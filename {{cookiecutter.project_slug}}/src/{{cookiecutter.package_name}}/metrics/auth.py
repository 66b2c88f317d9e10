"""Passwords that are being checked, and attempts that are refused."""

from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from ..auth.service import AuthServices
from ..throttle import Limit
from .wrap import wrap

HASHING = Gauge(
    "password_hashes_in_progress",
    "Passwords being hashed or checked, those that wait for a core included.",
    multiprocess_mode="livesum",
)
HASHED_AT_ONCE = Gauge(
    "password_hashes_limit",
    "Passwords hashed or checked at the same time.",
    multiprocess_mode="livesum",
)
HASH_DURATION = Histogram(
    "password_hash_duration_seconds",
    "Time to hash or check a password, waiting included.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
REFUSED = Counter(
    "attempts_refused", "Attempts that were too many, by what the limit is for.", ["purpose"]
)


def observe(auth: AuthServices) -> None:
    """Measure the tools of authentication."""
    HASHED_AT_ONCE.set(auth.hasher.cores)
    for purpose in ("account", "account_address", "login", "reauthentication", "register"):
        REFUSED.labels(purpose)
    for method in ("hash", "verify"):
        wrap(auth.hasher, method, _timed)
    wrap(auth.throttle, "attempt", _refusals)


def _timed(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def timed(*arguments: Any, **options: Any) -> Any:
        with HASHING.track_inprogress(), HASH_DURATION.time():
            return await work(*arguments, **options)

    return timed


def _refusals(
    attempt: Callable[[str, Limit], Awaitable[float]],
) -> Callable[[str, Limit], Awaitable[float]]:
    async def counted(key: str, limit: Limit) -> float:
        wait = await attempt(key, limit)
        if wait > 0:
            REFUSED.labels(key.partition(":")[0]).inc()
        return wait

    return counted
