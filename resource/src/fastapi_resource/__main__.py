"""The commands behind `poe resource` and `poe remove-resource`."""

import subprocess
import sys
import time
from pathlib import Path

import click

from .add import new_resource, plan_addition
from .fields import TYPES, parse_all
from .names import resource_names
from .project import Changes, Project
from .remove import plan_removal

UNDO = "git checkout . && git clean -fd"
# Click keeps the lines of a paragraph that begins with \b.
GRAMMAR = f"""
FIELD is NAME:TYPE, then "?" or ":optional", ":unique", and last ":default=VALUE". Everything after
":default=" is the value.

Types: {", ".join(grammar for grammar, _ in TYPES.values())}.

\b
Example:
  uv run poe resource invoices number:str:unique amount:decimal \\
    due:date:optional status:enum:open,paid customer:ref:customers
"""


@click.command("resource", epilog=GRAMMAR)
@click.argument("plural")
@click.argument("fields", nargs=-1, required=True, metavar="FIELD...")
@click.option("--singular", help="Singular of PLURAL, if it is derived wrongly.")
@click.option("--public", is_flag=True, help="Let all users read, not only the owner.")
@click.option("--admin", is_flag=True, help="Let administrators write, instead of an owner.")
@click.option("--dry-run", is_flag=True, help="List the files and change nothing.")
@click.option("--no-migration", is_flag=True, help="Generate no migration, and do not check.")
@click.option("--no-check", is_flag=True, help="Do not run `poe check` at the end.")
def add(  # noqa: PLR0913 - options of the command line
    plural: str,
    fields: tuple[str, ...],
    *,
    singular: str | None,
    public: bool,
    admin: bool,
    dry_run: bool,
    no_migration: bool,
    no_check: bool,
) -> None:
    """Generate the resource PLURAL: code, tests, migration and registration."""
    started = time.monotonic()
    project = Project.find(Path.cwd())
    names = resource_names(plural, singular)
    parsed = parse_all(fields, names)
    resource = new_resource(project, names, parsed, public=public, admin=admin)
    addition = plan_addition(project, resource)
    click.echo(f"{names.words} (singular: {names.word}, class {names.cls}). {resource.rule}\n")
    migrate = project.api in addition.edited and not no_migration
    if dry_run:
        for path in (*addition.modules, *addition.edited):
            click.echo(f"  {project.name(path)}")
        if migrate:
            click.echo(f"  migrations/versions/*_add_{names.plural}.py")
        click.echo("\nDry run: nothing is written.")
        return
    has_git = check_is_clean(project)
    with Changes(project) as changes:
        addition.apply(changes, migrate=migrate)
    lines = {project.name(path): changes.added_lines(path) for path in changes.previous}
    for name, count in lines.items():
        click.echo(f"  {name:<{max(map(len, lines))}}  {f'+{count}':>5}")
    seconds = time.monotonic() - started
    click.echo(f"\n{len(lines)} files, {sum(lines.values())} lines in {seconds:.1f} seconds.")
    for path, missing in addition.by_hand.items():
        click.echo(f"\nAdd to {project.name(path)}:\n\n  " + "\n  ".join(missing))
    # The generated tests need the table.
    is_checked = migrate and not no_check and not addition.by_hand
    if is_checked:
        check(project)
    print_steps(
        {
            f"uv run poe migration 'add {names.words}'": not migrate and "generate the migration",
            "uv run poe check": not is_checked and "format, lint, types, tests",
            "uv run poe dev": f"migrate and serve http://127.0.0.1:8000/docs#/{names.url}",
            f"git add . && git commit -m 'Add {names.words}'": has_git and "keep the resource",
            UNDO: has_git and "undo this command, unless `poe dev` has run",
        }
    )


@click.command("remove-resource")
@click.argument("plural")
@click.option(
    "--rewrite-migrations",
    is_flag=True,
    help="Remove its tables from the existing migrations, if they were never deployed.",
)
@click.option("--dry-run", is_flag=True, help="List the files and change nothing.")
@click.option("--no-check", is_flag=True, help="Do not run `poe check` at the end.")
def remove(plural: str, *, rewrite_migrations: bool, dry_run: bool, no_check: bool) -> None:
    """Remove the resource PLURAL: code, tests, registration, commands and tables."""
    project = Project.find(Path.cwd())
    removal = plan_removal(project, plural, rewrite=rewrite_migrations)
    has_git = not dry_run and check_is_clean(project)
    for line in removal.summary(project):
        click.echo(line)
    if dry_run:
        click.echo("\nDry run: nothing is changed.")
        return
    with Changes(project) as changes:
        has_migration = removal.apply(changes)
    if not no_check:
        check(project)
    is_old = removal.has_old_database(project)
    print_steps(
        {
            f"rm -r {project.local_database}*": is_old and "delete the local database",
            "uv run poe check": no_check and "format, lint, types, tests",
            "uv run poe migrate": has_migration and "drop the tables",
            f"git add . && git commit -m 'Remove {removal.words}'": has_git and "keep the removal",
            UNDO: has_git and "undo this command, unless the migration has run",
        }
    )


def check_is_clean(project: Project) -> bool:
    """Return whether the project is in a git repository, where git can undo the command.

    Raises:
        click.UsageError: git has uncommitted changes, which undoing would lose.
    """
    uncommitted = project.uncommitted()
    if uncommitted:
        raise click.UsageError(
            f"commit or stash your changes first, so that `{UNDO}` undoes this command:\n\n"
            + uncommitted
        )
    if uncommitted is None:
        click.echo("The project is not in a git repository, so git cannot undo this command.\n")
    return uncommitted is not None


def check(project: Project) -> None:
    """Run `poe check`.

    Raises:
        click.ClickException: it failed.
    """
    command = [sys.executable, "-m", "poethepoet", "--executor", "simple", "check"]
    click.echo()
    if subprocess.run(command, cwd=project.folder, check=False).returncode != 0:
        raise click.ClickException("`poe check` failed, see above. The changes are kept.")


def print_steps(steps: dict[str, str | bool]) -> None:
    """Print commands with a comment each, without those whose comment is False."""
    shown = {command: comment for command, comment in steps.items() if comment}
    if shown:
        click.echo("\nNext:\n")
    for command, comment in shown.items():
        click.echo(f"  {command:<{max(map(len, shown))}}  # {comment}")


if __name__ == "__main__":
    command = {"add": add, "remove": remove}[sys.argv[1]]
    command(sys.argv[2:], prog_name=f"uv run poe {command.name}")
