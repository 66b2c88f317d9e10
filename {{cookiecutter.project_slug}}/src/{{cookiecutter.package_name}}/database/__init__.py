"""The database: connections and sessions, and the base of the models."""

from .models import Base, TimestampMixin, UuidKeyMixin, enum_column, utcnow
from .session import Database, explain_conflict

__all__ = [
    "Base",
    "Database",
    "TimestampMixin",
    "UuidKeyMixin",
    "enum_column",
    "explain_conflict",
    "utcnow",
]
