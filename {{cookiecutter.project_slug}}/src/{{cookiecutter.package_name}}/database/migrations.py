"""Whether the schema of the database is the one that this code was written for."""

from functools import cache

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@cache
def head_revision() -> str | None:
    """The newest migration in `migrations/` of the working directory."""
    from alembic.script import ScriptDirectory  # costs start-up time, used by probes only

    return ScriptDirectory("migrations").get_current_head()


async def at_head(session: AsyncSession) -> bool:
    """Whether every migration has been applied."""
    applied = await session.scalar(text("SELECT version_num FROM alembic_version"))
    return bool(applied == head_revision())
