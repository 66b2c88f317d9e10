"""Items: access, validation, lists and versions (RFC 9110 section 13)."""

from itertools import chain
from operator import itemgetter
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.items import models

from items.support import URL, create_item, new_item
from support import Account, Register, Statements, delete_account, pointers, read_pages

# In ascending order of each field that lists are sorted by.
FIRST: dict[str, Any] = {"title": "aaaaa", "description": "aaaaa"}
SECOND: dict[str, Any] = {"title": "bbbbb", "description": "bbbbb"}
THIRD: dict[str, Any] = {"title": "ccccc", "description": "ccccc"}


@pytest.fixture
async def items(member: Account, register: Register) -> list[Any]:
    """Create items of the member, and one of another user."""
    await create_item(await register(), **FIRST)
    return [await create_item(member, **values) for values in (FIRST, THIRD, SECOND)]


async def test_item_is_created_at_its_location(member: Account) -> None:
    body = new_item(**SECOND)

    created = await member.client.post(URL, json=body)
    read = await member.client.get(created.headers["location"])

    assert created.status_code == 201
    assert created.headers["etag"] == read.headers["etag"]
    assert created.json() == read.json() | body
    assert set(read.json()) == {*body, "tags", "id", "created_at", "updated_at"}


async def test_repeated_request_with_an_idempotency_key_creates_one_item(member: Account) -> None:
    body = new_item(**SECOND)
    headers = {"Idempotency-Key": str(uuid4())}

    first, second = [await member.client.post(URL, json=body, headers=headers) for _ in range(2)]

    assert (second.status_code, second.content) == (201, first.content)
    assert (await member.client.get(URL)).json()["items"] == [first.json()]


async def test_optional_fields_have_defaults(member: Account) -> None:
    item = await create_item(member)

    assert item == item | {"description": None}


async def test_update_changes_only_the_sent_fields(member: Account) -> None:
    item = await create_item(member, **FIRST)
    url = f"{URL}/{item['id']}"
    changes = new_item(**SECOND)

    for name, value in [*changes.items(), ("description", None)]:
        changed = (await member.client.patch(url, json={name: value})).json()

        assert changed == item | {name: value, "updated_at": changed["updated_at"]}
        assert (await member.client.get(url)).json() == changed
        item = changed


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_items_of_other_users_are_not_found(
    member: Account, register: Register, method: str
) -> None:
    item = await create_item(member)
    url = f"{URL}/{item['id']}"
    other = (await register()).client

    existing = await other.request(method, url, json={})
    unknown = await other.request(method, f"{URL}/{uuid4()}", json={})

    assert existing.status_code == unknown.status_code == 404
    assert existing.json()["detail"] == unknown.json()["detail"]
    assert (await member.client.get(url)).json() == item


async def test_items_are_deleted_with_their_owner(member: Account, session: AsyncSession) -> None:
    await create_item(member)

    await delete_account(member.client)

    assert await session.scalar(select(func.count(models.Item.id))) == 0


async def test_deleted_item_is_not_found(member: Account) -> None:
    url = f"{URL}/{(await create_item(member))['id']}"

    response = await member.client.delete(url)

    assert response.status_code == 204
    assert (await member.client.get(url)).status_code == 404


@pytest.mark.parametrize(
    "change", [{"title": "a" * 201, "description": "a" * 2001, "version": 7}, {"title": None}]
)
async def test_invalid_item_has_pointers(member: Account, change: dict[str, object]) -> None:
    item = await create_item(member)

    created = await member.client.post(URL, json=change)
    changed = await member.client.patch(f"{URL}/{item['id']}", json=change)

    assert created.status_code == changed.status_code == 422
    assert pointers(created) == pointers(changed) == [f"/body/{name}" for name in change]


@pytest.mark.parametrize("sort", ["created_at", "title"])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_are_complete_and_in_order(
    member: Account, items: list[Any], sort: str, descending: bool
) -> None:
    pages = await read_pages(member.client, URL, limit=2, sort=f"-{sort}" if descending else sort)

    assert [len(page) for page in pages] == [2, 1]
    assert list(chain(*pages)) == sorted(items, key=itemgetter(sort), reverse=descending)


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(("query", "found"), [({"q": "B"}, [SECOND]), ({"q": "%"}, [])])
async def test_items_are_filtered(member: Account, query: dict[str, Any], found: list[Any]) -> None:
    response = await member.client.get(URL, params=query)

    rows = response.json()["items"]
    assert [{name: row[name] for name in FIRST} for row in rows] == found


@pytest.mark.parametrize("name", ["sort", "unknown", "q"])
async def test_invalid_query_has_a_pointer(member: Account, name: str) -> None:
    response = await member.client.get(URL, params={name: "\1"})

    assert (response.status_code, pointers(response)) == (422, [f"/query/{name}"])


@pytest.mark.parametrize(("path", "count"), [("", 2), ("/{id}", 3)])
async def test_number_of_statements(
    member: Account, statements: Statements, path: str, count: int
) -> None:
    item = await create_item(member)

    with statements() as executed:
        response = await member.client.get(URL + path.format_map(item))

    assert response.status_code == 200
    assert len(executed) == count  # principal, items, tags


async def test_lost_update_is_rejected(member: Account) -> None:
    created = await member.client.post(URL, json=new_item(**FIRST))
    url, headers = created.headers["location"], {"If-Match": created.headers["etag"]}
    first = await member.client.patch(url, json=SECOND, headers=headers)

    second = await member.client.patch(url, json=THIRD, headers=headers)
    deletion = await member.client.delete(url, headers=headers)

    assert (first.status_code, second.status_code, deletion.status_code) == (200, 412, 412)
    read = await member.client.get(url)
    assert read.json() == first.json()
    assert read.headers["etag"] == first.headers["etag"] != created.headers["etag"]
