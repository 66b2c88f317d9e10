"""Access tokens that are revoked before they expire, by the login that they were issued in."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import after_commit
from .client import PREFIX, Client, Redis, UnavailableError

log = structlog.stdlib.get_logger(__name__)

COMPLETE_SINCE: Final = f"{PREFIX}:denied"


class Denylist:
    """Says without asking the database whether a login lives.

    A list that has been lost, or that could not be told of a revocation, is not believed until the
    tokens that may be missing from it have expired: until then the database is asked.

    Args:
        token_ttl: seconds that an access token lives.
    """

    def __init__(self, redis: Redis, *, token_ttl: int) -> None:
        self._redis = redis
        self._token_ttl = token_ttl + 60  # the clocks of replicas may differ
        self._incomplete = False

    async def allows(self, login: UUID) -> bool:
        """Whether access tokens of the login are certainly not revoked; in one round trip."""
        try:
            if self._incomplete:
                await self._redis.call(lambda client: client.delete(COMPLETE_SINCE))
                self._incomplete = False
            denied, since = await self._redis.call(
                lambda client: client.mget(_key(login), COMPLETE_SINCE)
            )
            now = time.time()
            if since is None:
                await self._redis.call(lambda client: client.set(COMPLETE_SINCE, now, nx=True))
                return False
        except UnavailableError:
            return False
        return denied is None and now - float(since) > self._token_ttl

    async def deny(self, logins: Sequence[UUID]) -> None:
        """Deny the access tokens of these logins as long as there may be any."""

        async def tell(client: Client) -> None:
            async with client.pipeline(transaction=False) as pipeline:
                for login in logins:
                    pipeline.set(_key(login), "", ex=self._token_ttl)
                await pipeline.execute()

        try:
            await self._redis.call(tell)
        except UnavailableError:
            self._incomplete = True
            log.warning("denylist not told of a revocation", logins=len(logins))


def deny(session: AsyncSession, logins: Sequence[UUID]) -> None:
    """Deny the access tokens of these logins when the session's transaction is committed."""
    denylist: Denylist | None = session.info.get("denylist")
    if denylist is not None and logins:
        after_commit(session, partial(denylist.deny, logins))


def _key(login: UUID) -> str:
    return f"{COMPLETE_SINCE}:{login}"
