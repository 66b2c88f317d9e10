"""Items of their owner."""

import asyncio
from itertools import chain
from operator import itemgetter
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.items.models import Tag, item_tags

from support import (
    SORTED,
    Account,
    Register,
    Statements,
    new_account,
    page_plans,
    pointers,
    read_pages,
)

ITEMS = "/api/v1/items"


async def make(account: Account, title: str = "Notes", *tags: str) -> Any:
    """An item of the account, as the API shows it."""
    return (await account.client.post(ITEMS, json={"title": title, "tags": tags})).json()


@pytest.fixture
async def shelf(member: Account, register: Register) -> list[Any]:
    """Items of the member, two of them with the same title, beside one of somebody else."""
    await make(await register(), "Alpha", "work")
    return [
        await make(member, "Charlie", "work", "home"),
        await make(member, "Alpha 100%", "work"),
        await make(member, "Delta_1"),
        await make(member, "Bravo", "home"),
        await make(member, "Bravo", "homework"),
    ]


async def test_item_is_made_and_found_at_its_location(member: Account) -> None:
    body = {"title": " Notes ", "description": "On\nthe engine", "tags": ["work", "b", "work"]}

    created = await member.client.post(ITEMS, json=body)
    read = await member.client.get(created.headers["location"])

    assert created.status_code == 201
    assert created.headers["etag"] == read.headers["etag"]
    assert created.json() == read.json() | {"title": "Notes", "tags": ["b", "work"]}
    assert set(read.json()) == {*body, "id", "created_at", "updated_at"}


async def test_change_replaces_what_is_sent_and_keeps_the_rest(member: Account) -> None:
    item = await make(member, "Notes", "work", "home")
    url = f"{ITEMS}/{item['id']}"

    tagged = (await member.client.patch(url, json={"tags": ["new", "home"]})).json()
    titled = (await member.client.patch(url, json={"title": "Memoir"})).json()
    cleared = (await member.client.patch(url, json={"tags": []})).json()

    assert tagged == item | {"tags": ["home", "new"], "updated_at": tagged["updated_at"]}
    assert titled == tagged | {"title": "Memoir", "updated_at": titled["updated_at"]}
    assert cleared == titled | {"tags": [], "updated_at": cleared["updated_at"]}
    assert (await member.client.get(url)).json() == cleared


async def test_deleted_item_is_gone_but_its_tags_stay(
    member: Account, session: AsyncSession
) -> None:
    url = f"{ITEMS}/{(await make(member, 'Notes', 'work'))['id']}"

    response = await member.client.delete(url)

    assert response.status_code == 204
    assert (await member.client.get(url)).status_code == 404
    assert await session.scalar(select(func.count()).select_from(item_tags)) == 0
    assert (await session.scalars(select(Tag.name))).all() == ["work"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_items_of_others_do_not_exist(
    member: Account, register: Register, method: str
) -> None:
    item = await make(member)
    url = f"{ITEMS}/{item['id']}"
    stranger = (await register()).client

    theirs = await stranger.request(method, url, json={})
    nobodys = await stranger.request(method, f"{ITEMS}/{uuid4()}", json={})

    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json()["detail"] == nobodys.json()["detail"]
    assert (await member.client.get(url)).json() == item


@pytest.mark.parametrize(
    "change",
    [
        {"title": None, "tags": None, "version": 7, "owner_id": None},
        {"title": " ", "description": "a" * 5001, "tags": ["a"] * 21},
        {"title": "a" * 201, "description": "a\0"},
        {"title": "a\0"},
    ],
)
async def test_unusable_item_names_the_wrong_members(
    member: Account, change: dict[str, object]
) -> None:
    item = await make(member)

    created = await member.client.post(ITEMS, json={"title": "Notes"} | change)
    changed = await member.client.patch(f"{ITEMS}/{item['id']}", json=change)

    assert created.status_code == changed.status_code == 422
    assert pointers(created) == pointers(changed) == [f"/body/{name}" for name in change]


async def test_tags_are_words(member: Account) -> None:
    tags = ["a-1", "", "A", "a b", "-a", "a\n", "a" * 51, "ä"]

    response = await member.client.post(ITEMS, json={"title": "Notes", "tags": tags})

    assert pointers(response) == [f"/body/tags/{index}" for index in range(1, len(tags))]


@pytest.mark.parametrize("sort", ["created_at", "title"])
@pytest.mark.parametrize("descending", [False, True])
async def test_list_is_complete_and_in_order(
    member: Account, shelf: list[Any], sort: str, descending: bool
) -> None:
    order = f"-{sort}" if descending else sort

    pages = await read_pages(member.client, ITEMS, limit=2, sort=order)

    assert [len(page) for page in pages] == [2, 2, 1]
    key = itemgetter(sort, "id")  # what is equal goes by age
    assert list(chain(*pages)) == sorted(shelf, key=key, reverse=descending)


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "title", "-title"])
async def test_index_orders_the_list(member: Account, database: Database, sort: str) -> None:
    for title in ("A", "B"):
        await make(member, title)

    for plan in await page_plans(database, member.client, ITEMS, sort):
        assert f"ix_items_owner_id_{sort.removeprefix('-')}_id" in plan
        assert SORTED not in plan


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"tag": "home"}, ["Charlie", "Bravo"]),
        ({"tag": "unknown"}, []),
        ({"q": "BRAVO"}, ["Bravo", "Bravo"]),
        ({"q": "a_"}, ["Delta_1"]),
        ({"q": "%"}, ["Alpha 100%"]),
        ({"q": "r", "tag": "home"}, ["Charlie", "Bravo"]),
    ],
)
async def test_list_can_be_filtered(
    member: Account, query: dict[str, str], found: list[str]
) -> None:
    response = await member.client.get(ITEMS, params=query | {"sort": "created_at"})

    assert [item["title"] for item in response.json()["items"]] == found


@pytest.mark.parametrize(
    ("name", "value"),
    [("tag", "A B"), ("q", "\1"), ("sort", "id"), ("owner", "1"), ("limit", "0"), ("limit", "101")],
)
async def test_unknown_query_is_refused(member: Account, name: str, value: str) -> None:
    response = await member.client.get(ITEMS, params={name: value})

    assert (response.status_code, pointers(response)) == (422, [f"/query/{name}"])


@pytest.mark.parametrize(("path", "count"), [("", 2), ("/{item}", 3)])
async def test_reading_takes_one_statement_for_each_kind_of_row(
    member: Account, statements: Statements, path: str, count: int
) -> None:
    item = await make(member, "Notes", "work")
    await make(member, "Memoir", "home")

    with statements() as seen:
        response = await member.client.get(ITEMS + path.format(item=item["id"]))

    assert response.status_code == 200
    assert len(seen) == count  # the caller, the items, and tags unless they are columns of a list


async def test_same_new_tags_may_come_at_once(live_app: FastAPI) -> None:
    member = await new_account(live_app)
    tags = [f"tag-{number}" for number in range(8)]

    items = await asyncio.gather(
        *(make(member, "Notes", *names) for names in (tags, tags[::-1], tags[4:], tags[:4]) * 2)
    )

    assert [item["tags"] for item in items] == [tags, tags, tags[4:], tags[:4]] * 2
