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
from .source import Container, Edits, ImportStatement, uses

# Packages with a router that the rest of the application needs.
REQUIRED = ("admin", "audit", "auth", "users", "worker")
# Modules that register resources, or use them in commands.
REGISTRIES = ("api.py", "cli.py", "admin/__init__.py")
# Packages of the project that the command `seed` needs for any resource.
SEED_NEEDS = ("database", "settings")


@dataclass(frozen=True)
class Import:
    """A name that a module imports.

    Attributes:
        statement: the import statement.
        alias: the name in the statement.
        module: the absolute dotted name, such as orders.items.service.
    """

    statement: ImportStatement
    alias: ast.alias
    module: str

    @property
    def name(self) -> str:
        """The name in the module."""
        return self.alias.asname or self.alias.name

    def is_from(self, *modules: str) -> bool:
        """Return whether this is one of these packages or modules, or in one of them."""
        return f"{self.module}.".startswith(tuple(f"{one}." for one in modules))


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
        if name in text and _imports_of(name, project.parse(path), project, path):
            if path not in [project.source / one for one in REGISTRIES]:
                raise click.UsageError(_explain_import(project.name(path), name, resources))
            changed[path] = new = without_resource(text, project, path, name)
            check_names(new, project, path, name)
    tables = project.tables(project.source / name)
    check_references(texts, project, tables)
    cli, pyproject = project.source / "cli.py", project.folder / "pyproject.toml"
    lines = r"(?:(?!## ).*\n)*"  # until the next heading
    section = rf"^## Removing the sample\n{lines}(?!## ).*remove-resource {name}\b.*\n{lines}"
    rows = [rf"^ +{name}/ .*\n", section]
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


def _imports(tree: ast.Module, project: Project, path: Path) -> Iterator[Import]:
    """Yield each name that a module imports."""
    in_package = path.is_relative_to(project.source)
    parents = path.relative_to(project.source.parent).parts[:-1] if in_package else ()
    for node in ast.walk(tree):
        if not isinstance(node, ImportStatement):
            continue
        base = ""
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if in_package:
                base = resolve_name("." * node.level + base, ".".join(parents))
            base += "."
        for alias in node.names:
            yield Import(node, alias, f"{base}{alias.name}")


def _imports_of(name: str, tree: ast.Module, project: Project, path: Path) -> list[Import]:
    """Return what a module imports from a resource, its admin view and its tests."""
    modules = (f"{project.package}.{name}", f"{project.package}.admin.{name}", name)
    return [one for one in _imports(tree, project, path) if one.is_from(*modules)]


def without_resource(text: str, project: Project, path: Path, name: str) -> str:
    """Return a module without the code that uses a resource.

    Imports, the command `seed`, and elements of lists such as `ROUTERS` are removed. Lists are the
    values of variables or the iterables of `for` statements: elsewhere, the number of elements
    matters. `seed` stays if it needs another package of the project, which it may also fill.

    Raises:
        click.UsageError: this would delete a comment about something else.
    """
    edits = Edits(text)
    removed = _imports_of(name, edits.tree, project, path)
    names = {one.name for one in removed}
    neutral = [f"{project.package}.{one}" for one in (name, *SEED_NEEDS)]
    others = {
        one.name
        for one in _imports(edits.tree, project, path)
        if one.is_from(project.package) and not one.is_from(*neutral)
    }
    try:
        for statement in {one.statement for one in removed}:
            unwanted = [one.alias for one in removed if one.statement is statement]
            edits.delete_aliases(statement, unwanted)
        for node in ast.walk(edits.tree):
            if isinstance(node, ast.FunctionDef) and node.name == "seed":
                if uses(node, names) and not uses(node, others):
                    edits.delete(node)
            elif container := _list_in(node):
                elements = [one for one in container.elts if uses(one, names)]
                edits.delete_elements(container, elements)
    except ValueError as error:
        raise click.UsageError(
            f"{project.name(path)}: removing {name} {error}: write each name there on a line of its"
            " own, with a comma after it."
        ) from None
    return edits.text()


def _list_in(node: ast.AST) -> Container | None:
    """Return the tuple, list or set that a statement assigns to one variable or iterates over."""
    match node:
        case (
            ast.Assign(targets=[ast.Name()], value=value)
            | ast.AnnAssign(target=ast.Name(), value=value)
            | ast.For(iter=value)
        ) if isinstance(value, Container):
            return value
    return None


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
    """Return a text without the matches of these patterns, in which ^ begins a line."""
    for pattern in patterns:
        text = re.sub(pattern, "", text, flags=re.MULTILINE)
    return text
