"""Items through the cache, as clients see them."""

from typing import Any

from httpx2 import AsyncClient

import support
from items.support import URL, create_item, new_item
from support import Account, NewApp, Register, Statements


async def list_items(client: AsyncClient) -> Any:
    """Return the items that the client lists."""
    return (await client.get(URL)).json()["items"]


async def test_second_read_does_not_query_the_database(
    member: Account, statements: Statements
) -> None:
    item = await create_item(member)
    await member.client.get(URL)

    with statements() as executed:
        assert await list_items(member.client) == [item]

    assert executed == []


async def test_unchanged_list_is_not_sent_again(member: Account) -> None:
    etag = (await member.client.get(URL)).headers["etag"]

    response = await member.client.get(URL, headers={"If-None-Match": etag})

    assert (response.status_code, response.content) == (304, b"")


async def test_every_replica_reads_a_change_at_once(member: Account, new_app: NewApp) -> None:
    replica = support.new_client(new_app())
    replica.headers["Authorization"] = member.client.headers["Authorization"]
    assert await list_items(replica) == []

    item = await create_item(member)
    url = f"{URL}/{item['id']}"
    assert await list_items(replica) == [item]

    change = new_item(title="aaaaa")
    changed = await member.client.patch(url, json=change)
    assert await list_items(replica) == [changed.json()]

    await member.client.delete(url)
    assert await list_items(replica) == []


async def test_users_do_not_read_cached_items_of_others(
    member: Account, register: Register
) -> None:
    item = await create_item(member)
    other = await register()

    assert await list_items(member.client) == [item]
    assert await list_items(other.client) == []
