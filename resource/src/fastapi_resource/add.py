"""Add a resource: its code, tests, registrations and migration."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from .edit import add_admin_view, add_layout_row, register_router
from .fields import Field
from .names import IDENTIFIER_LIMIT, Names
from .project import Changes, Project, defined_names
from .render import Reference, Resource, render


@dataclass(frozen=True)
class Addition:
    """What the command adds to a project.

    Attributes:
        resource: the resource.
        modules: the text of each new file, not yet formatted.
        edited: the new text of each file that registers the resource.
        by_hand: lines to add by hand to files that were restructured.
    """

    resource: Resource
    modules: dict[Path, str]
    edited: dict[Path, str]
    by_hand: dict[Path, list[str]]

    def apply(self, changes: Changes, *, migrate: bool) -> None:
        """Write the files, and generate the migration.

        Raises:
            click.ClickException: Ruff or Alembic failed.
        """
        changes.write(self.modules | self.edited)
        if migrate:
            message = f"add {self.resource.names.words}"
            changes.write_migration("alembic", "revision", "--autogenerate", "-m", message)


def new_resource(
    project: Project, names: Names, fields: list[Field], *, public: bool, admin: bool
) -> Resource:
    """Return the resource, if the project has a place for it.

    Args:
        project: the project.
        names: the names of the resource.
        fields: its fields.
        public: whether all users read.
        admin: whether administrators write, instead of an owner.

    Raises:
        click.UsageError: a name exists, is missing or is too long.
    """
    check_is_new(project, names)
    references = []
    for field in (field for field in fields if field.type == "ref"):
        other, is_private = project.resource(field.ref)
        if project.is_restricted(other) and not admin:
            raise click.UsageError(
                f"only administrators read {field.ref}, so users cannot refer to them: add --admin,"
                f" or omit {field.name!r}."
            )
        if field.on_delete == "restrict" and project.may_belong_to_others(field.ref, admin=admin):
            raise click.UsageError(
                f"{names.words} could keep another user from deleting their account, which deletes"
                f" {other.words}: end {field.name!r} with ':cascade', or '?:set-null'."
            )
        by_admins = project.is_created_by_admin(other)
        references.append(Reference(field, other, is_private, by_admins))
    resource = Resource(
        names, fields, project.database, project.redis, public, admin, tuple(references)
    )
    for columns in (*resource.indexes, *resource.uniques):
        name = f"ix_{names.plural}_{'_'.join(columns)}"
        if len(name) > IDENTIFIER_LIMIT:
            raise click.UsageError(
                f"the index {name} has more than {IDENTIFIER_LIMIT} characters: shorten a name."
            )
    return resource


def plan_addition(project: Project, resource: Resource) -> Addition:
    """Return what a resource adds to a project.

    Raises:
        click.UsageError: a file exists already.
    """
    rendered = render(resource, project.package, has_admin=project.has_admin)
    modules = {project.folder / path: text for path, text in sorted(rendered.items())}
    check_are_new(project, modules)
    name, cls = resource.names.plural, resource.names.cls
    edited: dict[Path, str | None] = {}
    lines: dict[Path, list[str]] = {}
    edited[project.api] = register_router(project.api.read_text("utf-8"), name)
    lines[project.api] = [f"from .{name} import router as {name}", f"{name}.router"]
    if project.has_admin:
        edited[project.admin] = add_admin_view(project.admin.read_text("utf-8"), name, cls)
        lines[project.admin] = [f"from . import {name}", f"{name}.{cls}View"]
    by_hand = {path: lines[path] for path, text in edited.items() if text is None}
    if project.readme.exists():
        rule = resource.rule[0].lower() + resource.rule[1:].removesuffix(".")
        edited[project.readme] = add_layout_row(project.readme.read_text("utf-8"), name, rule)
    kept = {path: text for path, text in edited.items() if text is not None}
    return Addition(resource, modules, kept, by_hand)


def check_is_new(project: Project, names: Names) -> None:
    """Check that the project has nothing of this name.

    Raises:
        click.UsageError: it has.
    """
    plural = names.plural
    for folder in (project.source, project.folder / "tests"):
        # Git leaves folders behind, because it ignores compiled modules.
        check_are_new(project, (folder / f"{plural}.py", *(folder / plural).rglob("*.py")))
    if plural in project.tables(project.source):
        raise click.UsageError(f"there is a table {plural!r} already.")
    # The routes and schemas of both would have the same names in the OpenAPI description.
    for path in project.source.rglob("models.py"):
        if re.search(rf"^class {names.cls}\(.*\bBase\):", path.read_text("utf-8"), re.MULTILINE):
            raise click.UsageError(
                f"{project.name(path)} has a model {names.cls} already: choose another --singular."
            )
    for path in filter(Path.exists, (project.api, project.admin)):
        if plural in defined_names(project.parse(path)):
            raise click.UsageError(f"{project.name(path)} has another {plural!r} already.")


def check_are_new(project: Project, paths: Iterable[Path]) -> None:
    """Check that files do not exist.

    Raises:
        click.UsageError: one exists.
    """
    for path in sorted(paths):
        if path.exists():
            raise click.UsageError(f"{project.name(path)} exists already.")
