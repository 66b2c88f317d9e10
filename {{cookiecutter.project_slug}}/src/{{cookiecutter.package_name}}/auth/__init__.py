"""Authentication: OAuth 2.0 tokens for clients, cookie sessions for browsers, passwords."""

from fastapi import FastAPI

from ..settings import Settings
{%- if not cookiecutter.use_redis %}
from ..throttle import MemoryThrottle
{%- endif %}
from . import oauth
from .passwords import PasswordHasher
from .service import AuthServices
from .tokens import AccessTokens


def setup(app: FastAPI, settings: Settings) -> None:
    """Create the services of authentication, and answer OAuth errors in their format."""
    app.state.auth = AuthServices(
        settings=settings,
        tokens=AccessTokens(settings),
        hasher=PasswordHasher(settings.bcrypt_rounds),
{%- if cookiecutter.use_redis %}
        throttle=app.state.throttle,
{%- else %}
        throttle=MemoryThrottle(),
{%- endif %}
    )
    oauth.setup(app)
