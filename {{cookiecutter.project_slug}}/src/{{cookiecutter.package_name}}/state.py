"""The objects that all requests of a process share."""

from dataclasses import dataclass

from fastapi import FastAPI

from .auth.service import AuthServices
{%- if not cookiecutter.use_worker %}
from .background import Runner
{%- endif %}
{%- if cookiecutter.use_redis %}
from .cache.client import RedisClient
from .cache.limits import RedisThrottle
from .cache.store import Cache
{%- endif %}
from .database import Database
from .mail import Mailer
from .settings import Settings
{%- if not cookiecutter.use_redis %}
from .throttle import Throttle
{%- endif %}


@dataclass(frozen=True, kw_only=True)
class AppState:
    """The shared objects. No connection is opened until startup."""

    settings: Settings
    database: Database
    auth: AuthServices
{%- if cookiecutter.use_redis %}
    redis: RedisClient
    cache: Cache
    throttle: RedisThrottle
{%- endif %}
    mailer: Mailer
{%- if not cookiecutter.use_worker %}
    background: Runner
{%- endif %}


def create_state(settings: Settings) -> AppState:
    """Create the shared objects.

    Raises:
        SystemExit: JWT_KEYS is not a usable JSON Web Key Set.
    """
    database, mailer = Database(settings), Mailer(settings)
{%- if cookiecutter.use_redis %}
    redis = RedisClient(settings)
    cache = Cache(redis, ttl=settings.cache_ttl)
    database.commit_callbacks.append(cache.invalidate_changes)
    throttle = RedisThrottle(redis)
{%- endif %}
    return AppState(
        settings=settings,
        database=database,
{%- if cookiecutter.use_redis %}
        auth=AuthServices(settings, throttle),
        redis=redis,
        cache=cache,
        throttle=throttle,
{%- else %}
        auth=AuthServices(settings, Throttle()),
{%- endif %}
        mailer=mailer,
{%- if not cookiecutter.use_worker %}
        background=Runner(database, mailer, settings),
{%- endif %}
    )


def get_state(app: FastAPI) -> AppState:
    """Return the shared objects of an application."""
    state: AppState = app.state.services
    return state
