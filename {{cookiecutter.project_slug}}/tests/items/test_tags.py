"""Tags of items: validation, filter, versions and concurrent changes."""

import asyncio

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.items.models import Tag, item_tags

from items.support import URL, create_item, new_item
from support import Account, new_account, pointers


async def test_tags_are_distinct_and_in_alphabetical_order(member: Account) -> None:
    item = await create_item(member, tags=["work", "home", "work"])

    assert item["tags"] == ["home", "work"]
    assert (await member.client.get(f"{URL}/{item['id']}")).json() == item
    assert (await member.client.get(URL)).json()["items"] == [item]


async def test_update_replaces_the_tags_if_it_names_them(member: Account) -> None:
    item = await create_item(member, tags=["work", "home"])
    url = f"{URL}/{item['id']}"

    tagged = (await member.client.patch(url, json={"tags": ["new", "home"]})).json()
    titled = (await member.client.patch(url, json={"title": "Memoir"})).json()
    cleared = (await member.client.patch(url, json={"tags": []})).json()

    assert tagged == item | {"tags": ["home", "new"], "updated_at": tagged["updated_at"]}
    assert titled == tagged | {"title": "Memoir", "updated_at": titled["updated_at"]}
    assert cleared == titled | {"tags": [], "updated_at": cleared["updated_at"]}
    assert item["updated_at"] < tagged["updated_at"]
    assert (await member.client.get(url)).json() == cleared


async def test_deletion_keeps_the_tags(member: Account, session: AsyncSession) -> None:
    item = await create_item(member, tags=["work"])

    response = await member.client.delete(f"{URL}/{item['id']}")

    assert response.status_code == 204
    assert await session.scalar(select(func.count()).select_from(item_tags)) == 0
    assert (await session.scalars(select(Tag.name))).all() == ["work"]


async def test_invalid_tags_have_pointers(member: Account) -> None:
    tags = ["a-1", "", "A", "a b", "-a", "a\n", "a" * 51, "ä"]

    invalid = await member.client.post(URL, json=new_item(tags=tags))
    too_many = await member.client.post(URL, json=new_item(tags=["a"] * 21))

    assert pointers(invalid) == [f"/body/tags/{index}" for index in range(1, len(tags))]
    assert pointers(too_many) == ["/body/tags"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"tag": "home"}, ["Bravo", "Alpha"]),
        ({"tag": "home", "q": "b"}, ["Bravo"]),
        ({"tag": "unknown"}, []),
    ],
)
async def test_items_are_filtered_by_tag(
    member: Account, query: dict[str, str], found: list[str]
) -> None:
    await create_item(member, title="Alpha", tags=["work", "home"])
    await create_item(member, title="Bravo", tags=["home"])
    await create_item(member, title="Charlie", tags=["homework"])

    response = await member.client.get(URL, params=query)

    assert [item["title"] for item in response.json()["items"]] == found


async def test_invalid_tag_in_the_query_has_a_pointer(member: Account) -> None:
    response = await member.client.get(URL, params={"tag": "A B"})

    assert (response.status_code, pointers(response)) == (422, ["/query/tag"])


async def test_change_of_tags_has_a_new_etag(member: Account) -> None:
    url = f"{URL}/{(await create_item(member, tags=['old']))['id']}"
    etag = (await member.client.get(url)).headers["etag"]

    changed = await member.client.patch(url, json={"tags": ["new"]})

    assert changed.headers["etag"] != etag
    assert (await member.client.get(url)).headers["etag"] == changed.headers["etag"]


async def test_one_of_concurrent_updates_succeeds(live_app: FastAPI) -> None:
    member = await new_account(live_app)
    created = await member.client.post(URL, json=new_item())
    url, headers = created.headers["location"], {"If-Match": created.headers["etag"]}

    responses = await asyncio.gather(
        *(member.client.patch(url, json={"tags": [tag]}, headers=headers) for tag in "abcde")
    )

    assert sorted(response.status_code for response in responses) == [200, 412, 412, 412, 412]
    [updated] = [response.json() for response in responses if response.status_code == 200]
    assert (await member.client.get(url)).json() == updated
