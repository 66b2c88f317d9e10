"""Items on the admin pages."""

import re
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.audit.models import AuditEvent

from admin_support import alert, hidden_value, is_saved, save
from support import Account

ITEMS = "/api/v1/items"


@pytest.fixture
async def item(member: Account) -> dict[str, Any]:
    """An item of the member, as the API returns it."""
    created = await member.client.post(ITEMS, json={"title": "Tea", "tags": ["green", "hot"]})
    return {**created.json(), "etag": created.headers["ETag"]}


async def test_list_shows_items_with_their_owner_and_tags(
    browser: AsyncClient, member: Account, item: dict[str, Any]
) -> None:
    listed = await browser.get("/admin/item/list?search=tea&sortBy=email")

    assert member.email in listed.text
    assert {"green", "hot"} == set(re.findall(r"green|hot", listed.text))
    assert f"/admin/item/edit/{item['id']}" in listed.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "item/edit/{item}"),
        ("DELETE", "item/delete?pks={item}"),
    ],
)
async def test_administrator_demoted_meanwhile_changes_no_item(
    demoted_browser: AsyncClient,
    member: Account,
    item: dict[str, Any],
    method: str,
    path: str,
) -> None:
    url = "/admin/" + path.format(item=item["id"])

    response = await demoted_browser.request(method, url, data={"title": "New"})

    assert "Only administrators may do this." in response.text.replace("+", " ")
    assert (await member.client.get(f"{ITEMS}/{item['id']}")).json() == {
        name: value for name, value in item.items() if name != "etag"
    }


async def test_concurrent_change_of_an_item_is_rejected(
    browser: AsyncClient, member: Account, item: dict[str, Any]
) -> None:
    path, url = f"item/edit/{item['id']}", f"{ITEMS}/{item['id']}"
    page = await browser.get(f"/admin/{path}")
    form = {"title": "Tea", "description": "", "tags": "hot green"}
    form["version"] = hidden_value(page, "version")
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


async def test_changes_of_items_are_in_the_audit_log(
    browser: AsyncClient, admin: Account, item: dict[str, Any], session: AsyncSession
) -> None:
    invalid = {"version": "1", "title": " ", "description": "", "tags": ""}
    await save(browser, f"item/edit/{item['id']}", invalid)
    await browser.delete(f"/admin/item/delete?pks={item['id']}")

    statement = select(AuditEvent).where(AuditEvent.action.startswith("admin."))
    [event] = (await session.scalars(statement)).all()
    assert (event.action, event.target) == ("admin.delete", f"item:{item['id']}")
    assert (event.actor_id, event.account_id, event.credential) == (admin.id, None, "cookie")


@pytest.mark.parametrize("sent", ["nothing", "files"])
async def test_item_form_without_its_fields_is_rejected(
    browser: AsyncClient, item: dict[str, Any], sent: str
) -> None:
    names = ("title", "description", "tags", "version")
    files = {name: (name, b"x") for name in names} if sent == "files" else {"x": (None, "x")}

    response = await browser.post(f"/admin/item/edit/{item['id']}", files=files)

    assert response.status_code == 400
