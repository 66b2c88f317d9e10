"""The migrations and the models describe the same schema."""

import asyncio

import pytest
from alembic import command

from {{ cookiecutter.package_name }}.database import Base

from support import NOWHERE, NewDatabase, alembic_config, settings_for


async def test_migrations_are_reversible_and_match_the_models(new_database: NewDatabase) -> None:
    async with new_database(empty=True) as url:
        config = alembic_config(settings_for(url))

        # In threads, as the commands start an event loop.
        for revision in ("head", "base", "head"):
            change = command.downgrade if revision == "base" else command.upgrade
            await asyncio.to_thread(change, config, revision)

        await asyncio.to_thread(command.check, config)  # raises on a difference


async def test_migrations_can_be_printed_as_sql(capsys: pytest.CaptureFixture[str]) -> None:
    config = alembic_config(settings_for(NOWHERE))

    await asyncio.to_thread(command.upgrade, config, "head", sql=True)

    sql = capsys.readouterr().out
    for table in Base.metadata.tables:
        assert f"CREATE TABLE {table} " in sql
