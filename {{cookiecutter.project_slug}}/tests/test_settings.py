"""Settings: validation and documentation."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from {{ cookiecutter.package_name }}.settings import (
    DEVELOPMENT_SECRET,
    Settings,
    load_settings,
)

PROJECT = Path(__file__).parent.parent
STRONG = "0123456789-abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Set only the variables that production requires, without a `.env`."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ALLOWED_HOSTS", "api.example")
    monkeypatch.setenv("SECRET_KEY", STRONG)
{%- if cookiecutter.use_redis %}
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache:6379/0")
{%- endif %}
    monkeypatch.setenv("SMTP_URL", "smtps://user:hunter2@mail")
    monkeypatch.setenv("APP_URL", "https://app.example")
{%- if cookiecutter.database == "postgresql" %}
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db/name")
{%- endif %}
    return monkeypatch


def test_environment_defaults_to_production(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_HOSTS", "api.example, www.example,")
    environment.setenv("JWT_KEYS", '{"keys": ["hunter2"]}')
    environment.setenv("SECRET_KEY_FALLBACKS", "hunter2,hunter2")

    settings = load_settings()

    assert settings.environment == "production"
    assert settings.allowed_hosts == ["api.example", "www.example"]
    assert not settings.docs_enabled
    assert STRONG not in repr(settings)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("SECRET_KEY", DEVELOPMENT_SECRET, "is not set; production needs at least 32 random"),
        ("SECRET_KEY", STRONG[:31], "is too weak; production needs at least 32 random"),
        ("DEBUG", "true", "must be false in production"),
        ("ALLOWED_HOSTS", "", "must name the hosts in production, such as api.example.com"),
        ("CORS_ORIGINS", "https://app.example, *", "must name the origins in production, not *"),
        ("DATABASE_URL", "mysql://user:hunter2@db/name", "must "),
{%- if cookiecutter.database == "postgresql" %}
        ("DATABASE_URL", "postgresql://h/d?sslrootcert=ca.pem", "has options that are not"),
        ("DATABASE_URL", "postgresql://h/d?sslmode=on", "must have one of these as its sslmode"),
        ("DATABASE_URL", "postgresql://h/d?host=a&host=b&port=1", "must have a port for each host"),
        ("DATABASE_URL", "postgresql://u:hunter2@h:65536/d", "must have a port from 1 to 65535"),
{%- endif %}
        ("BCRYPT_ROUNDS", "9", "must be at least 10 in production"),
        ("ALLOWED_HOSTS", "https://api.example", "must be host names such as api.example.com"),
        ("CORS_ORIGINS", "https://app.example/", "must be origins such as"),
{%- if cookiecutter.use_redis %}
        ("REDIS_URL", "cache:hunter2", "must look like redis://user:password@host:6379/0"),
{%- endif %}
        ("SMTP_URL", "smtp://user:hunter2@mail", "must not send a password without encryption"),
        ("APP_URL", "http://app.example", "must begin with https:// in production"),
        ("APP_URL", "https://app.example/#/", "must look like https://app.example.com, without"),
{%- if cookiecutter.use_opentelemetry %}
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "must look like http://collector:4318"),
{%- endif %}
{%- if cookiecutter.use_sentry %}
        ("SENTRY_DSN", "https://hunter2.example", "must look like https://key@host/project"),
{%- endif %}
    ],
)
def test_invalid_values_are_listed_without_secrets(
    environment: pytest.MonkeyPatch, variable: str, value: str, error: str
) -> None:
    environment.setenv(variable, value)
    environment.setenv("PORT", "http")

    with pytest.raises(SystemExit) as exit_:
        load_settings()

    lines = sorted(str(exit_.value).splitlines(), key=lambda line: line.startswith("PORT "))
    assert lines[0].startswith(f"{variable} {error}")
    assert lines[1:] == ["PORT must be a whole number (it is 'http')"]
    assert "hunter2" not in lines[0]


@pytest.mark.parametrize(
    ("variable", "value"), [("REGISTRATION", "invite"), ("REQUIRE_VERIFIED_EMAIL", "true")]
)
def test_settings_that_need_email_are_rejected_in_production_without_it(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    environment.delenv("SMTP_URL")
    assert load_settings().smtp_url is None

    environment.setenv(variable, value)
    with pytest.raises(SystemExit, match=f"{variable} needs SMTP_URL in production"):
        load_settings()


def test_local_environment_needs_no_secrets_and_overrides_the_file(
    environment: pytest.MonkeyPatch,
) -> None:
    file = "ENVIRONMENT=local\nDEBUG=true\nCORS_ORIGINS=*\nBCRYPT_ROUNDS=4\nPORT=1\nOTHER=1\n"
    file += "LOG_LEVEL=info\n"
    Path(".env").write_text(file, encoding="utf-8")
    environment.setenv("PORT", "8001")
    environment.delenv("SECRET_KEY")
    environment.delenv("ALLOWED_HOSTS")

    settings = load_settings()

    assert (settings.debug, settings.cors_origins, settings.port) == (True, ["*"], 8001)
    assert settings.log_level == "INFO"
    assert (settings.allowed_hosts, settings.docs_enabled) == (["*"], True)


def default_of(field: FieldInfo) -> str:
    """Return the default as text, or when the variable is required."""
    if field.is_required():
        return "required"
    if isinstance(field.default, SecretStr):
        return "required in production"
    if isinstance(field.default, list):
        return ",".join(field.default)
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return "" if field.default is None else str(field.default)


def test_every_variable_is_documented_with_its_default() -> None:
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Settings\n")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| `?(.*?)`? \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(name, default_of(f), f.description) for name, f in fields.items()]
    assert set(re.findall("^(?:# )?([A-Z0-9_]+)=", example, re.MULTILINE)) <= fields.keys()
    for name, value in re.findall("^# ([A-Z0-9_]+)=(.*)$", example, re.MULTILINE):
        assert default_of(fields[name]) in (value, "required")
