"""Conditions in several lines, and concurrent changes of items."""

import asyncio
from typing import Any

from fastapi import FastAPI
from support import Account, new_account

ITEMS = "/api/v1/items"


async def create_item(account: Account) -> tuple[str, str]:
    """Create an item. Returns its URL and its ETag."""
    response = await account.client.post(ITEMS, json={"title": "Notes", "tags": ["old"]})
    return response.headers["Location"], response.headers["ETag"]


async def create_tagged_item(account: Account, tags: list[str]) -> Any:
    """Create an item with these tags."""
    return (await account.client.post(ITEMS, json={"title": "Notes", "tags": tags})).json()


async def test_etags_in_several_header_lines(member: Account) -> None:
    url, etag = await create_item(member)

    for etags, status in ((['"0"', etag], 304), ([etag, '"0"'], 304), (['"0"', '"x"'], 200)):
        reading = await member.client.get(url, headers=[("If-None-Match", tag) for tag in etags])
        assert reading.status_code == status, etags
    for etags, status in ((['"0"', '"x"'], 412), (['"0"', etag], 204)):
        deletion = await member.client.delete(url, headers=[("If-Match", tag) for tag in etags])
        assert deletion.status_code == status, etags


async def test_update_and_deletion_do_not_deadlock(live_app: FastAPI) -> None:
    member = await new_account(live_app)

    async def update_and_delete() -> tuple[int, int]:
        url, _ = await create_item(member)
        change, deletion = await asyncio.gather(
            member.client.patch(url, json={"tags": ["new"]}), member.client.delete(url)
        )
        return change.status_code, deletion.status_code

    outcomes = await asyncio.gather(*(update_and_delete() for _ in range(4)))

    assert set(outcomes) <= {(200, 204), (404, 204)}


async def test_concurrent_items_may_have_the_same_new_tags(live_app: FastAPI) -> None:
    member = await new_account(live_app)
    tags = [f"tag-{number}" for number in range(8)]

    items = await asyncio.gather(
        *(create_tagged_item(member, names) for names in (tags, tags[::-1], tags[4:], tags[:4]) * 2)
    )

    assert [item["tags"] for item in items] == [tags, tags, tags[4:], tags[:4]] * 2
