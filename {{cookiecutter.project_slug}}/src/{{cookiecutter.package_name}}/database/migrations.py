"""Whether the schema of the database is the one that this code was written for."""

from functools import cache

from anyio import to_thread
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@cache
def older_revisions() -> frozenset[str]:
    """The migrations in `migrations/` of the working directory, except the newest."""
    from alembic.script import ScriptDirectory  # costs start-up time, used by probes only

    script = ScriptDirectory("migrations")
    known = {migration.revision for migration in script.walk_revisions()}
    return frozenset(known) - {script.get_current_head() or ""}


async def is_migrated(session: AsyncSession) -> bool:
    """Whether the schema is the one of this code, or a newer one.

    During a deployment the database is migrated while older code still runs. A revision that this
    code does not know is newer.
    """
    applied = await session.scalar(text("SELECT version_num FROM alembic_version"))
    return applied is not None and applied not in await to_thread.run_sync(older_revisions)
