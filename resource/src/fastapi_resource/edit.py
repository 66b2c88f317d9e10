"""Edit files of a project: each function returns the new text, or None if it finds no place."""

import ast
import re

from .source import Edits


def register_router(text: str, name: str) -> str | None:
    """Add the router of a package, before all others, to `ROUTERS` of api.py.

    Args:
        text: of api.py.
        name: of the package, which has a module `router`.
    """
    edits = Edits(text)
    routers = [
        node.value
        for node in edits.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Tuple | ast.List)
        and ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        == "ROUTERS"
    ]
    if len(routers) != 1 or not routers[0].elts:
        return None
    first = routers[0].elts[0]
    separator = _separator(routers[0], first)
    edits.insert(first.lineno, first.col_offset, f"{name}.router{separator}")
    return _add_import(edits, f"from .{name} import router as {name}")


def add_admin_view(text: str, name: str, cls: str) -> str | None:
    """Add the view of a module, after all others, to the views of admin/__init__.py.

    Args:
        text: of admin/__init__.py.
        name: of the module, which has a view `<cls>View`.
        cls: name of the model.
    """
    edits = Edits(text)
    views = [
        node
        for node in ast.walk(edits.tree)
        if isinstance(node, ast.Tuple | ast.List)
        and node.elts
        and all(isinstance(one, ast.Attribute) and one.attr.endswith("View") for one in node.elts)
    ]
    if len(views) != 1:
        return None
    last = views[0].elts[-1]
    line, column = last.end_lineno or 0, last.end_col_offset or 0
    edits.insert(line, column, f"{_separator(views[0], last)}{name}.{cls}View")
    return _add_import(edits, f"from . import {name}")


def add_layout_row(text: str, name: str, description: str) -> str | None:
    """Add a package to the layout in README.md, below the row of `users`."""
    row = re.search(r"^( +)users/( +).*\n", text, re.MULTILINE)
    if row is None:
        return None
    width = len("users/" + row[2])
    added = f"{row[1]}{f'{name}/ ':<{width}}{description}\n"
    return text[: row.end()] + added + text[row.end() :]


def _separator(collection: ast.Tuple | ast.List, element: ast.expr) -> str:
    """Return what separates elements: a comma, and a new line if each element has its own."""
    on_own_line = element.lineno > collection.lineno
    return f",\n{element.col_offset * ' '}" if on_own_line else ", "


def _add_import(edits: Edits, statement: str) -> str | None:
    """Add an import before the relative imports, and return the edited text."""
    imports = [node for node in edits.tree.body if isinstance(node, ast.ImportFrom) and node.level]
    if not imports:
        return None
    edits.insert(imports[0].lineno, 0, f"{statement}\n")
    return edits.text()
