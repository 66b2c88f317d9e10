"""Cursors: lists stay whole while they change, and what is not a cursor is refused."""

import json
from base64 import urlsafe_b64encode
from typing import Any
from uuid import UUID

import pytest

from support import Account, pointers

ITEMS = "/api/v1/items"
KEY = UUID(int=1).hex


async def make(account: Account, *titles: str) -> None:
    """Items of the account."""
    for title in titles:
        await account.client.post(ITEMS, json={"title": title})


async def read(account: Account, cursor: str | None = None) -> tuple[list[str], Any]:
    """The titles of a page of two, by title, and the cursor of the next one."""
    query = {"sort": "title", "limit": "2"} | ({"cursor": cursor} if cursor else {})
    page = (await account.client.get(ITEMS, params=query)).json()
    return [item["title"] for item in page["items"]], page["next_cursor"]


async def test_rows_that_come_and_go_between_pages_shift_nothing(member: Account) -> None:
    await make(member, "B", "D", "F", "H")
    first, cursor = await read(member)
    [item] = (await member.client.get(ITEMS, params={"q": "D"})).json()["items"]
    await member.client.delete(f"{ITEMS}/{item['id']}")
    await make(member, "A", "C", "G")

    second, cursor = await read(member, cursor)
    third, cursor = await read(member, cursor)

    assert (first, second, third) == (["B", "D"], ["F", "G"], ["H"])
    assert cursor is None


@pytest.mark.parametrize("title", ["\U0001f9ee" * 200, "\\" * 200, '"A", [B]', "0"])
async def test_any_title_makes_a_cursor(member: Account, title: str) -> None:
    await make(member, title, title, title)

    _, cursor = await read(member)

    assert await read(member, cursor) == ([title], None)


def encode(*content: object) -> str:
    """A cursor that the service did not give out."""
    return urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    ("cursor", "sort"),
    [
        ("", "title"),
        ("garbage", "title"),
        ("äöü", "title"),
        (urlsafe_b64encode(b"\xff").decode(), "title"),
        (urlsafe_b64encode(b"[" * 1400).decode(), "title"),
        (encode(), "title"),
        (encode("title", "A", KEY, KEY), "title"),
        (encode("title", "A\0", KEY), "title"),
        (encode("title", "\ud800", KEY), "title"),
        (encode("title", 1, KEY), "title"),
        (encode("title", "A", "x"), "title"),
        (encode("title", "A", KEY), "-title"),
        (encode("title", "A", KEY), "created_at"),
        (encode("created_at", "A", KEY), "created_at"),
        (encode("created_at", "2026-01-01T00:00:00", KEY), "created_at"),
        (encode("created_at", "0001-01-01T00:00:00+14:00", KEY), "created_at"),
        (encode("title", "A" * 2000, KEY), "title"),
    ],
)
async def test_what_is_no_cursor_of_this_list_is_refused(
    member: Account, cursor: str, sort: str
) -> None:
    response = await member.client.get(ITEMS, params={"cursor": cursor, "sort": sort})

    assert (response.status_code, pointers(response)) == (422, ["/query/cursor"])
