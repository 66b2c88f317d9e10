"""Connections in turn."""

import asyncio
import logging
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only

logging.getLogger(__name__).setLevel(logging.WARNING)  # as quiet as the pools of SQLAlchemy


class FairPool(AsyncAdaptedQueuePool):
    """A pool in which those who wait get a connection in the order in which they came.

    SQLAlchemy's own gives a free one to whoever asks next; while there is always somebody who does,
    others wait until their time is over.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._turns = asyncio.Semaphore(self._pool.maxsize + self._max_overflow)

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()  # at once, and without a timer
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
        except TimeoutError:
            message = f"no connection was free within {self._timeout} seconds"
            raise PoolTimeoutError(message) from None

    def _do_get(self) -> ConnectionPoolEntry:
        await_only(self._turn())
        try:
            return super()._do_get()
        except BaseException:
            self._turns.release()
            raise

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        try:
            super()._do_return_conn(record)
        finally:
            self._turns.release()
