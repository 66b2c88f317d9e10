"""What `poe resource` writes to a project, prints, and undoes."""

import ast
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from conftest import Render
from fastapi_resource.edit import add_admin_view, add_layout_row, register_router
from harness import environ, resource_command, run
from rendering import commit, git

BOOKS = ("books", "title:str", "pages:int", "--no-check")
MODULES = {
    *(f"src/orders/books/{name}.py" for name in ("__init__", "models", "router", "schemas")),
    "src/orders/books/service.py",
    "tests/books/support.py",
    "tests/books/test_books.py",
}
EDITED = {"src/orders/api.py": 2, "README.md": 1}
API = """\
from fastapi import FastAPI

from .items import router as items
from .users import router as users

ROUTERS = (
    items.router,
    users.router,
)
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def rendered(render: Render) -> Path:
    """A project with SQLite, which tests copy."""
    folder = render(database="sqlite")
    commit(folder)
    return folder


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Path:
    """A project in a folder that a shell has to quote."""
    return shutil.copytree(rendered, tmp_path / "it's 50% new" / "orders")


@pytest.fixture(scope="module")
def resource(rendered: Path, environment: Path) -> Command:
    """Return a function that runs `poe resource` in a folder of a project."""
    return partial(resource_command, environ(rendered, environment), "add")


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that a file has, and commit."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    git(path.parent, "commit", "--quiet", "--all", "--message", "Edit")


def added_lines(project: Path) -> dict[str, int]:
    """Return the number of lines by which each file differs from the last commit, by path."""
    git(project, "add", "--all")
    lines = git(project, "diff", "--cached", "--numstat").splitlines()
    changes = {path: (int(added), deleted) for added, deleted, path in map(str.split, lines)}
    assert {deleted for _, deleted in changes.values()} <= {"0"}
    return {path: added for path, (added, _) in changes.items()}


def test_resource_adds_its_files_and_three_lines(project: Path, resource: Command) -> None:
    done = resource(project, *BOOKS)

    assert done.returncode == 0, done.stdout
    added = added_lines(project)
    assert {path: added[path] for path in EDITED} == EDITED
    [migration] = added.keys() - MODULES - EDITED.keys()
    assert re.fullmatch(r"migrations/versions/\w+_add_books\.py", migration)
    listed = re.findall(r"^  (\S+) +\+(\d+)$", done.stdout, re.MULTILINE)
    assert {path: int(count) for path, count in listed} == added
    total = sum(added.values())
    assert re.search(
        rf"^{len(added)} files, {total} lines in \d+\.\d seconds\.$", done.stdout, re.MULTILINE
    )
    assert "/docs#/books" in done.stdout
    assert "uv run poe check " in done.stdout
    assert "\n  books/            users see and change only their own\n" in (
        project / "README.md"
    ).read_text("utf-8")


def test_subfolder_finds_its_project(project: Path, resource: Command) -> None:
    assert resource(project / "tests", *BOOKS, "--no-migration").returncode == 0

    assert (project / "src/orders/books/models.py").exists()


def test_admin_pages_get_a_view_that_passes_its_tests(
    render: Render, resource: Command, environment: Path
) -> None:
    project = render(database="sqlite", use_admin=True)
    commit(project)

    done = resource(project, "order_lines", "code:str", "extra:json", "at:datetime?", "--no-check")

    assert done.returncode == 0, done.stdout
    assert re.findall(r"^  src/orders/admin/(\S+) +\+\d+$", done.stdout, re.MULTILINE) == [
        "order_lines.py",
        "__init__.py",
    ]
    python = str(environment / "bin" / "python")
    command = [python, "-m", "pytest", "-q", "tests/admin/test_admin_order_lines.py"]
    assert "2 passed" in run(command, cwd=project, env=environ(project, environment))


def test_git_undoes_a_resource_as_printed(project: Path, resource: Command) -> None:
    done = resource(project, *BOOKS)

    assert "\n  git checkout . && git clean -fd " in done.stdout
    git(project, "checkout", ".")
    git(project, "clean", "-fd")
    assert git(project, "status", "--porcelain") == ""
    assert resource(project, *BOOKS).returncode == 0


def test_dry_run_lists_the_files_and_writes_nothing(project: Path, resource: Command) -> None:
    done = resource(project, *BOOKS, "--dry-run")

    listed = re.findall(r"^  (\S+)$", done.stdout, re.MULTILINE)
    migration = "migrations/versions/*_add_books.py"
    assert set(listed) == MODULES | EDITED.keys() | {migration}
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("path", ["README.md", "notes.txt"], ids=["changed", "new"])
def test_project_with_uncommitted_changes_is_rejected(
    project: Path, resource: Command, path: str
) -> None:
    git(project, "config", "status.showUntrackedFiles", "no")
    (project / path).write_text("changed")

    done = resource(project, *BOOKS)

    assert done.returncode == 2
    assert "commit or stash your changes first" in done.stdout
    assert path in done.stdout
    assert not (project / "src/orders/books").exists()


def test_project_without_git_is_accepted_with_a_note(project: Path, resource: Command) -> None:
    shutil.rmtree(project / ".git")

    done = resource(project, *BOOKS, "--no-migration")

    assert done.returncode == 0
    assert "git cannot undo this command" in done.stdout
    assert "git checkout" not in done.stdout
    assert "uv run poe migration 'add books'" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pyproject.toml", "line-length = 100", "line-length = -1"), "line-length"),
        (("src/orders/schemas.py", "class RequestModel(", "class Model("), "RequestModel"),
        (("src/orders/database/models.py", "class Base(", "raise OSError\nclass Base("), "OSError"),
    ],
    ids=["ruff", "older", "migration"],
)
def test_failure_undoes_everything_and_is_shown(
    project: Path, resource: Command, change: tuple[str, str, str], message: str
) -> None:
    path, old, new = change
    edit(project / path, old, new)

    done = resource(project, *BOOKS)

    assert done.returncode in {1, 2}
    assert "All changes are undone.\n" in done.stdout
    assert message in done.stdout
    assert git(project, "status", "--porcelain") == ""
    assert not (project / "src/orders/books").exists()


def test_database_of_an_undone_resource_is_named(
    project: Path, resource: Command, environment: Path
) -> None:
    resource(project, *BOOKS)
    python, env = str(environment / "bin" / "python"), environ(project, environment)
    run([python, "dev.py", "python", "-c", ""], cwd=project, env=env)  # migrates
    git(project, "clean", "-fd")
    git(project, "checkout", ".")

    done = resource(project, *BOOKS)

    assert "All changes are undone.\n" in done.stdout
    assert done.stdout.endswith("delete it and try again:\n\n  rm -r data/app.db*\n")


def test_migrations_of_two_branches_have_to_be_merged_first(
    project: Path, resource: Command
) -> None:
    other = project / "migrations/versions/other.py"
    other.write_text('revision = "other"\ndown_revision = None\n', "utf-8")
    commit(project)

    done = resource(project, *BOOKS)

    assert "All changes are undone.\n" in done.stdout
    assert done.stdout.endswith("try again:\n\n  uv run alembic merge heads -m 'merge heads'\n")


def test_failed_check_keeps_the_files(project: Path, resource: Command) -> None:
    edit(project / "pyproject.toml", 'check = { sequence = ["lint', 'check = { sequence = ["no')

    done = resource(project, *BOOKS[:-1])

    assert done.returncode == 1
    assert "`poe check` failed" in done.stdout
    assert (project / "src/orders/books").exists()


def test_resource_without_a_migration_is_not_checked(project: Path, resource: Command) -> None:
    edit(project / "pyproject.toml", 'check = { sequence = ["lint', 'check = { sequence = ["no')

    done = resource(project, *BOOKS[:-1], "--no-migration")

    assert done.returncode == 0, done.stdout
    steps = re.findall(r"^  uv run poe (migration|check)\b", done.stdout, re.MULTILINE)
    assert steps == ["migration", "check"]


def test_unformatted_api_gets_only_two_lines(project: Path, resource: Command) -> None:
    edit(project / "src/orders/api.py", "app: FastAPI", "app :FastAPI")

    resource(project, *BOOKS, "--no-migration")

    assert added_lines(project)["src/orders/api.py"] == 2


def test_project_without_a_tuple_of_routers_prints_what_to_add(
    project: Path, resource: Command
) -> None:
    edit(project / "src/orders/api.py", "ROUTERS", "ALL")
    edit(project / "migrations/env.py", "api.ROUTERS", "api.ALL")

    done = resource(project, *BOOKS)

    assert done.returncode == 0
    assert "\n  from .books import router as books\n  books.router\n" in done.stdout
    assert "uv run poe migration 'add books'" in done.stdout
    assert added_lines(project).keys() == MODULES | {"README.md"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("items", "a:str"), "src/orders/items/__init__.py exists already."),
        (("errors", "a:str"), "src/orders/errors.py exists already."),
        (("papers", "a:str"), "tests/papers.py exists already."),
        (("login_sessions", "a:str"), "there is a table 'login_sessions' already."),
        (("mfa", "a:str", "--singular", "factor"), "src/orders/api.py has another 'mfa' already."),
        (
            ("kinds", "a:str", "--singular", "item"),
            "src/orders/items/models.py has a model Item already: choose another --singular.",
        ),
        (("books", "shop:ref:shops"), "fields cannot refer to 'shops', which is not a resource."),
        (("books", "of:ref:mail"), "fields cannot refer to 'mail', which is not a resource."),
        (("books", "by:ref:users"), "fields cannot refer to 'users', which is not a resource."),
    ],
)
def test_name_that_a_project_has_or_lacks_is_rejected(
    project: Path, resource: Command, arguments: tuple[str, ...], message: str
) -> None:
    (project / "tests/papers.py").touch()

    done = resource(project, *arguments, "--dry-run")

    assert done.returncode == 2
    assert done.stdout.rstrip().endswith(f"Error: {message}")


def test_reference_to_shared_rows_says_what_a_deletion_does(
    project: Path, resource: Command
) -> None:
    resource(project, "articles", "title:str", "--public", "--no-migration", "--no-check")
    commit(project)

    rejected = resource(project, "comments", "article:ref:articles", "--dry-run")
    accepted = resource(project, "comments", "article:ref:articles:cascade", "--dry-run")

    assert "end 'article' with ':cascade', or '?:set-null'" in rejected.stdout
    assert (rejected.returncode, accepted.returncode) == (2, 0)


@pytest.mark.parametrize(
    ("pins", "stickers", "code"),
    [
        ("pins board:ref:boards:cascade", "stickers pin:ref:pins", 2),
        ("pins board:ref:boards:cascade", "stickers pin:ref:pins:cascade", 0),
        ("pins board:ref:boards?:set-null", "stickers pin:ref:pins", 0),
        ("pins item:ref:items:cascade", "stickers pin:ref:pins", 0),
        ("pins item:ref:items:cascade --admin", "stickers pin:ref:pins --admin", 2),
    ],
)
def test_reference_to_rows_deleted_with_another_account_is_rejected(
    project: Path, resource: Command, pins: str, stickers: str, code: int
) -> None:
    for line in ("boards title:str --public", pins):
        done = resource(project, *line.split(), "--no-migration", "--no-check")
        assert done.returncode == 0, done.stdout
        commit(project)

    done = resource(project, *stickers.split(), "--dry-run")

    assert done.returncode == code, done.stdout
    message = "stickers could keep another user from deleting their account, which deletes pins"
    assert (message in done.stdout) == (code == 2)


@pytest.mark.parametrize("has_scopes", [True, False])
def test_reference_of_users_to_rows_that_only_administrators_read_is_rejected(
    project: Path, resource: Command, *, has_scopes: bool
) -> None:
    resource(project, "budgets", "title:str", "--admin", "--no-migration", "--no-check")
    if not has_scopes:  # as an earlier version generated routers
        router = project / "src/orders/budgets/router.py"
        text = router.read_text("utf-8").replace("read_roles=ADMINISTRATORS, ", "")
        router.write_text(text.replace("_: Reader", "_: CurrentAdmin"), "utf-8")
    commit(project)
    expenses = ("expenses", "budget:ref:budgets", "--dry-run")

    done = {flag: resource(project, *expenses, flag) for flag in ("--public", "--admin")}

    assert done["--public"].returncode == 2
    assert "only administrators read budgets" in done["--public"].stdout
    assert done["--admin"].returncode == 0, done["--admin"].stdout


def test_singular_of_an_existing_resource_is_read_from_its_service(
    project: Path, resource: Command
) -> None:
    name = ("olives", "name:str", "--singular", "tree", "--no-migration", "--no-check")
    assert resource(project, *name).returncode == 0
    commit(project)

    done = resource(project, "harvests", "olive:ref:olives", "--no-migration", "--no-check")

    assert done.returncode == 0, done.stdout
    assert "get_tree(" in (project / "src/orders/harvests/service.py").read_text("utf-8")


def test_folder_outside_of_a_project_is_rejected(tmp_path: Path, resource: Command) -> None:
    assert "which has one src/*/api.py" in resource(tmp_path, *BOOKS).stdout


def test_invalid_api_is_named(project: Path, resource: Command) -> None:
    edit(project / "src/orders/api.py", "ROUTERS = (", "ROUTERS = ((")

    assert "Error: src/orders/api.py cannot be read:" in resource(project, *BOOKS).stdout


@pytest.mark.parametrize(
    "text",
    [
        API,
        API.replace("ROUTERS =", "ROUTERS: tuple[APIRouter, ...] ="),
        re.sub(r"ROUTERS = \((.*)\)", r"ROUTERS = [\1]", API, flags=re.DOTALL),
        re.sub(r"ROUTERS = .*", "ROUTERS = [items.router, users.router]\n", API, flags=re.DOTALL),
        API.replace("(\n    items.router,", "(  # die häufigsten\n    items.router,  # äöü"),
        API.replace("(\n    items", "(items").replace("items.router,\n", "items.router,  # ä\n"),
        API.replace(".items import router as items", ".items import (\n    router as items,\n)"),
        '"""A form feed:\f, and \u2028."""\n\n' + API,
    ],
    ids=str,
)
def test_router_is_registered_first_by_two_lines(text: str) -> None:
    edited = register_router(text, "books")

    assert edited is not None
    tree = ast.parse(edited)
    [routers] = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    assert isinstance(routers.value, ast.Tuple | ast.List)
    names = [ast.unparse(element) for element in routers.value.elts]
    assert names == ["books.router", "items.router", "users.router"]
    assert "from .books import router as books" in edited.splitlines()
    kept = edited.replace("from .books import router as books", "", 1)
    assert "".join(kept.replace("books.router,", "", 1).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        API.replace("ROUTERS", "ALL"),
        re.sub(r"ROUTERS = .*", "ROUTERS = ()\n", API, flags=re.DOTALL),
        re.sub(r"ROUTERS = .*", "ROUTERS = tuple(all_routers())\n", API, flags=re.DOTALL),
    ],
    ids=["renamed", "empty", "computed"],
)
def test_other_forms_of_the_routers_are_left_alone(text: str) -> None:
    assert register_router(text, "books") is None


VIEWS = """\
from fastapi import FastAPI

from ..settings import Settings
from . import items, users


def setup(app: FastAPI) -> None:
    for view in (
        users.UserView,
        items.ItemView,
    ):
        app.add_view(view)
"""


@pytest.mark.parametrize(
    "text",
    [
        VIEWS,
        re.sub(
            r"\(\s+users.*View,\s+\)", "[users.UserView, items.ItemView]", VIEWS, flags=re.DOTALL
        ),
        VIEWS.replace("ItemView,", "ItemView,  # für alle"),
    ],
    ids=["tuple", "one-line", "comment"],
)
def test_admin_view_is_added_last(text: str) -> None:
    edited = add_admin_view(text, "books", "Book")

    assert edited is not None
    [views] = [node for node in ast.walk(ast.parse(edited)) if isinstance(node, ast.For)]
    assert re.findall(r"\w+View", ast.unparse(views.iter)) == ["UserView", "ItemView", "BookView"]
    assert "from . import books" in edited.splitlines()


def test_other_forms_of_the_admin_views_are_left_alone() -> None:
    assert add_admin_view("from . import users\n\nVIEWS = users.views()\n", "books", "Book") is None


def test_layout_row_is_aligned_if_the_name_is_short() -> None:
    page = "src/\n  users/     accounts\ntests/\n"

    assert add_layout_row(page, "books", "texts") == page.replace(
        "tests", "  books/     texts\ntests"
    )
    assert "\n  order_lines/ texts\n" in str(add_layout_row(page, "order_lines", "texts"))
    assert add_layout_row("no layout", "books", "texts") is None
