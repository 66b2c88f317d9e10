"""The tables of docs/reference, from the questions and from what renders contain.

A table stands between two comments of a page: `<!-- name -->` and `<!-- end -->`.
"""

import ast
import functools
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from harness import environ, run
from questions import (
    APPLICATION_QUESTIONS,
    CONTEXT,
    FEATURES,
    QUESTIONS,
    Answers,
    alternatives,
    choices,
    min_max_configurations,
)
from rendering import default_answers

TABLE = re.compile(r"<!-- (?P<name>[a-z ]+) -->\n(?P<content>.*?)<!-- end -->", re.DOTALL)
DEPLOYED = {"use_elk": True, "use_kubernetes": True}
EVERYTHING = min_max_configurations("postgresql")[1] | DEPLOYED
FLAGS = [name for name in APPLICATION_QUESTIONS if name.startswith("use_")]
LEVELS = {"log.exception": "error", "log.log": "debug, info"}  # the path decides, in http.py
PROBLEM = re.compile(r"\b(Problem|(field_)?problem(_response)?)$")
# FastAPI and Starlette answer with these, and `errors.py` makes them problems.
STATUSES_OF_LIBRARIES = {400, 404, 405, 413, 422}
# Python before 3.13 has the phrases of an older specification.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
# The modules whose sentences are not those of responses of the API.
NO_RESPONSES = (
    "admin/",
    "cli",
    "docs",
    "instruments",
    "mail",
    "metrics/",
    "settings",
    "worker/tasks",
)
# Run in a render: print as JSON what its objects say about themselves.
DESCRIBE = """
import json, types, typing
import click, fastapi
from orders import api, cli, errors, exceptions
from orders.auth.models import Role
from orders.auth.scopes import SCOPES
from orders.logging import FIELDS
from orders.settings import Settings

KINDS = {"bool": "`true` or `false`", "int": "whole number", "float": "number",
         "list": "comma-separated list", "SecretStr": "secret", "EmailStr": "email address",
         "str": "text"}

def kind(annotation):
    while typing.get_origin(annotation) in (typing.Annotated, types.UnionType, typing.Union):
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(annotation))
    return KINDS[(typing.get_origin(annotation) or annotation).__name__]

def limits(field):
    found = {name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le")
             if hasattr(one, name)}
    if len(found) == 2:
        return f" from {found['ge']} to {found['le']}"
    words = {"ge": "at least", "gt": "more than"}
    return "".join(f", {words[name]} {value}" for name, value in found.items())

def default(field):
    if field.is_required():
        return "required"
    value = field.default
    if type(value).__name__ == "SecretStr":
        return "required in production"
    if isinstance(value, list):
        value = ",".join(value)
    if isinstance(value, bool):
        value = str(value).lower()
    return "" if value in (None, "") else f"`{value}`"

settings = [
    (f"`{name.upper()}`", kind(field.annotation) + limits(field), default(field), field.description)
    for name, field in Settings.model_fields.items()
]
commands = [
    (f"`{name}`", ", ".join(
        f"`{one.opts[0]}`" if isinstance(one, click.Option) else f"`{one.name.upper()}`"
        for one in command.params), command.help.partition("\\n\\n")[0])
    for name, command in cli.main.commands.items()
]
types = [
    (f"`{kind.type}`", str(status))
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and getattr(kind, "type", "about:blank") != "about:blank"
    for status in [next(code for one, code in errors.STATUSES.items() if issubclass(kind, one))]
]
scopes = [
    (f"`{name}`", scope.description, ", ".join(f"`{one}`" for one in Role if one in scope.roles))
    for name, scope in SCOPES.items()
]
app = fastapi.FastAPI()
api.setup(app)
operations = [
    (f"`{method.upper()} {path}`", f"`{operation['security'][0]['OAuth2'][0]}`")
    for path, item in app.openapi()["paths"].items()
    for method, operation in item.items() if "security" in operation
]
print(json.dumps({"settings": settings, "commands": commands, "fields": FIELDS,
                  "statuses": list(errors.STATUSES.values()), "types": types, "scopes": scopes,
                  "operations": operations}))
"""

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        header: the titles of the columns.
        rows: the cells; the first one names the row.
        written: the title of one more column, which is written by hand in the page.
    """

    header: Row
    rows: list[Row]
    written: str = ""

    def markdown(self, before: str) -> str:
        """Return the table as Markdown, with the hand-written cells of its former text."""
        header, rows = self.header, self.rows
        if self.written:
            cells = [re.split(r" ?(?<!\\)\| ?", line) for line in before.splitlines()]
            kept = {line[1]: line[-2] for line in cells if len(line) == len(header) + 3}
            header = (*header, self.written)
            rows = [(*row, kept.get(row[0], "")) for row in rows]
        lines = [header, tuple("---" for _ in header), *rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


class Render:
    """A render with its syntax trees and the descriptions of its objects."""

    def __init__(self, folder: Path, environment: Path) -> None:
        """Remember both folders."""
        self.folder = folder
        self.environment = environment

    @functools.cached_property
    def modules(self) -> dict[str, ast.Module]:
        """The syntax tree of each module, by its path in the package."""
        package = self.folder / "src" / "orders"
        return {
            path.relative_to(package).as_posix(): ast.parse(path.read_text("utf-8"))
            for path in sorted(package.rglob("*.py"))
        }

    @functools.cached_property
    def described(self) -> dict[str, Any]:
        """Return the settings, commands, log fields, statuses and types of the render."""
        python = str(self.environment / "bin" / "python")
        env = environ(self.folder, self.environment)
        said: dict[str, Any] = json.loads(run([python, "-c", DESCRIBE], cwd=self.folder, env=env))
        return said

    def settings(self) -> list[Row]:
        """Return the name, type, default and description of each setting."""
        return [tuple(row) for row in self.described["settings"]]

    def commands(self) -> list[Row]:
        """Return the name, the parameters and the help of each command."""
        return [tuple(row) for row in self.described["commands"]]

    def tasks(self) -> list[Row]:
        """Return the name and the help of each task."""
        content = tomllib.loads((self.folder / "pyproject.toml").read_text("utf-8"))
        tasks = content["tool"]["poe"]["tasks"].items()
        return [(f"`uv run poe {name}`", str(task["help"])) for name, task in tasks]

    def layout(self) -> list[Row]:
        """Return each module with the first line of its docstring."""
        docstrings = {path: ast.get_docstring(tree) for path, tree in self.modules.items()}
        return [
            (f"`{path.replace('__init__.py', '')}`", text.splitlines()[0])
            for path, text in docstrings.items()
            if text and path != "__init__.py"
        ]

    def top(self) -> list[Row]:
        """Return the files and folders at the top of the project."""
        names = (f"{one.name}/" if one.is_dir() else one.name for one in self.folder.iterdir())
        return [(f"`{name}`",) for name in sorted(names)]

    def details(self) -> list[Row]:
        """Return each sentence that the API sends as `detail`, or as `error_description`."""
        found = set()
        for path, tree in self.modules.items():
            if path.startswith(NO_RESPONSES):
                continue
            constants = constants_of(tree)
            texts = {
                text_of(node, constants)
                for node in values(tree)
                if isinstance(node, ast.Constant | ast.JoinedStr)
            }
            found |= {text for text in texts if re.fullmatch(r"[A-Za-z][^\n]* [^\n]*\.", text)}
        return [(text,) for text in sorted(found)]

    def events(self) -> list[Row]:
        """Return each event of the log with its level and fields."""
        found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
        for path, tree in self.modules.items():
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
            for call in calls if path != "logging.py" else ():
                function, event = ast.unparse(call.func), text_of(call.args[-1], {})
                level = "info, warning, error"  # the outcome of a job decides, in worker/runner.py
                if function.startswith("log."):
                    level = LEVELS.get(function, function.removeprefix("log."))
                elif function != "write":
                    continue
                fields = [self._field(one.arg) for one in call.keywords if one.arg]
                fields += ["`error.*`"] * (function == "log.exception")
                levels, names = found.setdefault(f"`{event}`", ({}, {}))
                levels[level] = None
                names.update(dict.fromkeys(fields))
        return [
            (event, ", ".join(levels), ", ".join(names))
            for event, (levels, names) in sorted(found.items())
        ]

    def _field(self, keyword: str) -> str:
        if keyword in {"error", "exc_info"}:
            return "`error.*`"
        return f"`{self.described['fields'].get(keyword, f'labels.{keyword}')}`"

    def statuses(self) -> list[Row]:
        """Return the status and the title of each problem."""
        found = set(self.described["statuses"]) | STATUSES_OF_LIBRARIES
        for call in (one for tree in self.modules.values() for one in ast.walk(tree)):
            if isinstance(call, ast.Call) and PROBLEM.search(ast.unparse(call.func)):
                found |= {one.value for one in call.args[:1] if isinstance(one, ast.Constant)}
        return [(str(one), TITLES.get(one) or HTTPStatus(one).phrase) for one in sorted(found)]

    def types(self) -> list[Row]:
        """Return the type and the status of each problem that has a type."""
        return [tuple(row) for row in self.described["types"]]

    def scopes(self) -> list[Row]:
        """Return each scope with its description and the roles that include it."""
        return [tuple(row) for row in self.described["scopes"]]

    def operations(self) -> list[Row]:
        """Return each operation that needs a credential, with its scope."""
        return [tuple(row) for row in self.described["operations"]]

    def fields(self) -> list[Row]:
        """Return the name of each field of a log line."""
        names = ast.unparse(self.modules["logging.py"])
        constant = re.findall(r"'((?:ecs|service)\.\w+)':", names)
        return [(f"`{name}`",) for name in [*self.described["fields"].values(), *constant]]

    def metrics(self) -> list[Row]:
        """Return each metric with its type, labels and help."""
        return sorted(
            row
            for tree in self.modules.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            if (row := metric(node, constants_of(tree)))
        )


def metric(call: ast.Call, constants: dict[str, str]) -> Row | None:
    """Return the row of a metric that this call creates, or None if it creates none."""
    kind = ast.unparse(call.func)
    if kind not in {"Counter", "Gauge", "Histogram"} or len(call.args) < 2:
        return None
    name = text_of(call.args[0], constants) + ("_total" if kind == "Counter" else "")
    labels = ast.unparse(call.args[2]) if len(call.args) > 2 else ""
    names = re.findall(r"'(\w+)'", constants.get(labels, labels))
    shown = ", ".join(f"`{label}`" for label in names)
    return f"`{name}`", kind.lower(), shown, text_of(call.args[1], constants)


def values(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a module, but for docstrings, descriptions and scopes."""
    for child in ast.iter_child_nodes(node):
        is_description = isinstance(child, ast.keyword) and child.arg in {"description", "title"}
        is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        is_scope = isinstance(child, ast.Call) and ast.unparse(child.func) == "define_scope"
        if not (is_description or is_docstring or is_scope):
            if isinstance(child, ast.expr):
                yield child
            if not isinstance(child, ast.JoinedStr):
                yield from values(child)


def constants_of(tree: ast.Module) -> dict[str, str]:
    """Return the constants of a module: texts as they are, and others as source."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            value = node.value
            text = value.value if isinstance(value, ast.Constant) else ast.unparse(value)
            found[ast.unparse(target)] = str(text)
    return found


def text_of(node: ast.expr, constants: dict[str, str]) -> str:
    """Return a text with the values of its constants, and `…` for others."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            text_of(one.value if isinstance(one, ast.FormattedValue) else one, constants)
            for one in node.values
        )
    source = ast.unparse(node)
    return constants.get(source, "…")


class Renders:
    """The renders with everything, and those without one of its features.

    Args:
        render: renders a project.
        environment: runs it.
    """

    def __init__(self, render: Callable[..., Path], environment: Path) -> None:
        """Render those that every table needs."""
        self._render, self._environment = render, environment
        self.everything = self.without()
        self.sqlite = self._rendered(min_max_configurations("sqlite")[1])

    def _rendered(self, answers: Answers) -> Render:
        return Render(self._render(**answers), self._environment)

    @functools.cache  # noqa: B019 - there is one object
    def without(self, *flags: str) -> Render:
        """Return the render with everything but these features."""
        return self._rendered(EVERYTHING | dict.fromkeys(flags, False))

    def rows(self, extract: Callable[[Render], list[Row]], key: int | None = None) -> list[Row]:
        """Return the rows of all renders, each with the answers that it needs.

        Args:
            extract: returns the rows of a render.
            key: the number of cells, from the first one, that make two rows the same; all cells by
                default.
        """

        def keys(render: Render) -> list[Row]:
            return [row[:key] for row in extract(render)]

        everything, sqlite = keys(self.everything), keys(self.sqlite)
        without = {flag: keys(self.without(flag)) for flag in FLAGS}

        def needs(row: Row) -> str:
            if row in everything:
                names = [f"`{flag}`" for flag in FLAGS if row not in without[flag]]
                if row not in sqlite and "`use_worker`" not in names:
                    names.insert(0, "`postgresql`")
                return ", ".join(names)
            for off in (flag for flag in FLAGS if row in without[flag]):
                names = [f"`{flag}`" for flag in FLAGS if row not in keys(self.without(off, flag))]
                return ", ".join([*names, f"no `{off}`"])
            return "`sqlite`"

        found = extract(self.everything)
        for render in [self.sqlite, *map(self.without, FLAGS)]:
            before = 0
            for row in extract(render):
                same = [number for number, one in enumerate(found) if one[:key] == row[:key]]
                if not same:
                    found.insert(before, row)
                before = same[0] + 1 if same else before + 1
        return [(*row, needs(row[:key])) for row in found]


def tables(render: Callable[..., Path], environment: Path) -> dict[str, Table]:
    """Return every table by its name."""
    renders = Renders(render, environment)
    rows, needs = renders.rows, "needs"
    # The page says that all of them need this.
    metrics = [
        (*row, names.removesuffix("`use_prometheus`").rstrip(", "))
        for *row, names in rows(Render.metrics)
    ]
    return {
        "questions": Table(("question", "answers, the default first", "meaning"), questions()),
        "features": Table(("feature", "answers", "files"), features()),
        "settings": Table(("variable", "type", "default", "meaning", needs), rows(Render.settings)),
        "tasks": Table(("task", "purpose", needs), rows(Render.tasks)),
        "commands": Table(("command", "parameters", "purpose", needs), rows(Render.commands)),
        "modules": Table(("module", "purpose", needs), rows(Render.layout, 1)),
        "top": Table(("path",), renders.everything.top(), "purpose"),
        "statuses": Table(("status", "title"), renders.everything.statuses(), "cause"),
        "types": Table(("type", "status"), renders.everything.types(), "cause"),
        "details": Table(("detail", needs), rows(Render.details), "status and cause"),
        "scopes": Table(("scope", "allows", "roles", needs), rows(Render.scopes)),
        "operations": Table(("operation", "scope", needs), rows(Render.operations)),
        "fields": Table(("field",), renders.everything.fields(), "content"),
        "events": Table(("event", "level", "fields", needs), rows(Render.events, 1), "meaning"),
        "metrics": Table(("metric", "type", "labels", "meaning", needs), metrics),
    }


def questions() -> list[Row]:
    """Return the questions with their answers and prompts."""
    prompts, defaults = CONTEXT["__prompts__"], default_answers()
    found: list[Row] = []
    for name in QUESTIONS:
        prompt = prompts[name]
        if isinstance(prompt, dict):
            words = (prompt[one].removeprefix(one).strip() for one in choices(name))
            answers = "<br>".join(
                f"`{one}`: {text}" for one, text in zip(choices(name), words, strict=True)
            )
            found.append((f"`{name}`", answers, prompt["__prompt__"]))
        else:
            answers = "`no`, `yes`" if choices(name) else f"`{defaults[name]}`"
            found.append((f"`{name}`", answers, prompt))
    return found


def features() -> list[Row]:
    """Return the features with the answers that turn them on, and their files."""
    return [
        (
            name,
            " or ".join(_condition(when) for when in alternatives(name)),
            ", ".join(f"`{path.replace('src/*/', 'src/orders/')}`" for path in feature["paths"]),
        )
        for name, feature in FEATURES.items()
    ]


def _condition(when: Answers) -> str:
    words = {True: "yes", False: "no"}
    return ", ".join(f"`{name}={words.get(one, one)}`" for name, one in when.items())
