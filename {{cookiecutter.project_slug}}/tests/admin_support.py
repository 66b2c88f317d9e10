"""Helpers of the tests of the admin pages."""

import re
from html import unescape

from httpx2 import AsyncClient, Response


async def save(browser: AsyncClient, path: str, form: dict[str, str]) -> Response:
    """Send a form, encoded as sqladmin does."""
    parts = {name: (None, value) for name, value in {**form, "save": "Save"}.items()}
    return await browser.post(f"/admin/{path}", files=parts)


def is_saved(response: Response) -> bool:
    return response.status_code == 302 and response.headers["Location"].endswith("/list")


def alert(response: Response) -> str:
    """Return the error of a form, or an empty text."""
    found = re.search(r'role="alert">(.*?)</div>', response.text)
    assert response.status_code in {200, 400}
    return unescape(found[1]) if found else ""
