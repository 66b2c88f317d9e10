"""Metrics of the cache and of rate limits."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from support import NewApp, new_account, new_client

Rises = Callable[..., AbstractContextManager[None]]


async def test_reads_are_hits_or_misses(new_app: NewApp, rises: Rises) -> None:
    client = (await new_account(new_app())).client

    # The session and the list are read.
    with (
        rises("cache_reads_total", 2, outcome="miss"),
        rises("cache_reads_total", 4, outcome="hit"),
    ):
        for _ in range(3):
            assert (await client.get("/api/v1/test-notes")).status_code == 200


async def test_outage_of_redis_is_counted(new_app: NewApp, rises: Rises) -> None:
    client = (await new_account(new_app(redis_url="redis://127.0.0.1:1/0"))).client
    await client.get("/api/v1/test-notes")

    # The rate limit and the cache, for the session and for the list, do without.
    with rises("redis_errors_total", 3), rises("cache_reads_total", 2, outcome="miss"):
        assert (await client.get("/api/v1/test-notes")).status_code == 200


async def test_requests_beyond_a_limit_are_counted(new_app: NewApp, rises: Rises) -> None:
    client = new_client(new_app(rate_limit=1))
    await client.get("/api/v1/test-notes")

    with rises("rate_limited_requests_total", policy="default"):
        assert (await client.get("/api/v1/test-notes")).status_code == 429
