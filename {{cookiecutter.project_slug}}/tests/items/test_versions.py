"""Conditional requests (RFC 9110 section 13)."""

import asyncio

import pytest
from fastapi import FastAPI

from support import Account, new_account


async def create_item(account: Account) -> tuple[str, str]:
    """Create an item. Returns its URL and its ETag."""
    body = {"title": "Notes", "tags": ["old"]}
    response = await account.client.post("/api/v1/items", json=body)
    return response.headers["location"], response.headers["etag"]


async def test_every_change_has_a_new_etag(member: Account) -> None:
    url, etag = await create_item(member)
    etags = [etag]

    for change in ({"title": "Memoir"}, {"description": "x"}, {"tags": ["new"]}):
        changed = await member.client.patch(url, json=change)
        etags.append(changed.headers["etag"])
        assert (await member.client.get(url)).headers["etag"] == etags[-1]

    assert len(set(etags)) == 4


async def test_lost_update_is_rejected(member: Account) -> None:
    url, etag = await create_item(member)
    headers = {"If-Match": etag}
    first = await member.client.patch(url, json={"title": "First"}, headers=headers)

    second = await member.client.patch(url, json={"title": "Second"}, headers=headers)
    deletion = await member.client.delete(url, headers=headers)

    assert (first.status_code, second.status_code, deletion.status_code) == (200, 412, 412)
    assert (await member.client.get(url)).json() == first.json()


@pytest.mark.parametrize(
    ("etags", "deletion_status", "read_status"),
    [
        ("{etag}", 204, 304),
        ('"0",  {etag}', 204, 304),
        ("*", 204, 304),
        ("W/{etag}", 412, 304),  # weak, of a proxy that compresses
        ('"0"', 412, 200),
    ],
)
async def test_etags_are_compared(
    member: Account, etags: str, deletion_status: int, read_status: int
) -> None:
    url, etag = await create_item(member)
    etags = etags.format(etag=etag)

    reading = await member.client.get(url, headers={"If-None-Match": etags})
    deletion = await member.client.delete(url, headers={"If-Match": etags})

    assert (deletion.status_code, reading.status_code) == (deletion_status, read_status)
    assert reading.headers["etag"] == etag
    assert bool(reading.content) == (read_status == 200)


async def test_one_of_concurrent_updates_succeeds(live_app: FastAPI) -> None:
    member = await new_account(live_app)
    url, etag = await create_item(member)

    responses = await asyncio.gather(
        *(
            member.client.patch(url, json={"title": title}, headers={"If-Match": etag})
            for title in ("A", "B", "C", "D", "E")
        )
    )

    assert sorted(response.status_code for response in responses) == [200, 412, 412, 412, 412]
    [updated] = [response.json() for response in responses if response.status_code == 200]
    assert (await member.client.get(url)).json() == updated
