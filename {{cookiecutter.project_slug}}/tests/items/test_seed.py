"""Demo data: `poe seed`."""

import re

from support import PRODUCTION, NewDatabase, get_as, invoke, settings_for


async def test_seed_creates_a_verified_account_with_items(new_database: NewDatabase) -> None:
    async with new_database() as url:
        settings = settings_for(url, require_verified_email=True)

        seeded = await invoke(settings, "seed", "--items", "3")

        printed = re.fullmatch(r"(\S+) with the password (\S+) has 3 items\.\n", seeded.output)
        assert printed is not None
        page = await get_as(settings, "/api/v1/items?sort=title", *printed.groups())
        assert [item["title"] for item in page.json()["items"]] == ["Item 1", "Item 2", "Item 3"]


async def test_seed_is_rejected_in_production(database_url: str) -> None:
    settings = settings_for(database_url, **PRODUCTION)

    seeded = await invoke(settings, "seed")

    assert (seeded.exit_code, seeded.output) == (1, "Error: Demo data is not for production.\n")
