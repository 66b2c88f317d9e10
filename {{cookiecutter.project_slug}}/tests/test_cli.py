"""Management commands."""

import asyncio
import json
import re

import pytest
from click.testing import CliRunner, Result
from httpx2 import Response

from {{ cookiecutter.package_name }}.cli import main
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings

from support import PASSWORD, NewDatabase, environment_of, log_in, new_client, settings_for


async def invoke(settings: Settings, *command: str, typed: str = "") -> Result:
    """Run a command with these settings; in a thread, because it has an event loop of its own."""
    environment = environment_of(settings)
    return await asyncio.to_thread(CliRunner().invoke, main, command, env=environment, input=typed)


async def get(settings: Settings, path: str, email: str, password: str) -> Response:
    """What an account gets."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        tokens = (await log_in(new_client(app), email, password)).json()
        return await new_client(app, tokens["access_token"]).get(path)


async def test_administrator_is_registered(new_database: NewDatabase) -> None:
    async with new_database() as url:
        typed = f"{PASSWORD}\n{PASSWORD}\n"

        made = await invoke(settings_for(url), "create-admin", "Ａda@Example.com", typed=typed)

        assert made.output.endswith("\nada@example.com is registered as an administrator.\n")
        assert PASSWORD not in made.output
        users = await get(settings_for(url), "/api/v1/users", "ada@example.com", PASSWORD)
        assert [user["role"] for user in users.json()["items"]] == ["admin"]


async def test_demo_account_has_items_and_may_become_an_administrator(
    new_database: NewDatabase,
) -> None:
    async with new_database() as url:
        settings = settings_for(url)

        seeded = await invoke(settings, "seed", "--items", "3")

        said = re.fullmatch(r"(\S+) with the password (\S+) has 3 items\.\n", seeded.output)
        assert said is not None
        page = await get(settings, "/api/v1/items?sort=title", *said.groups())
        assert [item["title"] for item in page.json()["items"]] == ["Item 1", "Item 2", "Item 3"]
        assert (await get(settings, "/api/v1/users", *said.groups())).status_code == 403

        made = await invoke(settings, "create-admin", said[1])

        assert made.output == f"{said[1]} is an administrator now.\n"
        assert (await get(settings, "/api/v1/users", *said.groups())).status_code == 200


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("nobody", PASSWORD, "value is not a valid email address"),
        ("ada@example.com", "short", "password: "),
        ("ada@example.com", "ada@example.com", "password: must not be the e-mail address"),
    ],
)
async def test_refused_administrator_is_one_sentence(
    database_url: str, email: str, password: str, sentence: str
) -> None:
    made = await invoke(settings_for(database_url), "create-admin", email, "--password", password)

    assert made.exit_code == 1
    assert made.output.startswith(f"Error: {sentence}")
    assert made.output.count("\n") == 1


async def test_production_gets_no_demo_data(database_url: str) -> None:
    settings = settings_for(database_url, environment="production", bcrypt_rounds=10)

    made = await invoke(settings, "seed")

    assert (made.exit_code, made.output) == (1, "Error: Demo data is not for production.\n")


async def test_description_is_printed(database_url: str) -> None:
    settings = settings_for(database_url)

    printed = await invoke(settings, "openapi")

    assert json.loads(printed.output) == create_app(settings).openapi()


@pytest.mark.parametrize("command", ["run", "seed", "openapi"])
async def test_bad_settings_are_one_sentence_each(database_url: str, command: str) -> None:
    bad = settings_for(database_url).model_copy(update={"environment": "production", "port": 0})

    stopped = await invoke(bad, command)

    assert stopped.exit_code == 1
    assert [line.split()[0] for line in stopped.output.splitlines()] == ["PORT", "BCRYPT_ROUNDS"]
