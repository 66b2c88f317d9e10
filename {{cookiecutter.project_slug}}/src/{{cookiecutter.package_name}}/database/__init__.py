"""The database: engine and sessions, the base of all models, the state of the migrations."""

from .engine import Database, Session
from .models import Base, Timestamped, utcnow

__all__ = ["Base", "Database", "Session", "Timestamped", "utcnow"]
