"""Items: access, validation, lists, versions (RFC 9110 section 13) and demo data."""

import asyncio
import re
from itertools import chain
from operator import itemgetter
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.items.models import Item, Tag, item_tags

from support import (
    PASSWORD,
    Account,
    NewDatabase,
    Register,
    Statements,
    get_as,
    invoke,
    new_account,
    pointers,
    read_pages,
    settings_for,
)

ITEMS = "/api/v1/items"


async def create_item(account: Account, title: str = "Notes", *tags: str) -> Any:
    """Create an item of the account."""
    return (await account.client.post(ITEMS, json={"title": title, "tags": tags})).json()


@pytest.fixture
async def items(member: Account, register: Register) -> list[Any]:
    """Create items of the member, two of them with the same title, and one of another user."""
    await create_item(await register(), "Alpha", "work")
    return [
        await create_item(member, "Charlie", "work", "home"),
        await create_item(member, "Alpha 100%", "work"),
        await create_item(member, "Delta_1"),
        await create_item(member, "Bravo", "home"),
        await create_item(member, "Bravo", "homework"),
    ]


async def test_item_is_created_at_its_location(member: Account) -> None:
    body = {"title": " Notes ", "description": "On\nthe engine", "tags": ["work", "b", "work"]}

    created = await member.client.post(ITEMS, json=body)
    read = await member.client.get(created.headers["location"])

    assert created.status_code == 201
    assert created.headers["etag"] == read.headers["etag"]
    assert created.json() == read.json() | {"title": "Notes", "tags": ["b", "work"]}
    assert set(read.json()) == {*body, "id", "created_at", "updated_at"}


async def test_update_changes_only_the_sent_fields(member: Account) -> None:
    item = await create_item(member, "Notes", "work", "home")
    url = f"{ITEMS}/{item['id']}"

    tagged = (await member.client.patch(url, json={"tags": ["new", "home"]})).json()
    titled = (await member.client.patch(url, json={"title": "Memoir"})).json()
    cleared = (await member.client.patch(url, json={"tags": []})).json()

    assert tagged == item | {"tags": ["home", "new"], "updated_at": tagged["updated_at"]}
    assert titled == tagged | {"title": "Memoir", "updated_at": titled["updated_at"]}
    assert cleared == titled | {"tags": [], "updated_at": cleared["updated_at"]}
    assert (await member.client.get(url)).json() == cleared


async def test_deletion_keeps_the_tags(member: Account, session: AsyncSession) -> None:
    url = f"{ITEMS}/{(await create_item(member, 'Notes', 'work'))['id']}"

    response = await member.client.delete(url)

    assert response.status_code == 204
    assert (await member.client.get(url)).status_code == 404
    assert await session.scalar(select(func.count()).select_from(item_tags)) == 0
    assert (await session.scalars(select(Tag.name))).all() == ["work"]


async def test_items_are_deleted_with_their_owner(member: Account, session: AsyncSession) -> None:
    await create_item(member)

    await member.client.request("DELETE", "/api/v1/users/me", json={"password": PASSWORD})

    assert await session.scalar(select(func.count(Item.id))) == 0


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_items_of_other_users_are_not_found(
    member: Account, register: Register, method: str
) -> None:
    item = await create_item(member)
    url = f"{ITEMS}/{item['id']}"
    other = (await register()).client

    existing = await other.request(method, url, json={})
    unknown = await other.request(method, f"{ITEMS}/{uuid4()}", json={})

    assert existing.status_code == unknown.status_code == 404
    assert existing.json()["detail"] == unknown.json()["detail"]
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
async def test_invalid_item_has_pointers(member: Account, change: dict[str, object]) -> None:
    item = await create_item(member)

    created = await member.client.post(ITEMS, json={"title": "Notes"} | change)
    changed = await member.client.patch(f"{ITEMS}/{item['id']}", json=change)

    assert created.status_code == changed.status_code == 422
    assert pointers(created) == pointers(changed) == [f"/body/{name}" for name in change]


async def test_invalid_tags_have_pointers(member: Account) -> None:
    tags = ["a-1", "", "A", "a b", "-a", "a\n", "a" * 51, "ä"]

    response = await member.client.post(ITEMS, json={"title": "Notes", "tags": tags})

    assert pointers(response) == [f"/body/tags/{index}" for index in range(1, len(tags))]


@pytest.mark.parametrize("sort", ["created_at", "title"])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_are_complete_and_in_order(
    member: Account, items: list[Any], sort: str, descending: bool
) -> None:
    order = f"-{sort}" if descending else sort

    pages = await read_pages(member.client, ITEMS, limit=2, sort=order)

    assert [len(page) for page in pages] == [2, 2, 1]
    key = itemgetter(sort, "id")  # equal titles in the order of creation
    assert list(chain(*pages)) == sorted(items, key=key, reverse=descending)


@pytest.mark.usefixtures("items")
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
async def test_items_are_filtered(member: Account, query: dict[str, str], found: list[str]) -> None:
    response = await member.client.get(ITEMS, params=query | {"sort": "created_at"})

    assert [item["title"] for item in response.json()["items"]] == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tag", "A B"),
        ("q", "\1"),
        ("sort", "id"),
        ("owner", "1"),
        ("limit", "0"),
        ("limit", "101"),
        ("cursor", "invalid"),
    ],
)
async def test_invalid_query_has_a_pointer(member: Account, name: str, value: str) -> None:
    response = await member.client.get(ITEMS, params={name: value})

    assert (response.status_code, pointers(response)) == (422, [f"/query/{name}"])


@pytest.mark.parametrize(("path", "count"), [("", 2), ("/{item}", 3)])
async def test_number_of_statements(
    member: Account, statements: Statements, path: str, count: int
) -> None:
    item = await create_item(member, "Notes", "work")
    await create_item(member, "Memoir", "home")

    with statements() as executed:
        response = await member.client.get(ITEMS + path.format(item=item["id"]))

    assert response.status_code == 200
    assert len(executed) == count  # principal, items (with their tags in a list), tags


async def create_version(account: Account) -> tuple[str, str]:
    """Create an item. Returns its URL and its ETag."""
    body = {"title": "Notes", "tags": ["old"]}
    response = await account.client.post(ITEMS, json=body)
    return response.headers["location"], response.headers["etag"]


async def test_every_change_has_a_new_etag(member: Account) -> None:
    url, etag = await create_version(member)
    etags = [etag]

    for change in ({"title": "Memoir"}, {"description": "x"}, {"tags": ["new"]}):
        changed = await member.client.patch(url, json=change)
        etags.append(changed.headers["etag"])
        assert (await member.client.get(url)).headers["etag"] == etags[-1]

    assert len(set(etags)) == 4


async def test_lost_update_is_rejected(member: Account) -> None:
    url, etag = await create_version(member)
    headers = {"If-Match": etag}
    first = await member.client.patch(url, json={"title": "First"}, headers=headers)

    second = await member.client.patch(url, json={"title": "Second"}, headers=headers)
    deletion = await member.client.delete(url, headers=headers)

    assert (first.status_code, second.status_code, deletion.status_code) == (200, 412, 412)
    assert (await member.client.get(url)).json() == first.json()


async def test_one_of_concurrent_updates_succeeds(live_app: FastAPI) -> None:
    member = await new_account(live_app)
    url, etag = await create_version(member)

    responses = await asyncio.gather(
        *(
            member.client.patch(url, json={"title": title}, headers={"If-Match": etag})
            for title in ("A", "B", "C", "D", "E")
        )
    )

    assert sorted(response.status_code for response in responses) == [200, 412, 412, 412, 412]
    [updated] = [response.json() for response in responses if response.status_code == 200]
    assert (await member.client.get(url)).json() == updated


async def test_seed_creates_an_account_with_items(new_database: NewDatabase) -> None:
    async with new_database() as url:
        settings = settings_for(url)

        seeded = await invoke(settings, "seed", "--items", "3")

        printed = re.fullmatch(r"(\S+) with the password (\S+) has 3 items\.\n", seeded.output)
        assert printed is not None
        page = await get_as(settings, "/api/v1/items?sort=title", *printed.groups())
        assert [item["title"] for item in page.json()["items"]] == ["Item 1", "Item 2", "Item 3"]


async def test_seed_is_rejected_in_production(database_url: str) -> None:
    production = {"environment": "production", "allowed_hosts": ["test"], "bcrypt_rounds": 10}
    settings = settings_for(database_url, **production)

    seeded = await invoke(settings, "seed")

    assert (seeded.exit_code, seeded.output) == (1, "Error: Demo data is not for production.\n")
