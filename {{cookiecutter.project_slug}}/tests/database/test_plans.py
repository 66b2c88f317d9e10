"""How the database reads the pages of a list."""

import pytest
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
{%- endif %}

from {{ cookiecutter.package_name }}.database import Database

{% if cookiecutter.database == "postgresql" -%}
from support import SORTED, Account, new_user, page_plans

# A thousand for each account, in an order that is quickly indexed.
MANY_NOTES = """
    INSERT INTO notes (id, owner_id, title, created_at, updated_at)
    SELECT lpad(row_number() OVER (ORDER BY users.id, n)::text, 32, '0')::uuid, users.id, n,
        now() + n * interval '1 s', now()
    FROM users, generate_series(1, 1000) n
"""
{%- else -%}
from support import SORTED, Account, page_plans
{% endif %}
NOTES = "/api/v1/notes"


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "title", "-title"])
async def test_index_orders_a_list(member: Account, database: Database, sort: str) -> None:
    for title in ("A", "B"):
        await member.client.post(NOTES, json={"title": title})

    plans = await page_plans(database, member.client, NOTES, sort)

    assert len(plans) == 2
    for plan in plans:
        assert f"ix_notes_owner_id_{sort.removeprefix('-')}_id" in plan
        assert SORTED not in plan
{%- if cookiecutter.database == "postgresql" %}


async def test_planner_finds_a_page_among_many_rows_by_the_index(
    member: Account, session: AsyncSession, database: Database
) -> None:
    session.add_all(new_user() for _ in range(99))
    await session.flush()
    await session.execute(text(MANY_NOTES))
    await session.execute(text("ANALYZE notes"))

    for sort in ("created_at", "-created_at", "title", "-title"):
        for plan in await page_plans(database, member.client, NOTES, sort, small=False):
            assert f"ix_notes_owner_id_{sort.removeprefix('-')}_id" in plan
            assert SORTED not in plan
{%- endif %}
