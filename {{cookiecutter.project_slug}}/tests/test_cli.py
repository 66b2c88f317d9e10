"""Management commands."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

{% if not cookiecutter.use_worker -%}
from {{ cookiecutter.package_name }} import background
{% endif -%}
from {{ cookiecutter.package_name }}.auth.models import Role
from {{ cookiecutter.package_name }}.mail import TEMPLATES
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings

from mail_support import MailServer, deliver, token_of
from mfa_support import enroll, totp
from support import (
    PASSWORD,
    PRODUCTION,
    NewDatabase,
    environment_of,
    get_as,
    invoke,
    log_in,
    new_account,
    new_client,
    settings_for,
)


async def test_create_admin_registers_an_administrator(new_database: NewDatabase) -> None:
    async with new_database() as url:
        stdin = f"{PASSWORD}\n{PASSWORD}\n"

        result = await invoke(settings_for(url), "create-admin", "Ａda@Example.com", stdin=stdin)

        assert result.output.endswith("\nada@example.com is registered as an administrator.\n")
        assert PASSWORD not in result.output
        users = await get_as(settings_for(url), "/api/v1/users", "ada@example.com", PASSWORD)
        assert [user["role"] for user in users.json()["items"]] == ["admin"]


async def test_create_admin_requires_an_option_to_promote_an_account(
    new_database: NewDatabase,
) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url))
        async with app.router.lifespan_context(app):
            account = await new_account(app, email_verified_at=None)

            refused = await invoke(settings_for(url), "create-admin", account.email)

            state = f"{account.email} has an account, whose email address is not verified"
            assert refused.exit_code == 1
            assert refused.output == (
                f"Error: {state}. Use --promote to make it an administrator.\n"
            )
            assert (await account.client.get("/api/v1/users")).status_code == 403

            for option in (["--promote"], []):  # an administrator is not promoted again
                result = await invoke(settings_for(url), "create-admin", account.email, *option)
                assert result.output == f"{account.email} is an administrator now.\n"
            assert (await account.client.get("/api/v1/users")).status_code == 200
            events = (await account.client.get("/api/v1/users/me/audit-events")).json()["items"]
            assert [(event["action"], event["by"]) for event in events] == [
                ("user.changed", "administrator")
            ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudoterminals")
@pytest.mark.parametrize(("answer", "status"), [("y", 200), ("n", 403)])
async def test_create_admin_prompts_in_a_terminal_before_it_promotes_an_account(
    new_database: NewDatabase, answer: str, status: int
) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url))
        async with app.router.lifespan_context(app):
            account = await new_account(app)

            output = await asyncio.to_thread(
                answer_in_terminal, settings_for(url), answer, "create-admin", account.email
            )

            assert output.startswith(f"{account.email} has an account. Make it an administrator?")
            assert (await account.client.get("/api/v1/users")).status_code == status


def answer_in_terminal(settings: Settings, answer: str, *command: str) -> str:
    """Run a management command that asks a question in a terminal. Returns its output."""
    terminal, stdin = os.openpty()
    os.write(terminal, f"{answer}\n".encode())
    module = "{{ cookiecutter.package_name }}.cli"
    process = subprocess.run(  # noqa: S603
        [sys.executable, "-m", module, *command],
        check=False,
        env=environment_of(settings),
        stdin=stdin,
        capture_output=True,
        text=True,
    )
    os.close(stdin)
    os.close(terminal)
    return process.stdout


async def test_create_admin_invites_an_administrator(
    new_database: NewDatabase, mail_server: MailServer
) -> None:
    async with new_database() as url:
        settings = settings_for(url, smtp_url=mail_server.url)
        command = "create-admin", "ada@example.com", "--invite"

        invited = [(await invoke(settings, *command)).output for _ in range(2)]

        assert invited == [
            "ada@example.com is invited as an administrator.\n",
            "ada@example.com is an administrator now.\n",
        ]
        app = create_app(settings)
        async with app.router.lifespan_context(app), new_client(app) as client:
            await deliver(app)
            token = token_of(mail_server.taken[1])
            body = {"token": token, "new_password": PASSWORD}
            accepted = await client.put("/api/v1/users/invitations", json=body)
            assert accepted.status_code == 204
        users = await get_as(settings, "/api/v1/users", "ada@example.com", PASSWORD)
        assert [user["role"] for user in users.json()["items"]] == ["admin"]
        taken = await invoke(settings, *command)
        assert taken.output == "Error: This email address already has an account.\n"


{% if not cookiecutter.use_worker -%}
async def test_command_finishes_its_tasks(
    new_database: NewDatabase, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SHUTDOWN_SECONDS", 0)
    async with new_database() as url:
        settings = settings_for(url, smtp_url=mail_server.url)

        await invoke(settings, "create-admin", "ada@example.com", "--invite")

    assert [mail["To"] for mail in mail_server.taken] == ["ada@example.com"]


{% endif -%}
async def test_create_admin_invites_no_one_without_a_mail_server(database_url: str) -> None:
    settings = settings_for(database_url, **PRODUCTION)

    result = await invoke(settings, "create-admin", "ada@example.com", "--invite")

    assert (result.exit_code, result.output) == (1, "Error: The service cannot send email.\n")


async def test_create_admin_removes_the_second_factors_of_the_last_administrator(
    new_database: NewDatabase,
) -> None:
    async with new_database() as url:
        app = create_app(settings_for(url))
        async with app.router.lifespan_context(app):
            account = await new_account(app, role=Role.ADMIN)
            await enroll(account)
            assert (await log_in(account.client, account.email)).status_code == 400

            command = "create-admin", account.email, "--remove-factors"
            result = await invoke(settings_for(url), *command)

            assert (result.exit_code, result.output) == (
                0,
                f"{account.email} is an administrator now.\n",
            )
            tokens = await log_in(account.client, account.email)
            assert tokens.status_code == 200

            await invoke(settings_for(url), *command)  # there is no factor to remove
            account.client.headers["Authorization"] = f"Bearer {tokens.json()['access_token']}"
            assert (await account.client.get("/api/v1/users/me")).status_code == 200


async def test_rotate_secrets_replaces_the_key_of_second_factors(new_database: NewDatabase) -> None:
    async with new_database() as url:
        settings = settings_for(url)
        rotated = settings_for(
            url, secret_key="x" * 40, secret_key_fallbacks=settings.secret_key.get_secret_value()
        )
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            account = await new_account(app)
            factor = await enroll(account)

        results = [(await invoke(rotated, "rotate-secrets")).output for _ in range(2)]

        assert results == [f"Secrets encrypted again: {count}.\n" for count in (1, 0)]
        app = create_app(settings_for(url, secret_key="x" * 40))
        async with app.router.lifespan_context(app), new_client(app) as client:
            otp = totp(factor.secret, time() + 30)  # the code of the confirmation is used
            login = {"email": account.email, "password": PASSWORD, "otp": otp}
            assert (await client.post("/api/v1/auth/session", json=login)).status_code == 201


async def test_preview_mail_shows_every_template(database_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url)
    folder = tmp_path / "new" / "folder"

    printed = await invoke(settings, "preview-mail")
    written = await invoke(settings, "preview-mail", str(folder))

    names = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
    texts = [(folder / f"{name}.txt").read_text("utf-8") for name in names]
    assert printed.output == "".join(f"{text}\n" for text in texts)
    assert all(text.startswith("Subject: ") for text in texts)
    assert written.output.split() == [str(folder / f"{name}.html") for name in names]
    assert "https://app.example.com/" in (folder / "password_reset.html").read_text("utf-8")


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
