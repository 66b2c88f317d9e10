"""Limit attempts, such as logins, with a sliding window."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from .exceptions import TooManyAttemptsError
{%- if cookiecutter.use_prometheus %}
from .instruments import ATTEMPTS_REFUSED
{%- endif %}


class Limit(NamedTuple):
    """The number of attempts allowed in a sliding window, in seconds."""

    amount: int
    window: int


class Throttle:
    """Count the attempts of this process by key; keep the most recently used keys.

    Args:
        max_keys: number of keys to keep, which bounds the memory.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, max_keys: int = 50_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_keys = max_keys
        self._clock = clock
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()

    async def check(self, key: str, limit: Limit) -> None:
        """Count an attempt.

        Raises:
            TooManyAttemptsError: the limit is reached.
        """
        retry_after = await self.attempt(key, limit)
        if retry_after > 0:
{%- if cookiecutter.use_prometheus %}
            ATTEMPTS_REFUSED.labels(key.partition(":")[0]).inc()
{%- endif %}
            raise TooManyAttemptsError(retry_after)

    async def attempt(self, key: str, limit: Limit) -> float:
        """Count an attempt unless the limit is reached.

        Returns:
            0 when the attempt is allowed, else the seconds until the next one is.
        """
        now = self._clock()
        attempts = self._attempts.setdefault(key, deque())
        self._attempts.move_to_end(key)
        while len(self._attempts) > self._max_keys:
            self._attempts.popitem(last=False)
        while attempts and attempts[0] <= now - limit.window:
            attempts.popleft()
        if len(attempts) >= limit.amount:
            return attempts[0] + limit.window - now
        attempts.append(now)
        return 0

    async def reset(self, key: str, _: Limit) -> None:
        """Clear the attempts that were counted under a key for this limit."""
        self._attempts.pop(key, None)


def address_key(address: str | None) -> str:
    """Return the key that attempts from an address count under: an IPv6 subscriber has a /64."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        # A socket for both families shows IPv4 clients as ::ffff:192.0.2.1.
        return str(parsed.ipv4_mapped or parsed.packed[:8].hex(":", 2))
    return str(parsed)
