"""Access tokens that are revoked before they expire, by the login that they were issued in."""

import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from .client import PREFIX, Pipeline, Redis, UnavailableError

log = structlog.stdlib.get_logger(__name__)

# A sorted set: each denied login with the time when its tokens have expired, and since when the
# list is complete, as a negative number. In one key, so that both are lost together.
DENIED: Final = f"{PREFIX}:denied"
COMPLETE_SINCE: Final = "complete-since"


class Denylist:
    """Says without asking the database whether a login lives.

    A list that has been lost is not believed until the tokens that may be missing from it have
    expired: until then the database is asked. One that could not be told of a revocation is thrown
    away as soon as Redis answers; other processes believe it for that long.

    Args:
        token_ttl: seconds that an access token lives.
    """

    def __init__(self, redis: Redis, *, token_ttl: int) -> None:
        self._redis = redis
        self._token_ttl = token_ttl + 60  # the clocks of replicas may differ
        self._untold = 0

    async def allows(self, login: UUID) -> bool:
        """Whether access tokens of the login are certainly not revoked; in one round trip."""
        if self._untold:
            return False
        now = time.time()
        try:
            [(denied, since)] = await self._redis.call(
                lambda pipeline: pipeline.zmscore(DENIED, [str(login), COMPLETE_SINCE])
            )
            if since is None:
                await self._redis.call(
                    lambda pipeline: pipeline.zadd(DENIED, {COMPLETE_SINCE: -now}, nx=True)
                )
                return False
        except UnavailableError:
            return False
        return denied is None and now + since > self._token_ttl

    async def deny(self, logins: Sequence[UUID]) -> None:
        """Deny the access tokens of these logins as long as there may be any."""
        now = time.time()
        expiry = {str(login): now + self._token_ttl for login in logins}

        def tell(pipeline: Pipeline) -> None:
            pipeline.zadd(DENIED, expiry)
            pipeline.zremrangebyscore(DENIED, 0, now)

        self._untold += 1
        try:
            await self._redis.call(tell)
        except BaseException as error:
            log.warning("denylist not told of a revocation", logins=len(logins))
            self._redis.repeat(self._lose)
            if not isinstance(error, UnavailableError):
                raise
        else:
            self._untold -= 1

    async def _lose(self) -> None:
        await self._redis.call(lambda pipeline: pipeline.delete(DENIED))
        self._untold -= 1


async def deny(session: AsyncSession, logins: Sequence[UUID]) -> None:
    """Deny the access tokens of logins that the session revokes.

    Before the commit: one that is denied and lives is a question more for the database, while one
    that is revoked and not denied might go on.
    """
    denylist: Denylist | None = session.info.get("denylist")
    if denylist is not None and logins:
        await denylist.deny(logins)
