"""Helpers of the tests of the admin pages."""

import re
from html import unescape

from fastapi import FastAPI
from httpx2 import AsyncClient, Response

from support import PASSWORD, new_client


def new_browser(app: FastAPI) -> AsyncClient:
    """Return a client that sends the origin of its requests, as browsers do."""
    browser = new_client(app)
    browser.headers["Origin"] = "https://test"
    return browser


async def log_in_to_pages(
    browser: AsyncClient, email: str, password: str = PASSWORD, otp: str = ""
) -> Response:
    """Send the login form."""
    form = {"username": email, "password": password, "otp": otp}
    return await browser.post("/admin/login", data=form)


async def save(browser: AsyncClient, path: str, form: dict[str, str]) -> Response:
    """Send a form, encoded as sqladmin does."""
    parts = {name: (None, value) for name, value in {**form, "save": "Save"}.items()}
    return await browser.post(f"/admin/{path}", files=parts)


def hidden_value(page: Response, name: str) -> str:
    """Return the value of a hidden field."""
    [value] = re.findall(rf'name="{name}" type="hidden" value="([^"]+)"', page.text)
    return str(value)


def is_saved(response: Response) -> bool:
    return response.status_code == 302 and response.headers["Location"].endswith("/list")


def alert(response: Response) -> str:
    """Return the error of a form, or an empty text."""
    found = re.search(r'role="alert">(.*?)</div>', response.text)
    assert response.status_code in {200, 400}
    return unescape(found[1]) if found else ""
