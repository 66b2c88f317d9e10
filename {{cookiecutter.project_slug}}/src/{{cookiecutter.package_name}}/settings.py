"""Settings from environment variables (12-factor, "Config").

A variable has the name of its field in upper case. The environment takes precedence over `.env`.
ENVIRONMENT defaults to production, so that a deployment that forgets a variable fails to start
instead of running unprotected.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
{%- if cookiecutter.use_opentelemetry %}
    AnyHttpUrl,
{%- endif %}
    BeforeValidator,
    EmailStr,
    Field,
    SecretStr,
{%- if cookiecutter.use_opentelemetry %}
    TypeAdapter,
{%- endif %}
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
{%- if cookiecutter.use_redis %}
from redis.asyncio import ConnectionPool, RedisError
{%- endif %}
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .exceptions import validation_message

DEVELOPMENT_SECRET = "for-development-only-refused-in-production"  # noqa: S105
{% if cookiecutter.database == "postgresql" -%}
# The libpq options that platforms add to the URL. database/postgresql.py translates them.
URL_OPTIONS = {"channel_binding", "connect_timeout", "gssencmode", "host", "port", "sslmode"}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
{% endif -%}
HOST = re.compile(r"(\*\.)?[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")
APP_URL = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?(/[^?#\s]*)?")
ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+")
MAIL_SCHEMES = ("smtp", "smtp+starttls", "smtps")
MESSAGES = {
    "bool_parsing": "must be true or false",
    "float_parsing": "must be a number",
    "int_parsing": "must be a whole number",
    "missing": "is missing",
}
WEAK_SECRETS = ("change-me", "changeme", "change_me", "secret", "password", "placeholder")


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


{% if cookiecutter.use_redis -%}
def _check_redis_url(url: str) -> None:
    """Raise what the driver raises when it connects to this URL."""
    pool = ConnectionPool.from_url(url)
    pool.connection_class(**pool.connection_kwargs)


{% endif -%}
CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """The configuration of a process; immutable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    environment: Literal["local", "test", "production"] = Field(
        "production", description="local, test or production: which safety checks apply."
    )
    debug: bool = Field(
        False, description="Log SQL, and show the cause of unexpected errors; not in production."
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)
    ] = Field("INFO", description="Least severe level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto writes JSON lines unless stdout is a terminal."
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
{%- if cookiecutter.use_prometheus %}
    metrics_port: int = Field(
        9464,
        ge=0,
        le=65535,
        description="Port on which Prometheus reads metrics, never to be public; 0 for none.",
    )
{%- endif %}
    web_concurrency: int = Field(1, ge=1, description="Number of server processes.")
    graceful_timeout: int = Field(
        30, ge=1, description="Seconds that running requests get to finish after SIGTERM."
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1", description="Proxies whose X-Forwarded-* headers are trusted, comma separated."
    )
    allowed_hosts: CommaSeparated = Field(
        ["*"],
        description="Host names to answer, comma separated, such as api.example.com or "
        "*.example.com; required in production. /health/ answers any host.",
    )
    cors_origins: CommaSeparated = Field(
        [], description="Origins of browser clients, comma separated."
    )
    max_body_size: int = Field(1_048_576, ge=1, description="Largest request body, bytes.")
    docs_enabled: bool | None = Field(
        None, description="Serve /docs, /redoc and /openapi.json. Unset: not in production."
    )
{%- if cookiecutter.database == "postgresql" %}

    database_url: str = Field(
        repr=False, description="postgresql://user:password@host/name, as platforms provide it."
    )
    database_read_url: str | None = Field(
        None, repr=False, description="Read replica that read-only routes use. Unset: DATABASE_URL."
    )
{%- else %}

    database_url: str = Field(
        "sqlite:///data/app.db",
        repr=False,
        description="sqlite:///relative/path or sqlite:////absolute/path.",
    )
{%- endif %}
    database_pool_size: int = Field(
        5,
        ge=1,
        description="Connections for queries that a process keeps open, and as many for "
        "transactions.",
    )
    database_max_overflow: int = Field(
        0, ge=0, description="Further connections of each kind under load."
    )
    database_pool_timeout: float = Field(
        5, gt=0, description="Seconds to wait for a free connection before responding with 503."
    )
{%- if cookiecutter.database == "postgresql" %}
    database_statement_timeout: float = Field(
        10,
        gt=0,
        description="Seconds that a statement may run. If the server does not respond within one "
        "more second, it counts as unavailable (503).",
    )
    database_prepared_statements: bool = Field(
        True, description="Prepare statements; must be false behind PgBouncer in transaction mode."
    )
{%- else %}
    database_busy_timeout: float = Field(
        5, gt=0, description="Seconds to wait for another writer before responding with 503."
    )
{%- endif %}
{%- if cookiecutter.use_redis %}

    redis_url: str = Field(
        repr=False, description="redis://user:password@host:6379/0, or rediss:// with TLS."
    )
    redis_connect_timeout: float = Field(
        2, gt=0, description="Seconds that connecting to Redis may take."
    )
    redis_timeout: float = Field(
        0.5, gt=0, description="Seconds that a command may take before Redis counts as unavailable."
    )
    cache_ttl: int = Field(60, ge=1, description="Seconds that the cache keeps what was read.")
    rate_limit: int = Field(
        600, ge=1, description="Requests allowed per user, or address, in RATE_LIMIT_WINDOW."
    )
    rate_limit_window: int = Field(60, ge=1, description="Seconds that a request counts.")
{%- endif %}
{%- if cookiecutter.use_worker %}

    worker_concurrency: int = Field(
        10, ge=2, description="Jobs that a worker process runs at a time."
    )
    job_retention: int = Field(
        604_800, ge=86_400, description="Seconds that failed jobs and the log of jobs are kept."
    )
{%- endif %}

    smtp_url: SecretStr | None = Field(
        None,
        description="smtps://user:password@host:465, smtp+starttls://user:password@host:587, or "
        "smtp://host:25 without encryption. Unset: email is logged; in production, routes that "
        "send email respond with 503.",
    )
    mail_from: EmailStr = Field(
        "{{ cookiecutter.author_email }}",
        description="Address that email is sent from.",
    )
    mail_timeout: float = Field(
        20, gt=0, description="Seconds that sending an email may take as a whole."
    )
    mails_per_mailbox: int = Field(
        5,
        ge=1,
        description="Emails to one address in an hour from registrations, invitations and changes "
        "of address. Requested verification links and reset links have the same limit each; reset "
        "links count only until they expire. Notices of changes do not count.",
    )
    app_url: str = Field(
        "http://localhost:5173",
        description="URL of the web application, with which the links in emails begin; https in "
        "production.",
    )
{%- if cookiecutter.use_opentelemetry %}

    otel_exporter_otlp_endpoint: str | None = Field(
        None, repr=False, description="Base URL of an OTLP/HTTP collector. Unset: no traces."
    )
    otel_sdk_disabled: bool = Field(
        False, description="Disable tracing even if an endpoint is set."
    )
{%- endif %}
{%- if cookiecutter.use_sentry %}

    sentry_dsn: SecretStr | None = Field(
        None, description="DSN of the Sentry project. Unset: errors are not reported."
    )
    sentry_environment: str | None = Field(
        None, description="Name of the environment in reports. Unset: ENVIRONMENT."
    )
    sentry_release: str | None = Field(
        None, description="Version in reports, such as the commit. Unset: the package's version."
    )
    sentry_sample_rate: float = Field(
        1, ge=0, le=1, description="Part of the errors that are reported, 0 to 1."
    )
{%- if not cookiecutter.use_opentelemetry %}
    sentry_traces_sample_rate: float = Field(
        0, ge=0, le=1, description="Part of the requests whose time is reported, 0 to 1."
    )
{%- endif %}
{%- endif %}

    secret_key: SecretStr = Field(
        SecretStr(DEVELOPMENT_SECRET),
        description="At least 32 random characters; signs access tokens and CSRF tokens, and "
        "encrypts the secrets of authenticator apps.",
    )
    secret_key_fallbacks: SecretStr | None = Field(
        None,
        description="Former values of SECRET_KEY, comma separated, which only decrypt.",
    )
    jwt_keys: SecretStr | None = Field(
        None,
        description="JSON Web Key Set (RFC 7517) for access tokens: the first key signs, all "
        "verify. Unset: HS256 with a key derived from SECRET_KEY.",
    )
    jwt_issuer: str = Field(
        "{{ cookiecutter.project_slug }}",
        description="The iss claim of access tokens.",
    )
    jwt_audience: str = Field(
        "{{ cookiecutter.project_slug }}",
        description="The aud claim of access tokens.",
    )
    access_token_ttl: int = Field(
        900, ge=60, le=86_400, description="Lifetime of an access token, seconds."
    )
    session_ttl: int = Field(
        2_592_000,
        ge=300,
        description="Lifetime of a login session, seconds; each refresh extends it.",
    )
    step_up_max_age: int = Field(
        900,
        ge=60,
        description="Seconds after an authentication during which sensitive changes are allowed.",
    )
    registration: Literal["open", "invite", "closed"] = Field(
        "open",
        description="Who can register. open: everyone; invite: only users whom an administrator "
        "invites; closed: no one.",
    )
    require_verified_email: bool = Field(
        False, description="Reject logins until the email address is verified."
    )
    password_reset_ttl: int = Field(
        1_800, ge=60, description="Seconds until the link to reset a password expires."
    )
    email_verification_ttl: int = Field(
        259_200, ge=60, description="Seconds until the link to verify an email address expires."
    )
    invitation_ttl: int = Field(604_800, ge=60, description="Seconds until an invitation expires.")
    email_undo_ttl: int = Field(
        604_800,
        ge=60,
        description="Seconds during which the former address can undo a change of address.",
    )
    audit_retention: int = Field(
        15_552_000, ge=86_400, description="Seconds that audit events are kept."
    )
    bcrypt_rounds: int = Field(
        12, ge=4, le=16, description="Cost of a password hash; at least 10 in production."
    )
    password_threads: int = Field(
        1, ge=1, description="Passwords that a server process hashes at the same time."
    )
    login_attempts: int = Field(
        10,
        ge=1,
        description="Failed logins allowed per account and address in LOGIN_WINDOW; also wrong "
        "passwords when a user re-authenticates.",
    )
    login_attempts_per_account: int = Field(
        100, ge=1, description="Failed logins allowed per account, from all addresses together."
    )
    login_attempts_per_address: int = Field(
        100,
        ge=1,
        description="Logins allowed per client address in LOGIN_WINDOW; also registrations, and "
        "requests of account recovery.",
    )
    login_window: int = Field(300, ge=1, description="Seconds during which an attempt counts.")

    @field_validator("secret_key")
    @classmethod
    def _strong_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("environment") != "production":
            return value
        secret = value.get_secret_value()
        if secret == DEVELOPMENT_SECRET:
            raise ValueError("is not set; production needs at least 32 random characters")
        if len(secret) < 32 or len(set(secret)) < 10:
            raise ValueError("is too weak; production needs at least 32 random characters")
        if any(weak in secret.lower() for weak in WEAK_SECRETS):
            raise ValueError("is a placeholder; production needs at least 32 random characters")
        return value

{% if cookiecutter.database == "postgresql" %}    @field_validator("database_url", "database_read_url")
    @classmethod
    def _usable_database(cls, value: str | None) -> str | None:
        if value is None:
            return None
{% else %}    @field_validator("database_url")
    @classmethod
    def _usable_database(cls, value: str) -> str:
{% endif %}        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            url = URL.create("unknown")
{%- if cookiecutter.database == "postgresql" %}
        if url.get_backend_name() not in {"postgresql", "postgres"}:
            raise ValueError("must look like postgresql://user:password@host/name")
        if unknown := url.query.keys() - URL_OPTIONS:
            raise ValueError(f"has options that are not supported: {', '.join(sorted(unknown))}")
        if url.query.get("sslmode", "prefer") not in SSL_MODES:
            raise ValueError(f"must have one of these as its sslmode: {', '.join(SSL_MODES)}")
        url = url.set(drivername="postgresql+asyncpg")
        try:
            _, options = url.get_dialect()().create_connect_args(url)
        except ArgumentError:
            raise ValueError("must have a port for each host or for none") from None
        ports = options.get("port", [])
        if not all(0 < port < 65_536 for port in (ports if isinstance(ports, list) else [ports])):
            raise ValueError("must have a port from 1 to 65535")
{%- else %}
        plain = URL.create(url.drivername, database=url.database)
        if url.get_backend_name() != "sqlite" or url != plain or url.database in {"", ":memory:"}:
            raise ValueError("must be sqlite:/// and the path of a file, without options")
{%- endif %}
        return value
{%- if cookiecutter.use_redis %}

    @field_validator("redis_url")
    @classmethod
    def _usable_redis(cls, value: str) -> str:
        base, _, query = value.partition("?")
        try:
            if "#" in value:
                raise ValueError("#")
            _check_redis_url(base)
        except (RedisError, TypeError, ValueError):
            raise ValueError("must look like redis://user:password@host:6379/0") from None
        for option in query.split("&") if query else ():
            try:
                _check_redis_url(f"{base}?{option}")
            except (RedisError, TypeError, ValueError):
                name = option.partition("=")[0]
                raise ValueError(f"has an option that the driver rejects: {name}") from None
        return value
{%- endif %}

    @field_validator("smtp_url")
    @classmethod
    def _usable_mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = urlsplit(value.get_secret_value())
        try:
            usable = url.scheme in MAIL_SCHEMES and url.hostname and url.port != 0
        except ValueError:  # the port is no number
            usable = False
        if not usable or url.path.strip("/") or url.query or url.fragment:
            raise ValueError("must look like smtp+starttls://user:password@host:587")
        if url.password and url.scheme == "smtp":
            raise ValueError("must not send a password without encryption: use smtps://")
        return value

    @field_validator("app_url")
    @classmethod
    def _usable_app_url(cls, value: str, info: ValidationInfo) -> str:
        if not APP_URL.fullmatch(value):
            raise ValueError("must look like https://app.example.com, without query or fragment")
        sends_mail = info.data.get("smtp_url") is not None
        is_production = info.data.get("environment") == "production"
        if sends_mail and is_production and not value.startswith("https://"):
            raise ValueError("must begin with https:// in production")
        return value.rstrip("/")

    @field_validator("registration", "require_verified_email")
    @classmethod
    def _possible_without_mail(cls, value: str | bool, info: ValidationInfo) -> str | bool:
        sends_mail = info.data.get("smtp_url") is not None
        needs_mail = value in ("invite", True)
        if needs_mail and not sends_mail and info.data.get("environment") == "production":
            raise ValueError("needs SMTP_URL in production")
        return value
{%- if cookiecutter.use_opentelemetry %}

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _usable_collector(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                url = TypeAdapter(AnyHttpUrl).validate_python(value)
            except ValidationError:
                raise ValueError("must look like http://collector:4318") from None
            if url.query or url.fragment:
                raise ValueError(
                    "must not have a query or fragment, because /v1/traces is appended to it"
                )
        return value
{%- endif %}
{%- if cookiecutter.use_sentry %}

    @field_validator("sentry_dsn")
    @classmethod
    def _usable_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            from sentry_sdk.utils import Dsn

            try:
                Dsn(value.get_secret_value())
            except ValueError:
                raise ValueError("must look like https://key@host/project") from None
        return value
{%- endif %}

    @field_validator("host")
    @classmethod
    def _usable_host(cls, value: str) -> str:
        try:
            if value != "localhost":
                ip_address(value)
        except ValueError:
            raise ValueError("must be an IP address or localhost") from None
        return value

    @field_validator("debug")
    @classmethod
    def _no_debug(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("environment") == "production":
            raise ValueError("must be false in production")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _named_hosts(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if "*" in value and info.data.get("environment") == "production":
            raise ValueError("must name the hosts in production, such as api.example.com, not *")
        if any(host != "*" and not HOST.fullmatch(host) for host in value):
            raise ValueError("must be host names such as api.example.com, without scheme or port")
        return value

    @field_validator("docs_enabled")
    @classmethod
    def _no_docs_in_production(cls, value: bool | None, info: ValidationInfo) -> bool:
        return info.data.get("environment") != "production" if value is None else value

    @field_validator("cors_origins")
    @classmethod
    def _named_origins(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if "*" in value and info.data.get("environment") == "production":
            raise ValueError("must name the origins in production, not *")
        if any(origin != "*" and not ORIGIN.fullmatch(origin) for origin in value):
            raise ValueError("must be origins such as https://app.example.com, in lower case")
        return value

    @field_validator("bcrypt_rounds")
    @classmethod
    def _costly_hash(cls, value: int, info: ValidationInfo) -> int:
        if value < 10 and info.data.get("environment") == "production":
            raise ValueError("must be at least 10 in production")
        return value

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies are restricted to https; not all browsers accept that on http://localhost."""
        return self.environment != "local"


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`.

    Raises:
        SystemExit: a variable is missing or invalid; the message has a sentence for each.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False, include_context=False):
            name = str(detail["loc"][0])
            message = MESSAGES.get(detail["type"]) or validation_message(detail)
            message = message.replace("Input should be", "must be")
            if detail["type"] != "missing" and not _is_secret(Settings.model_fields[name]):
                message += f" (it is {detail['input']!r})"
            problems.append(f"{name.upper()} {message}")
        raise SystemExit("\n".join(problems)) from None


def _is_secret(field: FieldInfo) -> bool:
    return not field.repr or SecretStr in (field.annotation, *get_args(field.annotation))
