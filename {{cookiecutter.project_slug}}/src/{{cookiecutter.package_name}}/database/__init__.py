"""The database: connections and sessions, and the base of the models."""

from .models import Base, {{ "ScaledDecimal, " if cookiecutter.database == "sqlite" }}TimestampMixin, UuidKeyMixin, enum_column, utcnow
from .session import Database, delete_in_batches, explain_conflict

__all__ = [
    "Base",
    "Database",
{%- if cookiecutter.database == "sqlite" %}
    "ScaledDecimal",
{%- endif %}
    "TimestampMixin",
    "UuidKeyMixin",
    "delete_in_batches",
    "enum_column",
    "explain_conflict",
    "utcnow",
]
