"""Nobody overwrites what somebody else has changed in the meantime (RFC 9110 section 13)."""

import asyncio

import pytest
from fastapi import FastAPI

from support import Account, new_account


async def make(account: Account) -> tuple[str, str]:
    """The URL and the ETag of a new item of the account."""
    body = {"title": "Notes", "tags": ["old"]}
    response = await account.client.post("/api/v1/items", json=body)
    return response.headers["location"], response.headers["etag"]


async def test_every_change_makes_a_new_version(member: Account) -> None:
    url, etag = await make(member)
    seen = [etag]

    for change in ({"title": "Memoir"}, {"description": "x"}, {"tags": ["new"]}):
        changed = await member.client.patch(url, json=change)
        seen.append(changed.headers["etag"])
        assert (await member.client.get(url)).headers["etag"] == seen[-1]

    assert len(set(seen)) == 4


async def test_lost_update_is_refused(member: Account) -> None:
    url, etag = await make(member)
    known = {"If-Match": etag}
    theirs = await member.client.patch(url, json={"title": "Theirs"}, headers=known)

    change = await member.client.patch(url, json={"title": "Ours"}, headers=known)
    deletion = await member.client.delete(url, headers=known)

    assert (theirs.status_code, change.status_code, deletion.status_code) == (200, 412, 412)
    assert (await member.client.get(url)).json() == theirs.json()


@pytest.mark.parametrize(
    ("known", "deleted", "read"),
    [
        ("{etag}", 204, 304),
        ('"0",  {etag}', 204, 304),
        ("*", 204, 304),
        ("W/{etag}", 412, 304),  # as proxies that compress say; good enough to read
        ('"0"', 412, 200),
    ],
)
async def test_conditions_name_versions(
    member: Account, known: str, deleted: int, read: int
) -> None:
    url, etag = await make(member)
    known = known.format(etag=etag)

    reading = await member.client.get(url, headers={"If-None-Match": known})
    deletion = await member.client.delete(url, headers={"If-Match": known})

    assert (deletion.status_code, reading.status_code) == (deleted, read)
    assert reading.headers["etag"] == etag
    assert bool(reading.content) == (read == 200)


async def test_conditions_may_have_several_lines(member: Account) -> None:
    url, etag = await make(member)

    for known, status in ((['"0"', etag], 304), ([etag, '"0"'], 304), (['"0"', '"x"'], 200)):
        reading = await member.client.get(url, headers=[("If-None-Match", tag) for tag in known])
        assert reading.status_code == status, known
    for known, status in ((['"0"', '"x"'], 412), (['"0"', etag], 204)):
        deletion = await member.client.delete(url, headers=[("If-Match", tag) for tag in known])
        assert deletion.status_code == status, known


async def test_of_concurrent_changes_of_one_version_one_wins(live_app: FastAPI) -> None:
    member = await new_account(live_app)
    url, etag = await make(member)

    responses = await asyncio.gather(
        *(
            member.client.patch(url, json={"title": title}, headers={"If-Match": etag})
            for title in ("A", "B", "C", "D", "E")
        )
    )

    assert sorted(response.status_code for response in responses) == [200, 412, 412, 412, 412]
    [winner] = [response.json() for response in responses if response.status_code == 200]
    assert (await member.client.get(url)).json() == winner


async def test_change_and_deletion_do_not_block_each_other(live_app: FastAPI) -> None:
    member = await new_account(live_app)

    async def race() -> tuple[int, int]:
        url, _ = await make(member)
        change, deletion = await asyncio.gather(
            member.client.patch(url, json={"tags": ["new"]}), member.client.delete(url)
        )
        return change.status_code, deletion.status_code

    outcomes = await asyncio.gather(*(race() for _ in range(4)))

    assert set(outcomes) <= {(200, 204), (404, 204)}
