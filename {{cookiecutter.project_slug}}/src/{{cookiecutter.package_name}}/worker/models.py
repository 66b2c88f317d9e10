"""The tables of PgQueuer, as queries need them. Migrations create them with PgQueuer's own SQL."""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    case,
    select,
)
from sqlalchemy.dialects.postgresql import ENUM, JSONB


class Status(StrEnum):
    """The status of an unfinished job. Failed jobs wait for an administrator."""

    QUEUED = "queued"
    PICKED = "picked"
    FAILED = "failed"


_metadata = MetaData()
_status = ENUM(*Status, "successful", "exception", "canceled", "deleted", name="pgqueuer_status")

queue = Table(
    "pgqueuer",
    _metadata,
    Column("id", BigInteger, primary_key=True),
    Column("entrypoint", Text),
    Column("status", _status),
    Column("attempts", Integer),
    Column("headers", JSONB),
    Column("created", DateTime(timezone=True)),
    Column("updated", DateTime(timezone=True)),
    Column("execute_after", DateTime(timezone=True)),
)
queue_log = Table(
    "pgqueuer_log",
    _metadata,
    Column("id", BigInteger, primary_key=True),
    Column("job_id", BigInteger),
    Column("status", _status),
    Column("created", DateTime(timezone=True)),
    Column("traceback", JSONB),
    Column("aggregated", Boolean),
)
queue_statistics = Table(
    "pgqueuer_statistics",
    _metadata,
    Column("id", BigInteger, primary_key=True),
    Column("created", DateTime(timezone=True)),
)

# What administrators see of unfinished jobs: not their arguments, which may be confidential.
jobs = select(
    queue.c.id,
    queue.c.entrypoint.label("task"),
    queue.c.status,
    case((queue.c.status == Status.QUEUED, queue.c.attempts), else_=queue.c.attempts + 1).label(
        "attempts"
    ),
    select(queue_log.c.traceback["exception_message"].astext)
    .where(queue_log.c.job_id == queue.c.id, queue_log.c.traceback.is_not(None))
    .order_by(queue_log.c.id.desc())
    .limit(1)
    .scalar_subquery()
    .label("error_type"),
    queue.c.headers["request_id"].astext.label("request_id"),
    queue.c.headers["user_id"].astext.label("user_id"),
    queue.c.created.label("created_at"),
    queue.c.updated.label("updated_at"),
    queue.c.execute_after.label("run_after"),
).subquery("jobs")
