"""Checks of a render's files: which files there are, their format, names and forbidden patterns."""

import ast
import configparser
import functools
import json
import posixpath
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import yaml

from questions import CONTEXT, FEATURES, PROJECT, TEMPLATE, Answers, alternatives
from rendering import RAM_DISK, Files

# The 64 random characters of a secret in `.env` may contain any word.
SECRET = re.compile(rb"(?<==)[\w-]{64}$", re.MULTILINE)

# The headings of a render's README in their order, each with the features that need it, or none if
# every render has it.
HEADINGS: dict[str, set[str]] = {
    "Start": set(),
    "Tasks": set(),
    "Layout": set(),
    "Using the API": set(),
    "Accounts and email": set(),
    "Admin pages": {"admin"},
    "Background jobs": {"worker"},
    "Cache and rate limits": {"redis"},
    "In production": set(),
    "Deploying": set(),
    "Monitoring": {"prometheus"},
    "Traces": {"opentelemetry"},
    "Error reports": {"sentry"},
    "Logs": {"elk"},
    "The pipeline": {"github", "gitlab"},
    "Adding a resource": set(),
    "Removing the sample": set(),
    "Settings": set(),
}
# The addresses of this template's docs/ and resource/, which name things that no render may contain
# otherwise.
DOCS, RESOURCE = CONTEXT["_docs"], CONTEXT["_resource"]


def is_on(feature: str, answers: Answers) -> bool:
    """Return whether the answers turn a feature on."""
    return any(when.items() <= answers.items() for when in alternatives(feature))


def owns(pattern: str, path: PurePosixPath) -> bool:
    """Return whether a path of the manifest is this file or a folder that contains it."""
    parts = pattern.split("/")
    return len(parts) <= len(path.parts) and all(map(fnmatchcase, path.parts, parts))


@functools.cache
def template_paths(package: str = "orders") -> set[PurePosixPath]:
    """Return the path of every file of the template in a render with this package."""
    return {
        PurePosixPath(
            path.relative_to(PROJECT).as_posix().replace("{{cookiecutter.package_name}}", package)
        )
        for path in PROJECT.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def expected_paths(answers: Answers) -> set[PurePosixPath]:
    """Return the files of a render with these answers according to the manifest."""
    pruned = [_owned(name) for name in FEATURES if not is_on(name, answers)]
    return template_paths().difference(*pruned) | {PurePosixPath(".env")}


@functools.cache
def _owned(feature: str) -> set[PurePosixPath]:
    patterns = FEATURES[feature]["paths"]
    return {path for path in template_paths() if any(owns(one, path) for one in patterns)}


def expected_headings(answers: Answers) -> list[str]:
    """Return the headings of the README of a render with these answers."""
    on = {feature for feature in FEATURES if is_on(feature, answers)}
    return [heading for heading, features in HEADINGS.items() if not features or features & on]


def headings(document: bytes) -> list[str]:
    """Return the headings of a Markdown file below its title."""
    return re.findall(r"^##+ (.+)$", _prose(document), re.MULTILINE)


def _prose(document: bytes) -> str:
    """Return a Markdown file without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", document.decode(), flags=re.MULTILINE | re.DOTALL)


def find_forbidden_patterns(files: Files, feature: str) -> list[str]:
    """Return the files whose name or content matches a forbidden pattern of a feature."""
    return [
        f"{path}: {pattern}"
        for path, data in files.items()
        for pattern in _forbidden_patterns(feature, path, data)
    ]


@functools.cache
def _forbidden_patterns(feature: str, path: PurePosixPath, data: bytes) -> list[str]:
    text = f"{path}\n".encode() + SECRET.sub(b"", data)
    for address in (DOCS, RESOURCE):
        text = text.replace(address.encode(), b"")
    return [
        pattern
        for pattern in FEATURES[feature]["forbidden_patterns"]
        if re.search(pattern.encode(), text.lower())
    ]


def find_problems(files: Files) -> list[str]:
    """Return the problems of a render's files: format, links, lint and names of settings."""
    found = [
        f"{path}: {problem}"
        for path, data in files.items()
        for problem in (*_problems_of_file(path, data), *_dead_links_to_docs(data))
    ]
    found += find_dead_links(files) + _problems_of_layout(files)
    return found + _problems_of_style(files) + _problems_of_settings(files)


def find_dead_links(files: Files) -> list[str]:
    """Return the relative links of Markdown files to files and headings that do not exist."""
    return [
        f"{path}: links to {target}, which is not there"
        for path, data in files.items()
        for target in (_links(data) if path.suffix == ".md" else ())
        if not _leads_somewhere(target, path, files)
    ]


@functools.cache
def _dead_links_to_docs(document: bytes) -> list[str]:
    """Return the links to pages that are not in the documentation of the template."""
    names = re.findall(rf"{re.escape(DOCS)}/(\S+)", document.decode())
    return [f"links to {name}" for name in names if not (TEMPLATE / "docs" / name).is_file()]


@functools.cache
def _links(document: bytes) -> list[str]:
    return re.findall(r"\]\((?!https?:)([^)\s]+)", _prose(document))


def _leads_somewhere(target: str, origin: PurePosixPath, files: Files) -> bool:
    name, _, anchor = target.partition("#")
    path = PurePosixPath(posixpath.normpath(origin.parent / name)) if name else origin
    if anchor:
        return path in files and anchor in _anchors(files[path])
    return any(other.is_relative_to(path) for other in files)


@functools.cache
def _anchors(document: bytes) -> set[str]:
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(document)
    }


@functools.cache
def _problems_of_file(path: PurePosixPath, data: bytes) -> list[str]:
    return list(_problems_of_text(path, data.decode("utf-8")))


def _problems_of_text(path: PurePosixPath, text: str) -> Iterator[str]:
    if not text:
        if path.name not in {"__init__.py", "py.typed"}:
            yield "is empty"
        return
    if "\r" in text:
        yield "has a carriage return"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield "does not end with one newline"
    if text.startswith("\n") or "\n\n\n\n" in text:
        yield "has blank lines at its beginning, or three in a row"
    if re.search(r"[ \t]\n", text):
        yield "has trailing blanks"
    # ${{ }} is an expression of a workflow, {{resolve: }} of CloudFormation, {{ .x }} of Go; in an
    # f-string {{ }} are two braces. The service has templates of its own.
    braces = r"" if path.suffix == ".py" else r"|(?<!\$)\{\{(?! [.$]|resolve:secretsmanager:)"
    is_template = "templates" in path.parts
    syntax = "" if is_template else rf"|\{{%|\{{#{braces}"
    own = text.replace(DOCS, "").replace(RESOURCE, "")
    if residue := re.search(f"cookiecutter{syntax}", own, re.IGNORECASE):
        yield f"has {residue[0]} left from the template"
    try:
        PARSERS.get(path.suffix or path.name, str)(text)
    except (SyntaxError, ValueError, configparser.Error, yaml.YAMLError) as error:
        yield f"does not parse: {error}"


def _parse_python(text: str) -> None:
    compile(ast.parse(text, feature_version=(3, 11)), "", "exec")


def _parse_yaml(text: str) -> None:
    list(yaml.safe_load_all(text))


def _parse_variables(text: str) -> None:
    for line in text.splitlines():
        if not re.match(r"#|\w+=|$", line):
            raise ValueError(line)


def _parse_shell(text: str) -> None:
    _ask(["bash", "-n"], text)


# By suffix, or by name for files without one.
PARSERS: dict[str, Callable[[str], object]] = {
    ".editorconfig": lambda text: configparser.ConfigParser().read_string(f"[all files]\n{text}"),
    ".env": _parse_variables,
    ".example": _parse_variables,
    ".json": json.loads,
    ".ndjson": lambda text: [json.loads(line) for line in text.splitlines()],
    ".profile": _parse_shell,
    ".py": _parse_python,
    ".sh": _parse_shell,
    ".toml": tomllib.loads,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    "Dockerfile": lambda text: _ask([_tool("hadolint"), "-"], text),
    "Procfile": _parse_yaml,
}


def _tool(name: str) -> str:
    """Return the path of a program in the environment that runs the tests."""
    return str(Path(sys.executable).parent / name)


def _ask(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{done.stdout}{done.stderr}")


# The findings of formatter and linter for each Python file checked so far.
_seen: dict[tuple[PurePosixPath, bytes], list[str]] = {}


def _problems_of_style(files: Files) -> list[str]:
    """Return what the render's formatter and linter find, checking each content once."""
    python = [(path, data) for path, data in files.items() if path.suffix == ".py"]
    if new := [path for path, data in python if (path, data) not in _seen]:
        said = _style(files, new)
        for path in new:
            _seen[path, files[path]] = [line for line in said if str(path) in line]
    return [line for one in python for line in _seen[one]]


def _style(files: Files, paths: list[PurePosixPath]) -> list[str]:
    with tempfile.TemporaryDirectory(dir=RAM_DISK) as folder:
        for path, data in files.items():
            # The linter looks for the project's own packages in src.
            if path in paths or path.parts[0] in {"src", "pyproject.toml"}:
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        said = [
            subprocess.run(
                [_tool("ruff"), *command, "--no-cache", "--output-format", "concise", *paths],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            for command in (["format", "--check"], ["check"])
        ]
    return [line for done in said if done.returncode for line in done.stdout.splitlines()]


def _problems_of_layout(files: Files) -> list[str]:
    """Return the modules that the README's layout does not name, or that do not exist."""
    layout = files[PurePosixPath("README.md")].decode().partition("\n## Layout\n")[2]
    named = set(re.findall(r"^  ([\w.]+)/? +", layout.partition("\n```\n\n")[0], re.MULTILINE))
    modules = {path.parts[2] for path in files if path.parts[0] == "src"}
    return [f"README.md: layout: {name}" for name in named ^ modules - {"__init__.py", "py.typed"}]


def _problems_of_settings(files: Files) -> list[str]:
    """Return where the README's table or `.env.example` does not match the settings."""
    [settings] = (path for path in files if path.match("src/*/settings.py"))
    example, readme = files[PurePosixPath(".env.example")], files[PurePosixPath("README.md")]
    return _differences(files[settings], example, readme)


@functools.cache
def _differences(settings: bytes, example: bytes, readme: bytes) -> list[str]:
    [body] = (
        node.body
        for node in ast.parse(settings).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    fields = [ast.unparse(node.target).upper() for node in body if isinstance(node, ast.AnnAssign)]
    table = readme.decode().partition("\n## Settings\n")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)
    set_by_people = re.findall("^(?:# )?([A-Z_]+)=", example.decode(), re.MULTILINE)
    problems = [] if explained == fields else [f"README.md: names {explained}"]
    if set_by_people != [name for name in fields if name in set_by_people]:
        problems.append(f".env.example: names {set_by_people}")
    return problems
