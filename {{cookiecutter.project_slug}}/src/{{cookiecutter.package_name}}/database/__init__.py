"""The database: connections and sessions, and the base of the models."""

from .constraints import explain_conflict
from .models import Base, TimestampMixin, UuidKeyMixin, enum_column, utcnow
from .session import Database{% if cookiecutter.use_redis %}, after_commit{% endif %}

__all__ = [
    "Base",
    "Database",
    "TimestampMixin",
    "UuidKeyMixin",
{%- if cookiecutter.use_redis %}
    "after_commit",
{%- endif %}
    "enum_column",
    "explain_conflict",
    "utcnow",
]
