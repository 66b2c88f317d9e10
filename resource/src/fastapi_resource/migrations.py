"""Remove tables from the existing migrations of a project that was never deployed."""

import ast
import re
from pathlib import Path

import click

from .source import Edits


def without_tables(migrations: dict[Path, str], tables: list[str]) -> dict[Path, str | None]:
    """Return the migrations that change, by path, or None for those that are left empty.

    Raises:
        click.UsageError: a statement about these tables cannot be removed.
    """
    texts = {path: _without_statements(text, tables) for path, text in migrations.items()}
    for path, text in texts.items():
        if mention := _mention(text, tables):
            raise click.UsageError(
                f"{path.name} uses the table {mention} in a way that this command cannot remove:"
                " edit the migration first."
            )
    for path, text in [*texts.items()]:
        parent = re.search(r"^down_revision\b.*= [\"'](\w+)[\"']", texts[path], re.MULTILINE)
        # A first migration, or one that merges branches, stays.
        if text != migrations[path] and parent and _is_empty(text):
            [revision] = re.findall(r"^revision\b.*= [\"'](\w+)[\"']", text, re.MULTILINE)
            del texts[path]
            links = rf"^((?:Revises|down_revision|depends_on)\b.*)\b{revision}\b"
            texts = {
                other: re.sub(links, rf"\g<1>{parent[1]}", content, flags=re.MULTILINE)
                for other, content in texts.items()
            }
    return {path: texts.get(path) for path in migrations if texts.get(path) != migrations[path]}


def _table(statement: ast.stmt) -> object:
    """Return the table that an operation such as op.create_table(...) changes, or None."""
    match statement:
        case ast.Expr(value=ast.Call() as call):
            pass
        case ast.With(items=[ast.withitem(context_expr=ast.Call() as call)]):
            pass
        case _:
            return None
    operation = ast.unparse(call.func)
    # The first argument of these is the name of an index or a constraint.
    position = 1 if re.search("constraint|index|key", operation) else 0
    named = [one.value for one in call.keywords if one.arg in ("table_name", "source_table")]
    arguments = [*named, *call.args[position:]]
    if not operation.startswith("op.") or not arguments:
        return None
    return arguments[0].value if isinstance(arguments[0], ast.Constant) else None


def _without_statements(text: str, tables: list[str]) -> str:
    edits = Edits(text)
    for node in ast.walk(edits.tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        removed = [statement for statement in body if _table(statement) in tables]
        if removed and len(removed) == len(body):
            edits.replace(removed.pop(), "pass")
        for statement in removed:
            edits.delete(statement)
    return edits.text()


def _mention(text: str, tables: list[str]) -> str | None:
    """Return the first of these tables that a foreign key, SQL or a call in a migration names."""
    tree = ast.parse(text)
    documentation = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    table = re.compile(rf"\b({'|'.join(tables)})\b")
    for node in ast.walk(tree):
        # Such as op.rename_table("old", "books").
        if isinstance(node, ast.Call) and ast.unparse(node.func).lower().endswith("table"):
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(argument, ast.Constant) and argument.value in tables:
                    return str(argument.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Not a column or a constraint of another table, such as "tags" or "uq_posts_tags".
            is_statement = re.search(r"\s|^\w+\.\w+$", node.value)
            if is_statement and node not in documentation and (found := table.search(node.value)):
                return found[1]
    return None


def _is_empty(text: str) -> bool:
    """Return whether the functions of a migration have only docstrings and `pass`."""
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for function in ast.parse(text).body
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
    )
