"""Management commands."""

import json

import pytest

from {{ cookiecutter.package_name }}.main import create_app

from support import PASSWORD, NewDatabase, get_as, invoke, new_account, settings_for


async def test_create_admin_registers_an_administrator(new_database: NewDatabase) -> None:
    async with new_database() as url:
        stdin = f"{PASSWORD}\n{PASSWORD}\n"

        result = await invoke(settings_for(url), "create-admin", "Ａda@Example.com", stdin=stdin)

        assert result.output.endswith("\nada@example.com is registered as an administrator.\n")
        assert PASSWORD not in result.output
        users = await get_as(settings_for(url), "/api/v1/users", "ada@example.com", PASSWORD)
        assert [user["role"] for user in users.json()["items"]] == ["admin"]


async def test_create_admin_promotes_an_account(new_database: NewDatabase) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url))
        async with app.router.lifespan_context(app):
            account = await new_account(app)
            assert (await account.client.get("/api/v1/users")).status_code == 403

            result = await invoke(settings_for(url), "create-admin", account.email)

            assert result.output == f"{account.email} is an administrator now.\n"
            assert (await account.client.get("/api/v1/users")).status_code == 200


@pytest.mark.parametrize(
    ("email", "password", "error"),
    [
        ("invalid", PASSWORD, "value is not a valid email address"),
        ("ada@example.com", "short", "password: must have at least 12 characters\n"),
        ("ada@example.com", "ada@example.com", "The password is easy to guess."),
    ],
)
async def test_create_admin_prints_one_error(
    database_url: str, email: str, password: str, error: str
) -> None:
    result = await invoke(settings_for(database_url), "create-admin", email, "--password", password)

    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {error}")
    assert result.output.count("\n") == 1


async def test_openapi_prints_the_description(database_url: str) -> None:
    settings = settings_for(database_url)

    result = await invoke(settings, "openapi")

    assert json.loads(result.output) == create_app(settings).openapi()


@pytest.mark.parametrize("command", ["run", "create-admin ada@example.com", "openapi"])
async def test_invalid_settings_are_listed(database_url: str, command: str) -> None:
    invalid = settings_for(database_url).model_copy(update={"environment": "production", "port": 0})

    result = await invoke(invalid, *command.split())

    assert result.exit_code == 1
    listed = [line.split()[0] for line in result.output.splitlines()]
    assert listed == ["PORT", "ALLOWED_HOSTS", "BCRYPT_ROUNDS"]
