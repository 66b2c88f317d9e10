"""The documentation: links lead somewhere, on GitHub and on the site that is built from it."""

import re
import shutil
import sys
import tomllib
from pathlib import Path, PurePosixPath

from harness import run
from questions import CONTEXT, PROJECT, TEMPLATE
from render_checks import find_dead_links
from rendering import Files


def pages() -> Files:
    """Return the files that are read on GitHub: those of the root, and docs/."""
    paths = [path for path in TEMPLATE.iterdir() if path.is_file()]
    paths += [path for path in (TEMPLATE / "docs").rglob("*") if path.is_file()]
    return {PurePosixPath(path.relative_to(TEMPLATE)): path.read_bytes() for path in paths}


def test_no_link_is_dead() -> None:
    assert not find_dead_links(pages())


def test_deployment_files_that_pages_name_exist() -> None:
    missing = {
        f"{path}: {name}"
        for path, text in pages().items()
        for name in re.findall(r"\bdeploy/[\w./-]*\w", text.decode(errors="ignore"))
        if path.suffix == ".md" and not (PROJECT / name).exists()
    }
    assert not missing


def without_blocks(text: str) -> str:
    """Return a page without its blocks of code, except for those in lists."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_blocks_in_lists_are_indented_as_github_and_the_site_read_them() -> None:
    # The parser of the site ends a list before a block that is indented by less than four spaces.
    found = {
        str(path): re.findall(
            r"^ {1,3}(?:```|[-*] ).*", without_blocks(text.decode()), re.MULTILINE
        )
        for path, text in pages().items()
        if path.is_relative_to("docs") and path.suffix == ".md"
    }
    assert not {path: lines for path, lines in found.items() if lines}


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(TEMPLATE / "docs", tmp_path / "docs")
    shutil.copy(TEMPLATE / "zensical.toml", tmp_path)

    run([str(Path(sys.executable).parent / "zensical"), "build", "--strict"], cwd=tmp_path)

    built = {path.relative_to(tmp_path / "site") for path in tmp_path.glob("site/**/index.html")}
    assert len(built) == sum(
        path.is_relative_to("docs") and path.suffix == ".md" for path in pages()
    )


def test_renders_link_to_the_documentation_of_this_version() -> None:
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text("utf-8"))["project"]

    assert CONTEXT["_docs"].endswith(f"/v{project['version']}/docs")


def test_audit_page_lists_every_action_and_credential() -> None:
    models = next(PROJECT.glob("src/*/audit/models.py")).read_text("utf-8")
    page = (TEMPLATE / "docs" / "explanation" / "audit.md").read_text("utf-8")
    actions, credentials = (
        set(re.findall(r"`([a-z_.]+)`", "".join(re.findall(pattern, page, re.MULTILINE))))
        for pattern in (r"^\| [a-z ]+ \|(.*)$", r"^\| `credential` \|(.*)$")
    )

    assert actions == set(re.findall(r'^    [A-Z_]+ = "(.+?)"', models, re.MULTILINE))
    assert credentials == set(re.findall(r'^    "(.+?)",$', models, re.MULTILINE))
