"""The Redis stream by which workers hear of jobs."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from taskiq import AckableMessage
from taskiq_redis import RedisStreamBroker

from ..cache.client import PREFIX
from ..settings import Settings
from .outbox import STREAM

log = structlog.stdlib.get_logger(__name__)

PAUSE_SECONDS: Final = 1.0  # between tries while Redis does not work
DEAD_SECONDS: Final = 3600  # after which a worker that reads nothing is forgotten
IDLE_SECONDS: Final = 60  # after which a message is taken over from the worker that got it


class Stream(RedisStreamBroker):
    """The broker of taskiq, which also outlives a Redis that goes away, and leaves nothing in it.

    Messages are taken one by one, so that none waits behind a slow job while others are idle.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            settings.redis_url,
            queue_name=STREAM,
            consumer_group_name=f"{PREFIX}:workers",
            consumer_id="0",  # also what was sent before the first worker started
            xread_count=1,
            idle_timeout=IDLE_SECONDS * 1000,
            unacknowledged_lock_timeout=IDLE_SECONDS,
            max_connection_pool_size=settings.worker_concurrency + 2,
        )
        self.is_worker_process = True
        # It has a line for each job; we have our own, and log what goes wrong.
        logging.getLogger("taskiq").setLevel("WARNING")

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield messages until the generator is closed."""
        async with aclosing(self._messages()) as messages:
            while True:
                reading = asyncio.ensure_future(anext(messages))
                try:
                    await asyncio.wait([reading])
                except asyncio.CancelledError:
                    # Once is not enough: asyncio.wait_for, by which redis-py sends, may lose it
                    # before Python 3.12, and the worker would read on for ever.
                    while not reading.done():
                        reading.cancel()
                        await asyncio.wait([reading], timeout=0.1)
                yield reading.result()  # which raises what ended it

    async def _messages(self) -> AsyncGenerator[AckableMessage, None]:
        away = False
        while True:
            try:
                await self.startup()  # Redis may come back without the consumer group
                await self._remove_dead_workers()
                away = False
                async with aclosing(super().listen()) as messages:
                    async for message in messages:
                        yield message
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("no jobs from redis", error=error)
                away = True
                await asyncio.sleep(PAUSE_SECONDS)

    async def _remove_dead_workers(self) -> None:
        async with Redis(connection_pool=self.connection_pool) as redis:
            group = self.queue_name, self.consumer_group_name
            for consumer in await redis.xinfo_consumers(*group):
                if consumer["pending"] == 0 and consumer["idle"] > DEAD_SECONDS * 1000:
                    await redis.xgroup_delconsumer(*group, consumer["name"])

    def _ack_generator(
        self,
        id: str,  # noqa: A002 - passed by this name
        queue_name: str,
    ) -> Callable[[], Awaitable[None]]:
        async def acknowledge() -> None:
            # If it fails the message comes again, and the table knows that nothing is to do.
            with suppress(RedisError, OSError):
                async with Redis(connection_pool=self.connection_pool) as redis:
                    await redis.xack(queue_name, self.consumer_group_name, id)
                    await redis.xdel(queue_name, id)

        return acknowledge

    async def shutdown(self) -> None:
        """Take this worker off the list of consumers, and close the connections."""
        with suppress(RedisError, OSError):
            async with Redis(connection_pool=self.connection_pool) as redis:
                await redis.xgroup_delconsumer(
                    self.queue_name, self.consumer_group_name, self.consumer_name
                )
        await super().shutdown()
