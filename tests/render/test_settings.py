"""Settings: invalid values of every variable."""

from pathlib import Path

import pytest
from orders.settings import DEVELOPMENT_SECRET, Settings, load_settings
from support import NOWHERE

STRONG = "0123456789-abcdefghijklmnopqrstuvwxyz"
REQUIRED = {
    "ALLOWED_HOSTS": "api.example",
    "DATABASE_URL": NOWHERE,
    "REDIS_URL": "redis://:hunter2@cache:6379/0",
    "SECRET_KEY": STRONG,
    "SMTP_URL": "smtps://user:hunter2@mail",
    "APP_URL": "https://app.example",
}
ALL = [
    ("SECRET_KEY", DEVELOPMENT_SECRET, "is not set; production needs at least 32 random"),
    ("SECRET_KEY", "", "is not set; production needs at least 32 random"),
    ("SECRET_KEY", STRONG[:31], "is too weak; production needs at least 32 random"),
    ("SECRET_KEY", "0123456" * 5, "is too weak; production needs at least 32 random"),
    ("SECRET_KEY", f"Change-Me-{STRONG}", "is a placeholder; production needs at least 32"),
    ("DEBUG", "true", "must be false in production"),
    ("ALLOWED_HOSTS", "", "must name the hosts in production, such as api.example.com"),
    ("ALLOWED_HOSTS", "api.example, *", "must name the hosts in production, such as"),
    ("ALLOWED_HOSTS", "https://api.example", "must be host names such as api.example.com"),
    ("ALLOWED_HOSTS", "api.example:8000", "must be host names such as api.example.com"),
    ("CORS_ORIGINS", "https://app.example, *", "must name the origins in production, not *"),
    ("CORS_ORIGINS", "https://app.example/", "must be origins such as"),
    ("CORS_ORIGINS", "null", "must be origins such as"),
    ("BCRYPT_ROUNDS", "9", "must be at least 10 in production"),
    ("ENVIRONMENT", "development", "must be 'local', 'test' or 'production' (it is 'develo"),
    ("DEBUG", "app:*", "must be true or false (it is 'app:*')"),
    ("HOST", "x86_64-conda-linux-gnu", "must be an IP address or localhost (it is 'x86_64"),
    ("SMTP_URL", "http://mail", "must look like smtp+starttls://user:password@host:587"),
    ("SMTP_URL", "smtp://mail:port", "must look like smtp+starttls://user:password@host:587"),
    ("SMTP_URL", "smtps://user:12#hunter2@mail", "must look like smtp+starttls://user:"),
    ("SMTP_URL", "smtp://user:hunter2@mail", "must not send a password without encryption"),
    ("APP_URL", "http://app.example", "must begin with https:// in production"),
    ("APP_URL", "app.example", "must look like https://app.example.com, without query or"),
    ("APP_URL", "https://app.example/?page=", "must look like https://app.example.com, without"),
    ("APP_URL", "https://[app", "must look like https://app.example.com, without query or"),
]
POSTGRESQL = [
    ("DATABASE_URL", "postgresql://h/d?sslrootcert=ca.pem", "has options that are not"),
    ("DATABASE_URL", "postgresql://h/d?sslmode=on", "must have one of these as its sslmode"),
    ("DATABASE_URL", "postgresql://h/d?host=a&host=b&port=1", "must have a port for each host"),
    ("DATABASE_URL", "postgresql://u:hunter2@h:65536/d", "must have a port from 1 to 65535"),
    ("DATABASE_URL", "", "is missing"),
    ("DATABASE_URL", "mysql://user:hunter2@db/name", "must look like postgresql://user:"),
    ("DATABASE_URL", "postgresql://user:hunter2@db:port/name", "must look like postgresql://"),
]
REDIS = [
    ("REDIS_URL", "", "is missing"),
    ("REDIS_URL", "cache:hunter2", "must look like redis://user:password@host:6379/0"),
    ("REDIS_URL", "redis://:hunter2@cache:port", "must look like redis://user:password@host"),
    ("REDIS_URL", "redis://:12#hunter2@cache", "must look like redis://user:password@host"),
    (
        "REDIS_URL",
        "redis://:hunter2@cache?ssl_cert_reqs=none",
        "has an option that the driver rejects: ssl_cert_reqs",
    ),
    (
        "REDIS_URL",
        "rediss://:hunter2@cache?ssl_cert_reqs=none&socket_timeout=long",
        "has an option that the driver rejects: socket_timeout",
    ),
]
OPENTELEMETRY = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "must look like http://collector:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port", "must look like http://collector"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector?key=hunter2", "must not have a query"),
    ("OTEL_TRACES_SAMPLER_ARG", "50", "must be less than or equal to 1 (it is '50')"),
]
SENTRY = [
    ("SENTRY_DSN", "https://hunter2.example", "must look like https://key@host/project"),
    ("SENTRY_DSN", "https://hunter2@host:port/1", "must look like https://key@host/project"),
]
SQLITE = [
    ("DATABASE_URL", "mysql://user:hunter2@db/name", "must be sqlite:/// and the path of"),
    ("DATABASE_URL", "sqlite:///:memory:", "must be sqlite:/// and the path of a file"),
    ("DATABASE_URL", "sqlite://data/app.db", "must be sqlite:/// and the path of a file"),
    ("DATABASE_URL", "sqlite:///data/app.db?timeout=a", "must be sqlite:/// and the path of"),
    ("DATABASE_URL", "data/app.db", "must be sqlite:/// and the path of a file"),
]
INVALID_VALUES = [
    *ALL,
    *(SQLITE if NOWHERE.startswith("sqlite") else POSTGRESQL),
    *(
        value
        for value in REDIS + OPENTELEMETRY + SENTRY
        if value[0].lower() in Settings.model_fields
    ),
]


@pytest.mark.parametrize(("variable", "value", "error"), INVALID_VALUES)
def test_invalid_value_is_reported_without_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)  # without a .env
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, required in (REQUIRED | {variable: value, "PORT": "http"}).items():
        monkeypatch.setenv(name, required)

    with pytest.raises(SystemExit) as exit_:
        load_settings()

    lines = sorted(str(exit_.value).splitlines(), key=lambda line: line.startswith("PORT "))
    assert lines[0].startswith(f"{variable} {error}")
    assert lines[1:] == ["PORT must be a whole number (it is 'http')"]
    assert not value or value not in lines[0] or f"(it is {value!r})" in lines[0]
    assert "hunter2" not in lines[0]
