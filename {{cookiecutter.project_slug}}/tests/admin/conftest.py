"""Somebody in front of the admin pages."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from support import PASSWORD, Account, new_client


@pytest.fixture
async def browser(app: FastAPI, admin: Account) -> AsyncIterator[AsyncClient]:
    """A browser in which the administrator is logged in."""
    async with new_client(app) as browser:
        browser.headers["Origin"] = "https://test"
        await browser.post("/admin/login", data={"username": admin.email, "password": PASSWORD})
        yield browser
