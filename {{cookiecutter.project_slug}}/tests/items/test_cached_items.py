"""Items through the cache, as clients see them."""

import pytest
from httpx2 import AsyncClient

from support import Account, NewApp, Statements, new_client

ITEMS = "/api/v1/items"


@pytest.fixture
async def url(member: Account) -> str:
    """An item of the member."""
    made = await member.client.post(ITEMS, json={"title": "Tea", "tags": ["hot"]})
    return str(made.headers["Location"])


async def titles(client: AsyncClient) -> list[str]:
    """The titles of the caller's items."""
    return [item["title"] for item in (await client.get(ITEMS)).json()["items"]]


@pytest.mark.usefixtures("url")
async def test_second_read_does_not_query_the_database(
    member: Account, statements: Statements
) -> None:
    first = await member.client.get(ITEMS)

    with statements() as seen:
        second = await member.client.get(ITEMS)

    assert seen == []
    assert second.json() == first.json()


@pytest.mark.usefixtures("url")
async def test_unchanged_list_has_the_rate_limit_headers(member: Account) -> None:
    etag = (await member.client.get(ITEMS)).headers["ETag"]

    response = await member.client.get(ITEMS, headers={"If-None-Match": etag})

    assert response.status_code == 304
    assert "RateLimit" in response.headers


async def test_every_replica_reads_a_change_at_once(
    new_app: NewApp, member: Account, url: str
) -> None:
    clients = [member.client]
    clients.append(new_client(new_app()))
    clients[1].headers["Authorization"] = member.client.headers["Authorization"]

    for number, (writer, reader) in enumerate([clients, clients[::-1], clients]):
        assert len(await titles(reader)) == number + 1
        await reader.get(url)
        await writer.patch(url, json={"title": f"Tea {number}"})
        assert (await reader.get(url)).json()["title"] == f"Tea {number}"
        assert f"Tea {number}" in await titles(reader)
        made = await writer.post(ITEMS, json={"title": "Milk"})
        assert len(await titles(reader)) == number + 2
        assert (await reader.get(made.headers["Location"])).json()["title"] == "Milk"
    await clients[1].delete(url)
    assert (await clients[0].get(url)).status_code == 404
    assert await titles(clients[0]) == ["Milk"] * 3


@pytest.mark.parametrize("path", [ITEMS, None])
async def test_unchanged_response_is_not_sent_again(
    member: Account, url: str, path: str | None
) -> None:
    known = (await member.client.get(path or url)).headers["ETag"]
    headers = {"If-None-Match": f'"other", W/{known}'}

    again = await member.client.get(path or url, headers=headers)

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == known
    assert again.headers["Cache-Control"] == "private, no-cache"
    await member.client.patch(url, json={"title": "Coffee"})
    changed = await member.client.get(path or url, headers=headers)
    assert (changed.status_code, changed.headers["ETag"] != known) == (200, True)
