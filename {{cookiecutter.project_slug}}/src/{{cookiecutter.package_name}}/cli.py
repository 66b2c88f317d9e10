"""Management commands."""

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import click
import uvicorn
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

{% if cookiecutter.use_prometheus -%}
from . import metrics
{% endif -%}
from .audit.models import Action
from .audit.service import record
from .auth import mfa
from .auth.encryption import SecretBox
from .auth.models import Role, User
from .auth.passwords import PasswordHasher
{%- if not cookiecutter.use_worker %}
from .background import Runner
{%- endif %}
from .database import Database, utcnow
from .exceptions import MailUnavailableError, ServiceError, validation_message
from .items import service as items
from .items.schemas import ItemCreate
from .logging import configure_logging, error_code
from .mail import EXAMPLES, TEMPLATES, Mail, Mailer
from .main import create_app
from .schemas import Email
from .settings import Settings, load_settings
from .users import service as users
from .users.invitations import invite_user
from .users.schemas import InvitationCreate, UserCreate


@click.group()
def main() -> None:
    """Run and manage the service."""


@main.command()
@click.option("--reload", is_flag=True, help="Restart when the code changes.")
def run(reload: bool) -> None:
    """Serve HTTP on HOST and PORT with WEB_CONCURRENCY processes."""
    settings = load_settings()
    configure_logging(settings)
{%- if cookiecutter.use_prometheus %}
    metrics.serve(settings, multiprocess=reload or settings.web_concurrency > 1)
{%- endif %}
    # uvicorn raises the signal again after it has shut down; that is a success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        f"{__package__}.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=None if reload else settings.web_concurrency,
        reload=reload,
        reload_dirs=[str(Path(__file__).parent)] if reload else None,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=120,  # longer than load balancers, which would meet a closed connection
        timeout_graceful_shutdown=settings.graceful_timeout,
        timeout_worker_healthcheck=60,  # a slow machine needs more than 5 s for the imports
        access_log=False,
        log_config=None,
        server_header=False,
    )


@main.command()
@click.argument("email")
@click.option("--password", help="Password of a new account; prompted for by default.")
@click.option("--invite", is_flag=True, help="Email a link to set the password.")
@click.option("--promote", is_flag=True, help="Promote an existing account without asking.")
@click.option("--remove-factors", is_flag=True, help="Remove the second factors of the account.")
def create_admin(
    email: str, password: str | None, invite: bool, promote: bool, remove_factors: bool
) -> None:
    """Make the account EMAIL an administrator, and register it if necessary.

    Anyone may have registered an existing account, so its promotion must be confirmed.
    """

    async def command(database: Database, settings: Settings) -> str:
        address = TypeAdapter(Email).validate_python(email)
        invitation = InvitationCreate(email=address, role=Role.ADMIN)
        if invite and not Mailer(settings).is_available:
            raise MailUnavailableError
        async with database.read_session() as session:
            user = await session.scalar(select(User).where(User.email == address))
        if user is None and invite:
            async with database.write_session() as session:
                await invite_user(session, invitation)
            return f"{address} is invited as an administrator."
        if user is None:
            new = password or click.prompt("Password", hide_input=True, confirmation_prompt=True)
            await _create_user(database, settings, email, new, Role.ADMIN)
            return f"{address} is registered as an administrator."
        is_admin = user.role is Role.ADMIN and user.is_active
        if not is_admin and not promote:
            _confirm_promotion(user)
        async with database.write_session() as session:
            user = await users.get_user(session, user.id, for_update=True)
            if not is_admin:
                user.role, user.is_active = Role.ADMIN, True
                fields = "fields:is_active,role"
                record(session, Action.USER_CHANGED, user.id, credential="cli", target=fields)
            if invite:
                await invite_user(session, invitation)
            if remove_factors:
                await mfa.remove_all(session, user)
        return f"{address} is an administrator now."

    click.echo(_run(command))


@main.command()
@click.option("--items", "count", default=50, show_default=True, help="Number of items.")
def seed(count: int) -> None:
    """Create a demo account with items; not in production."""

    async def command(database: Database, settings: Settings) -> str:
        if settings.environment == "production":
            raise click.ClickException("Demo data is not for production.")
        password = secrets.token_urlsafe(12)
        email = f"demo-{secrets.token_hex(3)}@example.com"
        user_id = await _create_user(database, settings, email, password)
        tags = ("work", "home", "someday")
        async with database.write_session() as session:
            for number in range(1, count + 1):
                item = ItemCreate(title=f"Item {number}", tags=[tags[number % len(tags)]])
                await items.create_item(session, user_id, item)
        return f"{email} with the password {password} has {count} items."

    click.echo(_run(command))


@main.command()
def rotate_secrets() -> None:
    """Encrypt secrets with SECRET_KEY that a key in SECRET_KEY_FALLBACKS has encrypted."""

    async def command(database: Database, settings: Settings) -> str:
        async with database.write_session() as session:
            count = await mfa.rotate_secrets(session, SecretBox(settings))
        return f"Secrets encrypted again: {count}."

    click.echo(_run(command))


@main.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
def preview_mail(folder: Path | None) -> None:
    """Print every email with sample values, or write text and HTML of each into FOLDER."""
    mailer = Mailer(load_settings())
    for template in sorted(TEMPLATES.glob("*.jinja")):
        mail = mailer.render(Mail("ada@example.com", template.stem, EXAMPLES))
        text = f"Subject: {mail.subject}\n\n{mail.text}"
        if folder is None:
            click.echo(text)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath(f"{template.stem}.txt").write_text(text, encoding="utf-8")
        html = folder.joinpath(f"{template.stem}.html")
        html.write_text(mail.html, encoding="utf-8")
        click.echo(html)


@main.command()
def openapi() -> None:
    """Print the OpenAPI description as JSON."""
    click.echo(json.dumps(create_app().openapi(), indent=2))


{% if cookiecutter.use_worker -%}
@main.command()
def worker() -> None:
    """Run background jobs, WORKER_CONCURRENCY at a time."""
    from .worker.runner import run_worker

    settings = load_settings()
    # One for each job, one to listen for jobs, and one to measure the queue.
    size = settings.worker_concurrency + 2
    pool = {"database_pool_size": size, "database_max_overflow": 0}
    asyncio.run(run_worker(create_app(settings.model_copy(update=pool))))


{% endif -%}
def _confirm_promotion(user: User) -> None:
    state = f"{user.email} has an account"
    if user.email_verified_at is None:
        state += ", whose email address is not verified"
    if not (sys.stdin.isatty() and click.confirm(f"{state}. Make it an administrator?")):
        raise click.ClickException(f"{state}. Use --promote to make it an administrator.")


async def _create_user(
    database: Database, settings: Settings, email: str, password: str, role: Role = Role.USER
) -> UUID:
    data = UserCreate.model_validate({"email": email, "password": password})
    hasher = PasswordHasher(settings)
    password_hash = await hasher.hash_new(password, data.email, "command line")
    async with database.write_session() as session:
        user = await users.create_user(session, data, password_hash, role)
        user.email_verified_at = utcnow()
        record(session, Action.USER_CREATED, user.id, credential="cli")
        return user.id


def _run(command: Callable[[Database, Settings], Awaitable[str]]) -> str:
    """Run a command with the database, and report an error in one sentence."""
    settings = load_settings()
    configure_logging(settings)

    async def run() -> str:
{%- if cookiecutter.use_worker %}
        async with Database(settings) as database:
            return await command(database, settings)
{%- else %}
        mailer = Mailer(settings)
        async with Database(settings) as database, Runner(database, mailer, settings) as runner:
            result = await command(database, settings)
            await runner.join()
            return result
{%- endif %}

    try:
        return asyncio.run(run())
    except (SQLAlchemyError, OSError) as error:
        reason = error_code(error) or type(error).__name__
        raise click.ClickException(f"The database cannot be used: {reason}") from None
    except ValidationError as error:
        messages = [
            ": ".join([*map(str, detail["loc"]), validation_message(detail)])
            for detail in error.errors()
        ]
        raise click.ClickException("; ".join(messages)) from None
    except ServiceError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
