"""An administrator at the admin pages."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from {{ cookiecutter.package_name }}.admin.auth import AdminAuthentication
from {{ cookiecutter.package_name }}.auth.models import (
    LoginSession,
    Role,
)
from {{ cookiecutter.package_name }}.database import utcnow

from admin_support import log_in_to_pages, new_browser
from support import Account, set_role


@pytest.fixture
async def browser(app: FastAPI, admin: Account) -> AsyncIterator[AsyncClient]:
    """A browser in which the administrator is logged in."""
    async with new_browser(app) as browser:
        await log_in_to_pages(browser, admin.email)
        yield browser


@pytest.fixture
async def stale_browser(browser: AsyncClient, session: AsyncSession) -> AsyncClient:
    """A browser whose administrator logged in too long ago to change anything."""
    hour_ago = utcnow() - timedelta(hours=1)
    await session.execute(
        update(LoginSession)
        .where(LoginSession.cookie_hash.is_not(None))
        .values(authenticated_at=hour_ago)
    )
    await session.commit()
    return browser


@pytest.fixture
def demoted_browser(
    browser: AsyncClient, admin: Account, session: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> AsyncClient:
    """A browser whose administrator is demoted while a request is handled."""
    authenticate = AdminAuthentication.authenticate

    async def authenticate_and_demote(
        backend: AdminAuthentication, request: Request
    ) -> bool | Response:
        is_authenticated = await authenticate(backend, request)
        await set_role(session, admin, Role.USER)
        return is_authenticated

    monkeypatch.setattr(AdminAuthentication, "authenticate", authenticate_and_demote)
    return browser
