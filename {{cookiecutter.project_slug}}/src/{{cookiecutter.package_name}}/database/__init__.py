"""The database: engine and sessions, the base of all models, the state of the migrations."""

from .engine import Database, Session{% if cookiecutter.use_redis %}, after_commit{% endif %}
from .models import Base, Timestamped, one_of, utcnow

__all__ = ["Base", "Database", "Session", "Timestamped", {% if cookiecutter.use_redis %}"after_commit", {% endif %}"one_of", "utcnow"]
