"""Follow a page of the documentation to the letter: run its commands, write its files.

A fenced block means what its language and the line above it say:

- `sh`: commands in one terminal. `uv run poe dev` (re)starts the server in another terminal.
  `TOKEN=...` sets the variable to the last token in the log of the server.
- `json`, `text`: the output of the commands above, or of the server if the line above names its
  terminal. Ids and times may differ, and `...` in a text stands for anything.
- "Create `PATH`:" a new file. "Add to the end of `PATH`:" an addition, after blank lines.
- "Change `PATH`:" with `diff`: lines to add and remove, which occur once in the file.
- "In `PATH`, ...:" text that the file has.
"""

import contextlib
import doctest
import functools
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest

from harness import Service, free_port, wait_for, wait_until_ready
from questions import TEMPLATE

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASH = "/bin/bash"
BLANK_LINES = {".md": "\n", ".py": "\n\n"}  # before an addition
SERVER = "uv run poe dev\n"
RENDER = "uvx cookiecutter gh:OWNER/cookiecutter-fastapi-service"
# The author of commits, and the generator of this clone.
READER = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "RESOURCE_TEMPLATE": str(TEMPLATE / "resource"),
}
# The log as in a terminal, and long timeouts for busy machines.
SERVER_SETTINGS = {
    "DATABASE_POOL_TIMEOUT": "60",
    "DATABASE_STATEMENT_TIMEOUT": "60",
    "LOG_FORMAT": "console",
}
ADDRESS = "127.0.0.1:8000"
COLOR = re.compile(r"\x1b\[[\d;]*m")
TOKEN = re.compile(r"(?<=#token=)[\w-]{43}")
VARIES = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\b[0-9a-f]{32}\b"
    r"|\d{4}-\d\d-\d\dT[\d:.]+Z"
    r"|Unprocessable (?:Entity|Content)"  # renamed in Python 3.13
)


class Terminal:
    """A shell that keeps its folder, variables and functions from one command to the next."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        """Open the terminal in a folder."""
        self._shell = subprocess.Popen(
            [BASH, "-e", "-o", "pipefail"],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, commands: str) -> str:
        """Run commands and return what they print; fail the test if one fails."""
        end = secrets.token_hex(16)
        stdin, stdout = self._pipes()
        stdin.write(f"{{\n{commands}\n}} </dev/null\nprintf '\\n%s\\n' {end}\n")
        stdin.flush()
        lines: list[str] = []
        while (line := stdout.readline()) != f"{end}\n":
            if not line:
                pytest.fail(f"failed:\n{commands}\n{''.join(lines)}")
            lines.append(line)
        return "".join(lines)

    def close(self) -> None:
        """End the shell."""
        self._shell.communicate()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        return self._shell.stdin, self._shell.stdout


class Reader:
    """Follows pages in a folder."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        """Open a terminal in a folder."""
        self._port = free_port()
        self._log = folder / "server.log"
        self._env = {**env, **READER, "WEB_PORT": str(self._port)}
        self._terminal = Terminal(folder, self._env)
        self._server: subprocess.Popen[bytes] | None = None
        self._printed = ""

    def follow(self, text: str) -> None:
        """Do what each block of a text says."""
        blocks = list(BLOCK.finditer(text))
        assert len(blocks) * 2 == len(re.findall("^ *```", text, re.MULTILINE))
        for block in blocks:
            lead = text[: block.start()].rstrip().rpartition("\n")[2]
            language, content = block.groups()
            if language == "sh":
                self._run(content)
            elif language == "text" and "terminal shows" in lead:
                wait_for(functools.partial(self._logged, content), 60)
            elif language in {"json", "text"}:
                self._compare(language, content)
            else:
                self._edit(lead, language, content)

    def stop_server(self) -> None:
        """Press Ctrl+C in the terminal of the server."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGINT)
            assert self._server.wait(timeout=60) == 0
            self._server = None

    def close(self) -> None:
        """Close the terminals."""
        self.stop_server()
        self._terminal.close()

    def run(self, commands: str) -> str:
        """Run commands that no page has."""
        return self._terminal.run(commands)

    def _run(self, commands: str) -> None:
        if commands == SERVER:
            self._start_server()
            return
        render = shlex.join([sys.executable, "-m", "cookiecutter", str(TEMPLATE)])
        commands = commands.replace(RENDER, render).replace(ADDRESS, f"127.0.0.1:{self._port}")
        if "TOKEN=..." in commands:
            token = TOKEN.findall(self._log.read_text("utf-8"))[-1]
            commands = commands.replace("TOKEN=...", f"TOKEN={token}")
        self._printed = self._terminal.run(commands)

    def _start_server(self) -> None:
        self.stop_server()
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [BASH, "-c", f"exec {SERVER}"],
                cwd=self._folder(),
                env={**self._env, **SERVER_SETTINGS, "PORT": str(self._port)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until_ready(Service(f"http://127.0.0.1:{self._port}", self._server, self._log))

    def _folder(self) -> Path:
        return Path(self._terminal.run("pwd").strip())

    def _logged(self, expected: str) -> bool:
        return matches(expected, COLOR.sub("", self._log.read_text("utf-8")))

    def _compare(self, language: str, expected: str) -> None:
        same = same_json if language == "json" else matches
        if not same(expected, self._printed):
            pytest.fail(f"expected:\n{expected}\nprinted:\n{self._printed}")

    def _edit(self, lead: str, language: str, content: str) -> None:
        found = re.search(r"`([^`]+/[^`]+|[\w.]+\.\w+)`", lead)
        assert found, f"no file is named above\n{content}"
        [path] = sorted(self._folder().glob(found[1])) or [self._folder() / found[1]]
        if lead.startswith("Create "):
            assert not path.exists(), f"{path} exists already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
            return
        text = path.read_text("utf-8")
        if lead.startswith("Add to the end of "):
            path.write_text(text + BLANK_LINES.get(path.suffix, "") + content, "utf-8")
        elif lead.startswith("Change ") and language == "diff":
            old, new = sides(content)
            assert text.count(old) == 1, f"not once in {path}:\n{old}"
            path.write_text(text.replace(old, new), "utf-8")
        elif lead.startswith("In "):
            assert content.strip() in text, f"not in {path}:\n{content}"
        else:
            pytest.fail(f"nothing says what to do with\n{content}")


def page(name: str) -> str:
    """Return the text of a how-to page."""
    return (TEMPLATE / "docs" / "how-to" / f"{name}.md").read_text("utf-8")


def sides(diff: str) -> tuple[str, str]:
    """Return the lines of a diff before and after the change."""
    lines = [(line[0].strip(), line[1:] or line) for line in diff.splitlines(keepends=True)]
    return (
        "".join(line for sign, line in lines if sign != "+"),
        "".join(line for sign, line in lines if sign != "-"),
    )


def without_variables(text: str) -> str:
    """Return a text in which all ids and times are the same."""
    return VARIES.sub("0", text)


def same_json(expected: str, printed: str) -> bool:
    """Return whether two texts are the same JSON, apart from ids and times."""
    decoded: list[object] = [json.loads(without_variables(text)) for text in (expected, printed)]
    return decoded[0] == decoded[1]


def matches(expected: str, printed: str) -> bool:
    """Return whether a text was printed; `...` stands for anything."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(
        without_variables(expected), without_variables(printed), flags
    )


@contextlib.contextmanager
def reader(folder: Path, env: Mapping[str, str]) -> Iterator[Reader]:
    """Open the terminals of a reader until the block ends."""
    one = Reader(folder, env)
    try:
        yield one
    finally:
        one.close()
