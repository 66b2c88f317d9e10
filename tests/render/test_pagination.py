"""Cursors: pages while rows change, and invalid cursors."""

import json
from base64 import urlsafe_b64encode
from typing import Any
from uuid import UUID

import pytest
from orders.items.models import Item
from orders.pagination import PageQuery, paginate
from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from support import Account, pointers

ITEMS = "/api/v1/items"
KEY = UUID(int=1).hex


async def create_items(account: Account, *titles: str) -> None:
    """Create items of the account."""
    for title in titles:
        await account.client.post(ITEMS, json={"title": title})


async def read_page(account: Account, cursor: str | None = None) -> tuple[list[str], Any]:
    """Return the titles of a page of two, by title, and the cursor of the next page."""
    query = {"sort": "title", "limit": "2"} | ({"cursor": cursor} if cursor else {})
    page = (await account.client.get(ITEMS, params=query)).json()
    return [item["title"] for item in page["items"]], page["next_cursor"]


async def test_inserted_and_deleted_rows_do_not_shift_pages(
    member: Account, session: AsyncSession
) -> None:
    await create_items(member, "B", "D", "F", "H")
    first, cursor = await read_page(member)
    await session.execute(delete(Item).where(Item.title == "D"))
    await session.commit()
    await create_items(member, "A", "C", "G")

    second, cursor = await read_page(member, cursor)
    third, cursor = await read_page(member, cursor)

    assert (first, second, third) == (["B", "D"], ["F", "G"], ["H"])
    assert cursor is None


@pytest.mark.parametrize("title", ["\U0001f9ee" * 200, "\\" * 200, '"A", [B]', "0"])
async def test_cursor_can_contain_any_title(member: Account, title: str) -> None:
    await create_items(member, title, title, title)

    _, cursor = await read_page(member)

    assert await read_page(member, cursor) == ([title], None)


async def test_filters_may_have_the_name_of_any_column(
    member: Account, session: AsyncSession
) -> None:
    await create_items(member, "A", "B", "C")
    names = ("last_value", "last_id", "page_limit")
    statement = select(Item.id, Item.title).where(*(Item.title != bindparam(one) for one in names))
    query = PageQuery(sort="title", limit=1)
    filters = dict.fromkeys(names, "B")

    first = await paginate(session, statement, query, filters)
    query = PageQuery(sort="title", limit=1, cursor=first.next_cursor)
    second = await paginate(session, statement, query, filters)

    assert [row.title for row in (*first.items, *second.items)] == ["A", "C"]


def encode(*content: object) -> str:
    """Return a forged cursor."""
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
async def test_invalid_cursor_is_rejected(member: Account, cursor: str, sort: str) -> None:
    response = await member.client.get(ITEMS, params={"cursor": cursor, "sort": sort})

    assert (response.status_code, pointers(response)) == (422, ["/query/cursor"])
