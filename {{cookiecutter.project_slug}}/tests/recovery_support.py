"""Requests of people who recover an account."""

from datetime import timedelta

from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import Delete, Update, delete, update

from {{ cookiecutter.package_name }}.auth.account_tokens import issue
from {{ cookiecutter.package_name }}.auth.models import (
    AccountToken,
    Purpose,
    User,
)
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.state import get_state

from support import NEW_PASSWORD, Account

RESET, VERIFICATION = "/api/v1/auth/password-reset", "/api/v1/auth/email-verification"

# Changes of the token, its address or its account after which it is no longer valid.
INVALIDATIONS: list[Update | Delete] = [
    update(AccountToken).values(expires_at=utcnow() - timedelta(seconds=1)),
    update(User).values(email="new@example.com"),
    update(User).values(is_active=False),
    delete(User),
]


async def new_token(app: FastAPI, account: Account, purpose: Purpose) -> str:
    """Issue a token for an account, as the task that sends a message does."""
    async with get_state(app).database.write_session() as session:
        user = await session.get_one(User, account.id)
        return await issue(session, user, purpose, user.email, ttl=3600)


async def reset_password(client: AsyncClient, token: str, password: str = NEW_PASSWORD) -> Response:
    """Set a new password with a token."""
    return await client.put(RESET, json={"token": token, "new_password": password})


async def verify_email(client: AsyncClient, token: str, **body: object) -> Response:
    """Verify an email address with a token."""
    return await client.put(VERIFICATION, json={"token": token} | body)
