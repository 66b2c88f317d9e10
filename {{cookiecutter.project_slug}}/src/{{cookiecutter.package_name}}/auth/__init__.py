"""Authentication: OAuth 2.0 tokens for clients, cookie sessions for browsers, passwords."""

from fastapi import FastAPI

from ..settings import Settings
from . import oauth
from .passwords import Passwords
from .service import AuthTools
from .throttle import MemoryThrottle
from .tokens import AccessTokens


def setup(app: FastAPI, settings: Settings) -> None:
    """Make what the routes need to authenticate."""
    app.state.auth = AuthTools(
        settings=settings,
        tokens=AccessTokens(settings),
        passwords=Passwords(settings.bcrypt_rounds),
        throttle=MemoryThrottle(),
    )
    oauth.setup(app)
