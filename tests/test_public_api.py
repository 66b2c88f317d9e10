"""Renders use the public API of their dependencies only: an update breaks no private technique."""

import ast
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

from conftest import Render
from harness import environ, run
from questions import Answers, label, min_max_configurations
from rendering import rendered

MAX = [min_max_configurations(database)[1] for database in ("postgresql", "sqlite")]
# Names without an underscore that are private, deprecated or undocumented, or that replace what a
# library does for all its users.
FORBIDDEN_NAMES = {
    "await_only",
    "check_key_length",
    "do_execute",
    "do_execute_no_params",
    "do_executemany",
    "effective_route_context",
    "frequency_lists",
    "greenlet_spawn",
    "iter_route_contexts",
    "middleware_stack",
}
# Attributes with an underscore that are documented.
PUBLIC_UNDERSCORES = {"_asdict", "_fields", "_make", "_mapping", "_replace"}
# Modules that change the attributes of their own ORM entities by name, those that keep what belongs
# to a transaction in `session.info`, with the test helper that waits for it, and the one that keeps
# the start of a statement in `connection.info`.
SETATTR = ("src/*/service.py",)
SESSION_INFO = (
    "src/*/background.py",
    "src/*/cache/*.py",
    "src/*/database/session.py",
    "src/*/metrics/database.py",
    "tests/mail_support.py",
)
# Prints what the project's classes define that overrides a private name of a dependency.
OVERRIDES = """
import ast, importlib, inspect, json, pathlib, sys

package, found = sys.argv[1], []

def private_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield getattr(node, "attr", None) or node.id

for path in sorted(pathlib.Path("src", package).rglob("*.py")):
    name = ".".join(path.relative_to("src").with_suffix("").parts).removesuffix(".__init__")
    if name.endswith("__main__"):
        continue
    module = importlib.import_module(name)
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for base in inspect.getmro(getattr(module, node.name)):
            if base.__module__.partition(".")[0] in (package, "builtins"):
                continue
            found += [
                f"{path.as_posix()}: {node.name}.{one} overrides {base.__module__}.{base.__name__}"
                for one in {*private_names(node)}
                if one.startswith("_") and not one.endswith("__") and one in vars(base)
            ]
print(json.dumps(found))
"""


def find_private_api(path: PurePosixPath, source: str) -> Iterator[str]:
    """Yield each use of a private or forbidden name in a module, with its line."""
    for node in ast.walk(ast.parse(source)):
        for find in (_forbidden_names, _private_imports, _private_attributes, _shared_objects):
            for problem in find(path, node):
                yield f"{path}:{getattr(node, 'lineno', 0)}: {problem}"


def _forbidden_names(_: PurePosixPath, node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            pass
        case ast.Constant(value=str(name)) | ast.FunctionDef(name=name):
            pass
        case _:
            return
    if name in FORBIDDEN_NAMES or (
        isinstance(node, ast.Attribute) and ast.unparse(node).endswith("sync_engine.connect")
    ):
        yield f"names {name}"


def _private_imports(_: PurePosixPath, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        for name in (module, *(alias.name for alias in node.names)):
            if any(map(_is_private, name.split("."))):
                yield f"imports {name}"


def _private_attributes(_: PurePosixPath, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and _is_private(node.attr):
        if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}):
            yield f"uses {ast.unparse(node)}"
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("getattr", "setattr")):
        for argument in node.args:
            match argument:
                case ast.Constant(value=str(name)) if _is_private(name):
                    yield f"uses {name}"


def _shared_objects(path: PurePosixPath, node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name("setattr")) if path.parts[0] == "src":
            if not _is_in(path, SETATTR):
                yield f"changes an object by {ast.unparse(node)}"
        case ast.Subscript(value=ast.Attribute(attr="info")) if not _is_in(path, SESSION_INFO):
            yield f"shares an object in {ast.unparse(node)}"


def find_inherited_private_attributes(files: dict[PurePosixPath, str]) -> Iterator[str]:
    """Yield each private attribute of `self` that no module defines: it is that of a dependency."""
    nodes = [(path, node) for path, source in files.items() for node in ast.walk(ast.parse(source))]
    defined = {
        name
        for _, node in nodes
        for name in (
            getattr(node, "name", None),
            getattr(node, "attr", None),
            getattr(node, "id", None),
        )
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or isinstance(getattr(node, "ctx", None), ast.Store)
    }
    for path, node in nodes:
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in defined:
            yield f"{path}:{node.lineno}: uses {ast.unparse(node)}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC_UNDERSCORES


def _is_in(path: PurePosixPath, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(str(path), pattern) for pattern in patterns)


@pytest.mark.parametrize(
    "source",
    [
        "engine.pool._do_get()",
        "view.site._admin_ref",
        "from opentelemetry.util._once import Once",
        "from sqlalchemy.util import await_only",
        "from sqlalchemy.util import _concurrency",
        "import uvicorn._types",
        "engine.sync_engine.connect()",
        "admin.middleware_stack = None",
        "scope['fastapi']['effective_route_context']",
        "setattr(dialect, name, wrapper)",
        "session.info['cache'].invalidate()",
        "getattr(zxcvbn, '_lists')",
        "for method in ('do_execute',): pass",
    ],
)
def test_private_api_is_found(source: str) -> None:
    assert list(find_private_api(PurePosixPath("src/orders/module.py"), source))


def test_private_attribute_of_a_base_class_is_found() -> None:
    used = "class View(ModelView):\n    def site(self): return self._admin_ref"
    defined = "class View(ModelView):\n    def site(self): self._site = 1; return self._site"

    assert list(find_inherited_private_attributes({PurePosixPath("views.py"): used}))
    assert not list(find_inherited_private_attributes({PurePosixPath("views.py"): defined}))


@pytest.mark.parametrize(
    "source",
    [
        "self._cache = {}",
        "row._mapping['id']",
        "log.info('user registered')",
        "import __future__",
        "_ = first",
    ],
)
def test_public_api_is_accepted(source: str) -> None:
    assert list(find_private_api(PurePosixPath("src/orders/module.py"), source)) == []


@pytest.mark.parametrize("answers", MAX, ids=label)
def test_render_uses_no_private_api(answers: Answers) -> None:
    files = {
        path: content.decode()
        for path, content in rendered(**answers).items()
        if path.suffix == ".py"
    }
    found = [problem for path, text in files.items() for problem in find_private_api(path, text)]
    found += find_inherited_private_attributes(files)

    assert found == []


@pytest.mark.parametrize("answers", MAX, ids=label)
def test_render_overrides_nothing_private(
    answers: Answers, render: Render, environment: Path
) -> None:
    project = render(**answers)
    python = str(environment / "bin" / "python")
    printed = run(
        [python, "-c", OVERRIDES, "orders"], cwd=project, env=environ(project, environment)
    )

    assert json.loads(printed) == []
