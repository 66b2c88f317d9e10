"""The database: connections and sessions, and the base of the models."""

from .constraints import explain_conflict
from .models import Base, TimestampMixin, UuidKeyMixin, enum_column, utcnow
from .session import Database

__all__ = [
    "Base",
    "Database",
    "TimestampMixin",
    "UuidKeyMixin",
    "enum_column",
    "explain_conflict",
    "utcnow",
]
