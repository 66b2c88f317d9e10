"""Cursors: lists stay whole while they change, and what is not a cursor is refused."""

import json
from base64 import urlsafe_b64encode
from itertools import chain
from operator import itemgetter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from notes import Note
from support import Account, Register, Statements, pointers, read_pages

NOTES = "/api/v1/notes"
KEY = UUID(int=1).hex


async def make(account: Account, *titles: str) -> None:
    """Notes of the account."""
    for title in titles:
        await account.client.post(NOTES, json={"title": title})


async def read(account: Account, cursor: str | None = None) -> tuple[list[str], Any]:
    """The titles of a page of two, by title, and the cursor of the next one."""
    query = {"sort": "title", "limit": "2"} | ({"cursor": cursor} if cursor else {})
    page = (await account.client.get(NOTES, params=query)).json()
    return [note["title"] for note in page["items"]], page["next_cursor"]


@pytest.mark.parametrize("sort", ["created_at", "title"])
@pytest.mark.parametrize("descending", [False, True])
async def test_list_is_complete_and_in_order(
    member: Account, register: Register, sort: str, descending: bool
) -> None:
    await make(await register(), "A")
    await make(member, "C", "A", "D", "B", "B")

    order = f"-{sort}" if descending else sort
    pages = await read_pages(member.client, NOTES, limit=2, sort=order)

    assert [len(page) for page in pages] == [2, 2, 1]
    notes = list(chain(*pages))
    # Equal titles are in the order of their creation.
    assert notes == sorted(notes, key=itemgetter(sort, "id"), reverse=descending)
    assert sorted(note["title"] for note in notes) == ["A", "B", "B", "C", "D"]


@pytest.mark.parametrize(
    ("name", "value"), [("sort", "id"), ("owner", "1"), ("limit", "0"), ("limit", "101")]
)
async def test_unknown_query_is_refused(member: Account, name: str, value: str) -> None:
    response = await member.client.get(NOTES, params={name: value})

    assert (response.status_code, pointers(response)) == (422, [f"/query/{name}"])


async def test_page_takes_one_statement(member: Account, statements: Statements) -> None:
    await make(member, "A", "B", "C")

    with statements() as seen:
        await read(member)

    assert ["notes" in statement for statement in seen] == [False, True]  # who asks, and the page


async def test_rows_that_come_and_go_between_pages_shift_nothing(
    member: Account, session: AsyncSession
) -> None:
    await make(member, "B", "D", "F", "H")
    first, cursor = await read(member)
    await session.execute(delete(Note).where(Note.title == "D"))
    await session.commit()
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
    response = await member.client.get(NOTES, params={"cursor": cursor, "sort": sort})

    assert (response.status_code, pointers(response)) == (422, ["/query/cursor"])
