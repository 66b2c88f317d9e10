"""Items and tags on the admin pages."""

import re
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.items.models import Tag

from admin_support import alert, is_saved, save
from support import Account

ITEMS = "/api/v1/items"


@pytest.fixture
async def item(member: Account) -> dict[str, Any]:
    """An item of the member, as the API returns it."""
    created = await member.client.post(ITEMS, json={"title": "Tea", "tags": ["green", "hot"]})
    return {**created.json(), "etag": created.headers["ETag"]}


async def test_lists_show_items_and_tags(
    browser: AsyncClient, member: Account, item: dict[str, Any]
) -> None:
    listed = await browser.get("/admin/item/list?search=tea&sortBy=email")
    tags = await browser.get("/admin/tag/list?sortBy=items&sort=desc")

    assert member.email in listed.text
    assert {"green", "hot"} == set(re.findall(r"green|hot", listed.text))
    assert f"/admin/item/edit/{item['id']}" in listed.text
    assert "<td>hot</td>" in tags.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "item/edit/{item}"),
        ("DELETE", "item/delete?pks={item}"),
        ("POST", "tag/create"),
        ("POST", "tag/edit/{tag}"),
        ("DELETE", "tag/delete?pks={tag}"),
    ],
)
async def test_administrator_demoted_meanwhile_changes_no_item(
    demoted_browser: AsyncClient,
    member: Account,
    item: dict[str, Any],
    session: AsyncSession,
    method: str,
    path: str,
) -> None:
    tag = await session.scalar(select(Tag.id).where(Tag.name == "green"))
    url = "/admin/" + path.format(item=item["id"], tag=tag)

    response = await demoted_browser.request(method, url, data={"name": "new", "title": "New"})

    assert "Only administrators may do this." in response.text.replace("+", " ")
    assert (await member.client.get(f"{ITEMS}/{item['id']}")).json() == {
        name: value for name, value in item.items() if name != "etag"
    }
    assert (await session.scalars(select(Tag.name).order_by(Tag.name))).all() == ["green", "hot"]


async def test_concurrent_change_of_an_item_is_rejected(
    browser: AsyncClient, member: Account, item: dict[str, Any]
) -> None:
    path, url = f"item/edit/{item['id']}", f"{ITEMS}/{item['id']}"
    page = await browser.get(f"/admin/{path}")
    [version] = re.findall(r'name="version" type="hidden" value="(\d+)"', page.text)
    form = {"version": version, "title": "Tea", "description": "", "tags": "hot green"}
    assert is_saved(await save(browser, path, form))
    assert (await member.client.get(url)).headers["ETag"] == item["etag"]

    assert is_saved(
        await save(browser, path, {**form, "description": "a\r\nb", "tags": "hot, cup"})
    )
    late = await save(browser, path, {**form, "title": "Coffee"})

    assert alert(late) == "The item has changed in the meantime; load it again."
    read = await member.client.get(url)
    assert (read.json()["title"], read.json()["description"]) == ("Tea", "a\nb")
    assert (read.json()["tags"], read.headers["ETag"] == item["etag"]) == (["cup", "hot"], False)


async def test_invalid_item_is_rejected_and_item_is_deleted(
    browser: AsyncClient, member: Account, item: dict[str, Any]
) -> None:
    form = {"version": "1", "title": " ", "description": "", "tags": "No Tag"}
    rejected = await save(browser, f"item/edit/{item['id']}", form)
    assert alert(rejected).startswith("Title: ")

    await browser.delete(f"/admin/item/delete?pks={item['id']}")
    missing = await browser.delete(f"/admin/item/delete?pks={item['id']}")

    assert (await member.client.get(f"{ITEMS}/{item['id']}")).status_code == 404
    assert "Item+not+found" in missing.text


@pytest.mark.parametrize("sent", ["nothing", "files"])
async def test_item_form_without_its_fields_is_rejected(
    browser: AsyncClient, item: dict[str, Any], sent: str
) -> None:
    names = ("title", "description", "tags", "version")
    files = {name: (name, b"x") for name in names} if sent == "files" else {"x": (None, "x")}

    response = await browser.post(f"/admin/item/edit/{item['id']}", files=files)

    assert response.status_code == 400


async def test_tags_are_unique_words(browser: AsyncClient, session: AsyncSession) -> None:
    assert is_saved(await save(browser, "tag/create", {"name": "tea"}))

    again = await save(browser, "tag/create", {"name": "tea"})
    bad = await save(browser, "tag/create", {"name": "Two Words"})

    assert alert(again) == "A tag with this name exists."
    assert alert(bad).startswith("Name: ")
    assert (await session.scalars(select(Tag.name))).all() == ["tea"]


async def test_renamed_or_deleted_tag_is_a_new_version_of_its_items(
    browser: AsyncClient, member: Account, item: dict[str, Any], session: AsyncSession
) -> None:
    green = await session.scalar(select(Tag.id).where(Tag.name == "green"))
    url = f"{ITEMS}/{item['id']}"
    assert (await member.client.get(url)).headers["ETag"] == item["etag"]

    assert is_saved(await save(browser, f"tag/edit/{green}", {"name": "black"}))
    renamed = await member.client.get(url, headers={"If-None-Match": item["etag"]})
    await browser.delete(f"/admin/tag/delete?pks={green}")
    deleted = await member.client.get(url, headers={"If-None-Match": renamed.headers["ETag"]})

    assert (renamed.json()["tags"], deleted.json()["tags"]) == (["black", "hot"], ["hot"])
