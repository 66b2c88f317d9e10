"""Management commands."""

import json

import pytest

from {{ cookiecutter.package_name }}.main import create_app

from support import PASSWORD, NewDatabase, get_as, invoke, new_account, settings_for


async def test_administrator_is_registered(new_database: NewDatabase) -> None:
    async with new_database() as url:
        typed = f"{PASSWORD}\n{PASSWORD}\n"

        made = await invoke(settings_for(url), "create-admin", "Ａda@Example.com", typed=typed)

        assert made.output.endswith("\nada@example.com is registered as an administrator.\n")
        assert PASSWORD not in made.output
        users = await get_as(settings_for(url), "/api/v1/users", "ada@example.com", PASSWORD)
        assert [user["role"] for user in users.json()["items"]] == ["admin"]


async def test_account_becomes_an_administrator(new_database: NewDatabase) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url))
        async with app.router.lifespan_context(app):
            account = await new_account(app)
            assert (await account.client.get("/api/v1/users")).status_code == 403

            made = await invoke(settings_for(url), "create-admin", account.email)

            assert made.output == f"{account.email} is an administrator now.\n"
            assert (await account.client.get("/api/v1/users")).status_code == 200


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("nobody", PASSWORD, "value is not a valid email address"),
        ("ada@example.com", "short", "password: "),
        ("ada@example.com", "ada@example.com", "The password is easy to guess."),
    ],
)
async def test_refused_administrator_is_one_sentence(
    database_url: str, email: str, password: str, sentence: str
) -> None:
    made = await invoke(settings_for(database_url), "create-admin", email, "--password", password)

    assert made.exit_code == 1
    assert made.output.startswith(f"Error: {sentence}")
    assert made.output.count("\n") == 1


async def test_description_is_printed(database_url: str) -> None:
    settings = settings_for(database_url)

    printed = await invoke(settings, "openapi")

    assert json.loads(printed.output) == create_app(settings).openapi()


@pytest.mark.parametrize("command", ["run", "create-admin ada@example.com", "openapi"])
async def test_bad_settings_are_one_sentence_each(database_url: str, command: str) -> None:
    bad = settings_for(database_url).model_copy(update={"environment": "production", "port": 0})

    stopped = await invoke(bad, *command.split())

    assert stopped.exit_code == 1
    refused = [line.split()[0] for line in stopped.output.splitlines()]
    assert refused == ["PORT", "ALLOWED_HOSTS", "BCRYPT_ROUNDS"]
