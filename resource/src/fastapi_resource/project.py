"""A project of the template: what the generator reads from it, writes to it and runs in it."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import click

from .names import Names, singular_of
from .source import uses


@dataclass(frozen=True)
class Project:
    """A project of the template: its folder and its package."""

    folder: Path
    package: str

    @classmethod
    def find(cls, start: Path) -> Self:
        """Return the project that a folder belongs to.

        Raises:
            click.UsageError: it belongs to none.
        """
        for folder in (start, *start.parents):
            if (folder / "pyproject.toml").exists():
                content = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
                packages = [path.parent.name for path in folder.glob("src/*/api.py")]
                if len(packages) == 1 and "alembic" in content.get("tool", {}):
                    return cls(folder, packages[0])
        raise click.UsageError(
            "run this in a project of cookiecutter-fastapi-service, which has one src/*/api.py."
        )

    @property
    def source(self) -> Path:
        """The folder of the package."""
        return self.folder / "src" / self.package

    @property
    def api(self) -> Path:
        """The module that lists the routers."""
        return self.source / "api.py"

    @property
    def admin(self) -> Path:
        """The module that lists the admin views, if the project has them."""
        return self.source / "admin" / "__init__.py"

    @property
    def readme(self) -> Path:
        """The page whose layout lists the packages."""
        return self.folder / "README.md"

    @property
    def database(self) -> str:
        """The database: postgresql or sqlite."""
        return "sqlite" if (self.source / "database" / "sqlite.py").exists() else "postgresql"

    @property
    def local_database(self) -> str:
        """The start of the paths of the local database's files."""
        return "data/app.db" if self.database == "sqlite" else ".local/postgres"

    @property
    def redis(self) -> bool:
        """Whether lists are cached in Redis."""
        return (self.source / "cache" / "store.py").exists()

    @property
    def has_admin(self) -> bool:
        """Whether the project has pages for administrators."""
        return self.admin.exists()

    def resource(self, plural: str) -> tuple[Names, bool]:
        """Return the names of an existing resource, and whether only its owner finds a row.

        Raises:
            click.UsageError: there is no such resource, or its service cannot be used.
        """
        path = self.source / plural / "service.py"
        if not path.exists() or not path.with_name("models.py").exists():
            raise click.UsageError(f"fields cannot refer to {plural!r}, which is not a resource.")
        function = r"^async def (\w+)\(([^)]*)"
        functions = dict(re.findall(function, path.read_text("utf-8"), re.MULTILINE))
        created = [name.removeprefix("create_") for name in functions if name.startswith("create_")]
        singular = created[0] if len(created) == 1 else singular_of(plural)
        getter = functions.get(f"get_{singular}")
        if getter is None:
            raise click.UsageError(f"{self.name(path)} has no function get_{singular}.")
        return Names(plural, singular), "owner_id:" in getter

    def is_restricted(self, names: Names) -> bool:
        """Return whether only administrators read the rows of a resource."""
        path = self.source / names.plural / "router.py"
        for node in ast.walk(self.parse(path)) if path.exists() else ():
            match node:
                case ast.keyword(arg="read_roles", value=value) if uses(value, {"ADMINISTRATORS"}):
                    return True
                case ast.AsyncFunctionDef(name=name, args=args) if name == f"read_{names.singular}":
                    # Routers that an earlier version generated, without scopes.
                    if uses(args, {"CurrentAdmin"}):
                        return True
        return False

    def may_belong_to_others(
        self, plural: str, *, admin: bool, seen: frozenset[str] = frozenset()
    ) -> bool:
        """Return whether deleting another user's account may delete a referenced row.

        Args:
            plural: the resource of the referenced row.
            admin: whether administrators create the references, which may be to rows of any user;
                otherwise users refer to their own rows.
            seen: resources that refer to this one with cascade.
        """
        _, is_private = self.resource(plural)
        models = (self.source / plural / "models.py").read_text("utf-8")
        is_owned = is_private or "owner_id:" in models
        if is_owned and (admin or not is_private):
            return True
        seen |= {plural}
        pattern = r'ForeignKey\(\s*"(\w+)\.id",\s*ondelete="CASCADE"'
        return any(
            self.may_belong_to_others(other, admin=not is_owned, seen=seen)
            for other in re.findall(pattern, models)
            if other not in seen and (self.source / other / "models.py").exists()
        )

    def is_created_by_admin(self, names: Names) -> bool:
        """Return whether the tests need an administrator to create a row of a resource.

        The first parameter of their function is `admin` then, and not `account`.
        """
        path = self.folder / "tests" / names.plural / "support.py"
        created_by_admin = rf"\bdef create_{names.singular}\(\s*admin:"
        return path.exists() and bool(re.search(created_by_admin, path.read_text("utf-8")))

    def tables(self, folder: Path) -> list[str]:
        """Return the names of the tables that the models in a folder define."""
        pattern = r'__tablename__(?:: \w+)? = "(\w+)"|\bTable\(\s*"(\w+)"'
        texts = (path.read_text("utf-8") for path in sorted(folder.rglob("*.py")))
        return ["".join(groups) for text in texts for groups in re.findall(pattern, text)]

    def modules(self) -> list[Path]:
        """Return the Python modules of the project that git does not ignore."""
        listed = self.run("-m", "ruff", "check", "--quiet", "--show-files").splitlines()
        return sorted(path for path in map(Path, listed) if path.suffix == ".py")

    def parse(self, path: Path) -> ast.Module:
        """Return the syntax tree of a module.

        Raises:
            click.UsageError: the module is not valid Python.
        """
        try:
            return ast.parse(path.read_bytes())
        except SyntaxError as error:
            raise click.UsageError(
                f"{self.name(path)} cannot be read: {error.msg} (line {error.lineno})."
            ) from None

    def name(self, path: Path) -> str:
        """Return a path as messages show it."""
        return path.relative_to(self.folder).as_posix()

    def uncommitted(self) -> str | None:
        """Return what git lists as changed in the project, or None without git."""
        git = shutil.which("git")
        if git is None:
            return None
        done = subprocess.run(
            [git, "status", "--porcelain", "--untracked-files=normal", "."],
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return done.stdout if done.returncode == 0 else None

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a Python module or script in the project, and return its output.

        Raises:
            click.ClickException: it failed.
        """
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            check=False,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode != 0:
            raise click.ClickException(
                f"`python {' '.join(command)}` failed:\n\n{done.stdout.strip()}"
            )
        return done.stdout

    def is_formatted(self, path: Path) -> bool:
        """Return whether Ruff would not change a module."""
        try:
            self.run("-m", "ruff", "check", "--select", "F401,I", str(path))
            self.run("-m", "ruff", "format", "--check", str(path))
        except click.ClickException:
            return False
        return True

    def format(self, paths: Iterable[Path]) -> None:
        """Remove unused imports of these modules, and format them."""
        names = [str(path) for path in paths]
        self.run("-m", "ruff", "check", "--quiet", "--fix", "--select", "F401,I", *names)
        self.run("-m", "ruff", "format", "--quiet", *names)


@dataclass
class Changes:
    """Files that a command writes; an exception in the `with` block restores them.

    Attributes:
        project: whose files they are.
        previous: the content of each written file before, None for a new file.
        new_folders: folders that did not exist.
    """

    project: Project
    previous: dict[Path, bytes | None] = field(default_factory=dict)
    new_folders: list[Path] = field(default_factory=list)

    def write(self, files: Mapping[Path, str]) -> None:
        """Write files, and format the Python modules that are new or were formatted before."""
        formatted = [
            path
            for path in files
            if path.suffix == ".py" and (not path.exists() or self.project.is_formatted(path))
        ]
        for path, text in files.items():
            self.previous.setdefault(path, path.read_bytes() if path.exists() else None)
            self.new_folders += [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
        if formatted:
            self.project.format(formatted)

    def delete(self, path: Path) -> None:
        """Delete a file or a folder."""
        files = [file for file in (path, *path.rglob("*")) if file.is_file()]
        self.previous |= {file: file.read_bytes() for file in files}
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def write_migration(self, *command: str) -> bool:
        """Run a command that may generate a migration, on the local database, upgraded before."""
        versions = self.project.folder / "migrations" / "versions"
        existing = set(versions.glob("*.py"))
        try:
            self.project.run("dev.py", *command)
        except click.ClickException as error:
            if "Multiple head revisions" in error.message:
                raise click.ClickException(
                    "The migrations have several heads, because branches were merged. Merge these,"
                    " commit, and try again:\n\n  uv run alembic merge heads -m 'merge heads'"
                ) from None
            if "Can't locate revision" not in error.message:
                raise
            raise click.ClickException(
                "The database has a migration that this project does not have. If it is the local"
                f" one, delete it and try again:\n\n  rm -r {self.project.local_database}*"
            ) from None
        finally:
            new = sorted(set(versions.glob("*.py")) - existing)
            self.previous.update(dict.fromkeys(new))
        return bool(new)

    def added_lines(self, path: Path) -> int:
        """Return by how many lines a written file has grown."""
        return path.read_bytes().count(b"\n") - (self.previous[path] or b"").count(b"\n")

    def __enter__(self) -> Self:
        """Start without changes."""
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Restore the files after an exception."""
        if error is None:
            return
        for path, content in self.previous.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        for folder in self.new_folders:
            shutil.rmtree(folder, ignore_errors=True)
        click.echo("All changes are undone.", err=True)


def defined_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module defines or imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
