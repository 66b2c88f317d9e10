"""`poe remove-resource` removes a resource wherever it is registered, or explains why it cannot."""

import ast
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from conftest import Render
from fastapi_resource.migrations import without_tables
from fastapi_resource.project import Project
from fastapi_resource.remove import plan_removal, without_resource
from harness import environ, generate_resource, python_of, resource_command
from rendering import commit, git

MIGRATION = '''"""Change.

Revision: {revision}
Revises: {parent}
"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {parent!r}
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    {statements}


def downgrade() -> None:
    """Undo the change."""
    pass
'''
NOTE = """

class Note(UuidKeyMixin, Base):
    __tablename__ = "notes"

    item_id: Mapped[UUID] = mapped_column(ForeignKey("items.id"))
"""
SEED = """
from .{module} import service as {module}

@main.command()
def seed() -> None:
    items.create_item()
    {module}.create()
"""
IMPORTED = "imports items: remove that import first."
USED = "uses items in a way that this command cannot remove: remove that first."
ITEM_PAGES = "tests/admin/test_admin_items.py"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def env(rendered: Path, environment: Path) -> dict[str, str]:
    """The environment variables of commands in a project, whose paths are relative."""
    return {**environ(rendered, environment), "PYTHONPATH": "src"}


@pytest.fixture(scope="module")
def rendered(render: Render) -> Path:
    """A project with SQLite and admin pages, which tests copy."""
    folder = render(database="sqlite", use_admin=True)
    commit(folder)
    return folder


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Path:
    """A copy of the project."""
    return Path(shutil.copytree(rendered, tmp_path / "orders"))


@pytest.fixture
def remove(project: Path, env: dict[str, str]) -> Command:
    """Return a function that runs `poe remove-resource` in the project, without its check."""
    return lambda *arguments, **variables: resource_command(
        {**env, **variables}, "remove", project, *arguments, "--no-check"
    )


def append(path: Path, text: str) -> None:
    """Append text to a file."""
    path.write_text(path.read_text("utf-8") + text, "utf-8")


def migration(revision: str, parent: str | None, *statements: str) -> str:
    """Return a migration with these statements."""
    return MIGRATION.format(
        revision=revision, parent=parent, statements="\n    ".join(statements) or "pass"
    )


def without_books(module: str, text: str) -> str:
    """Return a module of the project without the resource `books`."""
    project = Project(Path("/orders"), "orders")
    return without_resource(text, project, project.source / module, "books")


@pytest.mark.parametrize(
    ("routers", "left"),
    [
        ("(\n    books.router,\n    users.router,\n)", "(users.router,)"),
        ("[\n    books.router,\n    users.router,\n]", "[users.router]"),
        ("(users.router, books.router, auth.router)", "(users.router, auth.router)"),
        ("(books.router, users.router)", "(users.router,)"),
        ("(books.router,)", "()"),
        ("[books.router]", "[]"),
        ("[\n    books.router  # ä comment, with a comma\n]", "[]"),
        ("{books.router}", "{*()}"),
        ("{\n    books.router,\n}", "{*()}"),
        ("(\n    books.router,\n    users.router\n)", "(users.router,)"),
        (
            "[\n    users.router\n    , books.router\n    , auth.router]",
            "[users.router, auth.router]",
        ),
        ('(("/v1", books.router), ("/v1", users.router))', "(('/v1', users.router),)"),
    ],
)
def test_router_is_removed_from_every_form_of_the_list(routers: str, left: str) -> None:
    text = (
        "from .books import router as books\n"
        "from .users import router as users\n\n"
        f"ROUTERS = {routers}  # größer\n\n\n"
        "def setup(app): ...\n"
    )

    changed = without_books("api.py", text)

    assert ast.unparse(ast.parse(changed)) == (
        f"from .users import router as users\nROUTERS = {left}\n\ndef setup(app):\n    ..."
    )


@pytest.mark.parametrize(
    "line",
    [
        "from orders.books import router as books",
        "from orders.books import (\n    router as books,\n)",
        "from orders import books",
        "from .books import router as books, service",
    ],
)
def test_each_form_of_import_is_removed(line: str) -> None:
    assert without_books("api.py", f"{line}\nfrom . import users\n") == "from . import users\n"


def test_one_of_several_imported_names_is_removed() -> None:
    text = "from . import audit, books, users\n\nVIEWS = [\n    audit.View,\n    books.View,\n]\n"

    changed = without_books("admin/__init__.py", text)

    assert changed == "from . import audit, users\n\nVIEWS = [\n    audit.View,\n]\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "(\n    users.router,  # who\n    # All books.\n    books.router,  # what\n)",
            "(\n    users.router,  # who\n    # All books.\n)",
        ),
        (
            "[\n    books.router,\n    # The rest.\n    auth.router,  # login\n    users.router\n]",
            "[\n    # The rest.\n    auth.router,  # login\n    users.router\n]",
        ),
    ],
)
def test_comments_of_other_elements_are_kept(text: str, left: str) -> None:
    books = "from .books import router as books\n"

    assert without_books("api.py", f"{books}ROUTERS = {text}\n") == f"ROUTERS = {left}\n"
    assert without_books("api.py", f"{books}for router in {text}:\n    pass\n") == (
        f"for router in {left}:\n    pass\n"
    )


def test_comments_of_other_imports_are_kept() -> None:
    text = "from . import (  # sorted\n    audit,  # history\n    books,\n    users,\n)\n"

    assert without_books("admin/__init__.py", text) == text.replace("    books,\n", "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# A comment.\nROUTERS = (\n    books.router,\n    users.router  # kept\n)", 5),
        ("ROUTERS = [\n    books.router, users.router,  # both\n]", 3),
        ("from . import (\n    audit, books,\n    users,  # accounts\n)", 4),
    ],
)
def test_comment_that_would_be_lost_is_named(text: str, line: int) -> None:
    with pytest.raises(click.UsageError, match=rf"^src/orders/api\.py: .* in line {line}: "):
        without_books("api.py", f"from .books import router as books\n{text}\n")


def test_seed_is_removed_unless_it_fills_something_else() -> None:
    books = "from .books import service as books\n"
    needed = "from .database import Database\nfrom .settings import Settings\n"
    others = f"{needed}from .shops import service as shops\n"
    text = "@main.command()\ndef seed():\n    from .books.tasks import fill\n    fill()\n"
    own = "def seed():\n    def fill(_: Database, __: Settings): ...\n    fill(books)\n"
    both = "def seed():\n    fill(books)\n    fill(shops)\n"

    assert without_books("cli.py", f"{books}{others}{text}") == others
    assert without_books("cli.py", f"{books}{others}{own}") == others
    assert both in without_books("cli.py", f"{books}{others}{both}")


def test_tables_are_removed_from_migrations() -> None:
    statements = (
        'op.create_table(\n        "books",\n        sa.Column("id", sa.Uuid()),\n    )',
        'op.create_index("ix_books_id", "books", ["id"])',
        'with op.batch_alter_table("books") as batch_op:\n        batch_op.drop_column("a")',
        'op.drop_constraint("fk", table_name="books")',
        'if op.get_bind():\n        op.add_column("books", sa.Column("b", sa.Uuid()))',
    )
    users = 'op.create_table("users", sa.Column("books", sa.Uuid()))'
    text = migration("1", None, *statements, users)

    changed = without_tables({Path("1.py"): text}, ["books"])[Path("1.py")]

    assert changed is not None
    body = "if op.get_bind():\n        pass"
    assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(migration("1", None, body, users)))


def test_migrations_that_are_left_empty_are_deleted() -> None:
    texts = {
        Path("1.py"): migration("1", None, 'op.create_table("users")'),
        Path("2.py"): migration("2", "1", 'op.create_table("books")'),
        Path("3.py"): migration("3", "2", 'op.add_column("books", sa.Column("a", sa.Uuid()))'),
        Path("4.py"): migration("4", "3", 'op.create_table("shops")'),
    }

    changed = without_tables(texts, ["books"])

    assert [path.stem for path, text in changed.items() if text is None] == ["2", "3"]
    assert changed[Path("4.py")] == migration("4", "1", 'op.create_table("shops")')
    assert Path("1.py") not in changed


@pytest.mark.parametrize(
    "statement",
    [
        'op.execute("UPDATE books SET a = 1")',
        'op.create_table("loans", sa.ForeignKeyConstraint(["book_id"], ["books.id"]))',
        'op.bulk_insert(sa.table("books", sa.column("id")), [{"id": 1}])',
        'table = sa.Table(name="books")',
        'op.rename_table("volumes", "books")',
    ],
)
def test_migration_that_uses_the_table_otherwise_is_rejected(statement: str) -> None:
    with pytest.raises(click.UsageError, match=r"1\.py uses the table books"):
        without_tables({Path("1.py"): migration("1", None, statement)}, ["books"])


def test_generated_resource_leaves_the_tree_as_it_was(
    project: Path, env: dict[str, str], remove: Command
) -> None:
    before = git(project, "rev-parse", "HEAD").strip()
    generate_resource(project, env, "books", "title:str:unique", "pages:int")
    commit(project)

    dropped = remove("books")
    commit(project)
    migrations = git(project, "diff", "--name-only", before)
    git(project, "reset", "--quiet", "--hard", "HEAD~1")
    rewritten = remove("books", "--rewrite-migrations")
    commit(project)

    assert (dropped.returncode, rewritten.returncode) == (0, 0), rewritten.stdout
    assert set(re.sub(r"\d\w+?_(?=add|remove)", "", migrations).split()) == {
        "migrations/versions/add_books.py",
        "migrations/versions/remove_books.py",
    }
    assert git(project, "diff", before) == ""


def test_new_migration_drops_the_tables_and_restores_them(
    project: Path, env: dict[str, str], remove: Command
) -> None:
    def alembic(*arguments: str) -> None:
        command = [python_of(env), "-m", "alembic", *arguments]
        variables = {**env, "ENVIRONMENT": "local"}
        subprocess.run(command, cwd=project, env=variables, check=True, capture_output=True)

    removed = remove("items")
    alembic("upgrade", "head")
    alembic("check")
    alembic("downgrade", "-1")
    [new] = git(project, "ls-files", "--others", "--exclude-standard", "migrations").split()
    project.joinpath(new).unlink()
    git(project, "checkout", ".")

    assert removed.returncode == 0, removed.stdout
    alembic("check")


def test_table_that_no_migration_creates_needs_none(
    project: Path, env: dict[str, str], remove: Command
) -> None:
    before = git(project, "rev-parse", "HEAD").strip()
    generate_resource(project, env, "books", "title:str", "--no-migration")
    commit(project)

    removed = remove("books")
    commit(project)

    assert removed.returncode == 0, removed.stdout
    assert git(project, "diff", before) == ""
    assert "poe migrate " not in removed.stdout


def test_resource_that_another_one_refers_to_is_kept(
    project: Path, env: dict[str, str], remove: Command
) -> None:
    generate_resource(project, env, "customers", "name:str", "--no-migration")
    commit(project)
    generate_resource(project, env, "invoices", "customer:ref:customers", "--no-migration")
    commit(project)

    refused = remove("customers")

    assert refused.returncode == 2
    assert "Error: invoices uses customers: remove invoices first." in refused.stdout
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        ("src/orders/users/service.py", "from ..items.models import Item", IMPORTED),
        ("tests/test_http.py", "from items.support import URL", IMPORTED),
        ("scripts/report.py", "import orders.items.models as items", IMPORTED),
        ("src/orders/api.py", "PREFIX = items.router.prefix", USED),
        ("src/orders/api.py", "def extra(app):\n    app.include_router(items.router)", USED),
        ("src/orders/cli.py", "def count():\n    click.echo('items')\n    items.run()", USED),
        ("src/orders/cli.py", SEED.format(module="books"), USED),
        ("src/orders/cli.py", SEED.format(module="catalog"), USED),
        (
            "src/orders/cli.py",
            "async def count():\n    first, second = await users.count(), await items.count()",
            USED,
        ),
        ("src/orders/api.py", "def routers():\n    return items.router, users.router", USED),
        ("src/orders/api.py", "ALL = tuple((items.router, users.router))", USED),
        ("src/orders/api.py", "FIRST, SECOND = LISTS = [items.router, users.router]", USED),
        ("src/orders/api.py", "def items(:", "cannot be read: "),
    ],
)
def test_module_that_needs_the_resource_is_named(
    project: Path, path: str, text: str, sentence: str
) -> None:
    file = project / path
    file.parent.mkdir(exist_ok=True)
    file.touch()
    append(file, text + "\n")
    other = project / "src" / "orders" / "books" / "router.py"
    other.parent.mkdir()
    other.touch()

    with pytest.raises(click.UsageError, match=f"^{re.escape(f'{path} {sentence}')}"):
        plan_removal(Project(project, "orders"), "items", rewrite=False)


@pytest.mark.parametrize("name", ["users", "books", "database", "../tests", ""])
def test_only_resources_are_removed(rendered: Path, name: str) -> None:
    sentence = f"there is no resource {name!r}; the resources are: items."

    with pytest.raises(click.UsageError, match=f"^{re.escape(sentence)}$"):
        plan_removal(Project(rendered, "orders"), name, rewrite=False)


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        (
            "src/orders/auth/models.py",
            NOTE,
            "src/orders/auth/models.py refers to the table items: remove that reference first.",
        ),
        (
            "migrations/versions/2026_11_22_ce0a23dcbf68_initial.py",
            "    op.execute(\"DELETE FROM items WHERE title = ''\")\n",
            "2026_11_22_ce0a23dcbf68_initial.py uses the table items in a way that",
        ),
    ],
)
def test_project_that_needs_the_resource_is_left_alone(
    project: Path, remove: Command, path: str, text: str, sentence: str
) -> None:
    append(project / path, text)
    commit(project)

    refused = remove("items", "--rewrite-migrations")

    assert refused.returncode == 2, refused.stdout
    assert refused.stdout.count("Error: ") == 1
    assert f"Error: {sentence}" in refused.stdout
    assert git(project, "status", "--porcelain") == ""


def test_readme_loses_the_whole_section_about_the_sample(project: Path, remove: Command) -> None:
    readme = project / "README.md"
    text = readme.read_text("utf-8")
    command = "uv run poe remove-resource items"
    assert text.count(command) == 1
    readme.write_text(text.replace(command, f"# Commit first.\n{command}"), "utf-8")
    commit(project)

    removed = remove("items")

    assert removed.returncode == 0, removed.stdout
    left = readme.read_text("utf-8")
    start, end = text.index("## Removing the sample"), text.index("## Settings")
    assert left.splitlines() == [
        line
        for line in (text[:start] + text[end:]).splitlines()
        if not line.startswith(("  items/", "| `uv run poe seed`"))
    ]


def test_section_about_the_sample_stays_with_the_sample(
    project: Path, env: dict[str, str], remove: Command
) -> None:
    readme = project / "README.md"
    append(readme, "\n## Removing the rest\n\n    uv run poe remove-resource books\n")
    commit(project)
    text = readme.read_text("utf-8")
    generate_resource(project, env, "books", "title:str", "--no-migration")
    commit(project)

    removed = remove("books")

    assert removed.returncode == 0, removed.stdout
    assert readme.read_text("utf-8") == text


def test_dry_run_lists_the_files(project: Path, remove: Command) -> None:
    listed = remove("items", "--dry-run")

    assert listed.returncode == 0, listed.stdout
    assert {tuple(line.split()) for line in listed.stdout.splitlines() if line[:2] == "  "} == {
        *((path, "deleted") for path in ("src/orders/items", "tests/items")),
        *((path, "deleted") for path in ("src/orders/admin/items.py", ITEM_PAGES)),
        *((f"src/orders/{name}.py", "changed") for name in ("admin/__init__", "api", "cli")),
        *((path, "changed") for path in ("pyproject.toml", "README.md")),
    }
    assert git(project, "status", "--porcelain") == ""


def test_uncommitted_changes_are_kept(project: Path, remove: Command) -> None:
    append(project / "README.md", "My notes.\n")

    refused = remove("items")

    assert refused.returncode == 2
    assert "Error: commit or stash your changes first" in refused.stdout
    assert git(project, "status", "--porcelain").split() == ["M", "README.md"]


def test_failed_migration_leaves_the_project_as_it_was(project: Path, remove: Command) -> None:
    failed = remove("items", DATABASE_URL="sqlite:////dev/null/app.db")

    assert failed.returncode == 1
    assert "All changes are undone." in failed.stdout
    assert git(project, "status", "--porcelain") == ""


def test_failure_halfway_restores_every_file(project: Path, remove: Command) -> None:
    (project / "tests" / "items").rename(project / "tests" / "real")
    (project / "tests" / "items").symlink_to("real")  # rmtree refuses symbolic links
    commit(project)

    failed = remove("items")

    assert failed.returncode != 0
    assert git(project, "status", "--porcelain") == ""


def test_formatting_of_an_unformatted_module_is_kept(project: Path, remove: Command) -> None:
    api = project / "src" / "orders" / "api.py"
    text = api.read_text("utf-8").replace("def setup(app: FastAPI)", "def setup( app : FastAPI )")
    api.write_text(text, "utf-8")
    commit(project)

    removed = remove("items")

    assert removed.returncode == 0, removed.stdout
    lines = [line for line in text.splitlines(keepends=True) if "items" not in line]
    assert api.read_text("utf-8") == "".join(lines)
