"""Authentication: OAuth 2.0 tokens for clients, cookie sessions for browsers, passwords."""

from fastapi import FastAPI

from ..settings import Settings
{%- if not cookiecutter.use_redis %}
from ..throttle import MemoryThrottle
{%- endif %}
from . import oauth
from .passwords import Passwords
from .service import AuthTools
from .tokens import AccessTokens


def setup(app: FastAPI, settings: Settings) -> None:
    """Make what the routes need to authenticate."""
    app.state.auth = AuthTools(
        settings=settings,
        tokens=AccessTokens(settings),
        passwords=Passwords(settings.bcrypt_rounds),
{%- if cookiecutter.use_redis %}
        throttle=app.state.throttle,
{%- else %}
        throttle=MemoryThrottle(),
{%- endif %}
    )
    oauth.setup(app)
