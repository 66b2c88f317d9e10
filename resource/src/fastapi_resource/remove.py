"""Remove a resource: its code, tests, registrations and tables."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

import click

from .migrations import without_tables
from .project import Changes, Project
from .source import Edits, uses

# Packages with a router that the rest of the application needs.
REQUIRED = ("admin", "audit", "auth", "users", "worker")
# Modules that register resources, or use them in commands.
REGISTRIES = ("api.py", "cli.py", "admin/__init__.py")

Imports = dict[ast.Import | ast.ImportFrom, list[ast.alias]]


@dataclass(frozen=True)
class Removal:
    """What the removal of a resource changes.

    Attributes:
        name: the plural name of the resource.
        rewrite: whether its tables are removed from the existing migrations.
        tables: names of its tables.
        deleted: files and folders.
        changed: new contents by file.
    """

    name: str
    rewrite: bool
    tables: list[str]
    deleted: list[Path]
    changed: dict[Path, str]

    @property
    def words(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")

    def summary(self, project: Project) -> Iterator[str]:
        """Yield what is deleted and changed."""
        names = {project.name(path): "deleted" for path in self.deleted}
        names |= {project.name(path): "changed" for path in self.changed}
        for name, change in names.items():
            yield f"  {name:<{max(map(len, names))}}  {change}"
        if self.tables:
            yield f"\nTables: {', '.join(self.tables)}"

    def apply(self, changes: Changes) -> bool:
        """Change the files, and return whether there is a new migration."""
        has_migration = False
        if self.tables and not self.rewrite:
            # First, because it needs the models.
            command = (sys.executable, "-m", "fastapi_resource.migration")
            has_migration = changes.write_migration(*command, f"remove {self.words}", *self.tables)
        changes.write(self.changed)
        for path in self.deleted:
            changes.delete(path)
        return has_migration

    def has_old_database(self, project: Project) -> bool:
        """Return whether the local database has tables that no migration creates now."""
        local = project.folder / project.local_database
        return self.rewrite and bool(self.tables) and local.exists()


def plan_removal(project: Project, name: str, *, rewrite: bool) -> Removal:
    """Return what the removal of a resource changes.

    Args:
        project: the project of the resource.
        name: the plural name of the resource.
        rewrite: whether to remove its tables from the existing migrations.

    Raises:
        click.UsageError: something else needs the resource, or this command cannot change it.
    """
    routers = sorted(project.source.glob("*/router.py"))
    resources = [path.parent.name for path in routers if path.parent.name not in REQUIRED]
    if name not in resources:
        names = ", ".join(resources) or "none"
        raise click.UsageError(f"there is no resource {name!r}; the resources are: {names}.")
    owned = (
        project.source / name,
        project.source / "admin" / f"{name}.py",
        project.folder / "tests" / name,
        project.folder / "tests" / "admin" / f"test_admin_{name}.py",
    )
    deleted = [path for path in owned if path.exists()]
    texts = {
        path: path.read_text("utf-8")
        for path in project.modules()
        if not any(path.is_relative_to(one) for one in deleted)
    }
    changed: dict[Path, str | None] = {}
    for path, text in texts.items():
        if name in text and imports_of(name, project.parse(path), project, path):
            if path not in [project.source / one for one in REGISTRIES]:
                raise click.UsageError(_explain_import(project.name(path), name, resources))
            changed[path] = new = without_resource(text, project, path, name, resources)
            check_names(new, project, path, name)
    tables = project.tables(project.source / name)
    check_references(texts, project, tables)
    cli, pyproject = project.source / "cli.py", project.folder / "pyproject.toml"
    rows = [rf"^ +{name}/ .*\n", rf"^## Removing the sample\n[^#]*remove-resource {name}\b[^#]*"]
    if cli in changed and "def seed(" not in str(changed[cli]):
        changed[pyproject] = without_matches(pyproject.read_text("utf-8"), r"^seed = .* seed\".*\n")
        rows.append(r"^\| `uv run poe seed` .*\n")
    if project.readme.exists():
        changed[project.readme] = without_matches(project.readme.read_text("utf-8"), *rows)
    if rewrite and tables:
        versions = sorted(project.folder.glob("migrations/versions/*.py"))
        changed |= without_tables({path: path.read_text("utf-8") for path in versions}, tables)
    deleted += [path for path, new in changed.items() if new is None]
    kept = {
        path: new for path, new in changed.items() if new not in (None, path.read_text("utf-8"))
    }
    return Removal(name, rewrite, tables, deleted, kept)


def _explain_import(path: str, name: str, resources: list[str]) -> str:
    """Return why a module, whose path in the project is given, needs the resource."""
    for other in resources:
        if f"/{other}/" in path:
            return f"{other} uses {name}: remove {other} first."
    return f"{path} imports {name}: remove that import first."


def imports_of(name: str, tree: ast.Module, project: Project, path: Path) -> Imports:
    """Return the imports of a resource, of its admin view and of its tests in a module."""
    modules = (f"{project.package}.{name}.", f"{project.package}.admin.{name}.", f"{name}.")
    in_package = path.is_relative_to(project.source)
    parents = path.relative_to(project.source.parent).parts[:-1] if in_package else ()
    found: Imports = {}
    for node in ast.walk(tree):
        base = ""
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if in_package:
                base = resolve_name("." * node.level + base, ".".join(parents))
            base += "."
        if isinstance(node, ast.Import | ast.ImportFrom):
            aliases = [one for one in node.names if f"{base}{one.name}.".startswith(modules)]
            if aliases:
                found[node] = aliases
    return found


def without_resource(
    text: str, project: Project, path: Path, name: str, resources: list[str]
) -> str:
    """Return a module without what uses a resource.

    Imports, elements of lists such as `ROUTERS`, and the command `seed` are removed; `seed` stays
    if it also fills another resource.
    """
    edits = Edits(text)
    imports = {one: imports_of(one, edits.tree, project, path) for one in resources}
    names = {
        one: {alias.asname or alias.name for aliases in found.values() for alias in aliases}
        for one, found in imports.items()
    }
    annotations = {node.slice for node in ast.walk(edits.tree) if isinstance(node, ast.Subscript)}
    for node in ast.walk(edits.tree):
        if isinstance(node, ast.FunctionDef) and node.name == "seed":
            if [one for one in resources if uses(node, names[one])] == [name]:
                edits.delete(node)
        elif isinstance(node, ast.Tuple | ast.List | ast.Set) and node not in annotations:
            if unwanted := [one for one in node.elts if uses(one, names[name])]:
                edits.delete_elements(node, unwanted)
        elif isinstance(node, ast.Import | ast.ImportFrom) and node in imports[name]:
            kept = [alias for alias in node.names if alias not in imports[name][node]]
            if kept:
                node.names = kept
                edits.replace(node, ast.unparse(node))
            else:
                edits.delete(node)
    return edits.text()


def check_names(text: str, project: Project, path: Path, name: str) -> None:
    """Check that a changed module uses nothing that has been removed.

    Raises:
        click.UsageError: it does.
    """
    try:
        check = ("-m", "ruff", "check", "--quiet", "--select", "F821", "--stdin-filename")
        project.run(*check, str(path), "-", stdin=text)
    except click.ClickException as error:
        if "Undefined name" not in error.message:
            raise
        raise click.UsageError(
            f"{project.name(path)} uses {name} in a way that this command cannot remove:"
            " remove that first."
        ) from None


def check_references(texts: dict[Path, str], project: Project, tables: list[str]) -> None:
    """Check that no module has a foreign key to one of these tables.

    Raises:
        click.UsageError: one has.
    """
    for path, text in texts.items():
        for table in tables:
            is_model = path.is_relative_to(project.source)
            if is_model and re.search(rf"ForeignKey\w*\([^)]*[\"']{table}\.", text):
                raise click.UsageError(
                    f"{project.name(path)} refers to the table {table}: remove that reference"
                    " first."
                )


def without_matches(text: str, *patterns: str) -> str:
    """Return a text without what matches these patterns, in which ^ begins a line."""
    for pattern in patterns:
        text = re.sub(pattern, "", text, flags=re.MULTILINE)
    return text
