"""The database: engine, sessions, reader, the base of models, the state of the migrations."""

from .engine import Database, Session{% if cookiecutter.use_redis %}, after_commit{% endif %}
from .models import Base, TimestampMixin, UuidKeyMixin, one_of, utcnow
from .reader import Reader, Reading, Record

__all__ = [
    "Base",
    "Database",
    "Reader",
    "Reading",
    "Record",
    "Session",
    "TimestampMixin",
    "UuidKeyMixin",
{%- if cookiecutter.use_redis %}
    "after_commit",
{%- endif %}
    "one_of",
    "utcnow",
]
