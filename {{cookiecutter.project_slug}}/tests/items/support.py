"""Bodies of item requests."""

from typing import Any

from support import Account

URL = "/api/v1/items"


def new_item(**changes: object) -> dict[str, Any]:
    """Return the body that creates an item, without optional fields."""
    return {"title": "bbbbb", **changes}


async def create_item(account: Account, /, **changes: object) -> Any:
    """Create an item of the account."""
    response = await account.client.post(URL, json=new_item(**changes))
    assert response.status_code == 201, response.text
    return response.json()
