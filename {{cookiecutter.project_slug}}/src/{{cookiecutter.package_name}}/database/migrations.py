"""Check that the schema of the database matches the code."""

from functools import cache
from pathlib import Path

from anyio import to_thread
from sqlalchemy import text

from .session import Database

SOURCE = Path(__file__).parents[3] / "migrations"


@cache
def older_revisions() -> frozenset[str]:
    """Return the revisions of `migrations/`, except the newest.

    The folder is next to `src`, or in the working directory of an installed service.
    """
    from alembic.script import ScriptDirectory  # costs start-up time, used by probes only

    script = ScriptDirectory(SOURCE if SOURCE.is_dir() else "migrations")
    known = {migration.revision for migration in script.walk_revisions()}
    return frozenset(known) - {script.get_current_head() or ""}


async def is_migrated(database: Database) -> bool:
    """Return whether the schema is at least as new as this code.

    During a deployment the database is migrated while older code still runs, so a revision that
    this code does not know is newer.
    """
    async with database.probe_connection() as connection:
        revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision is not None and revision not in await to_thread.run_sync(older_revisions)
