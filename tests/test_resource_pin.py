"""Renders run the generator of resources at a commit, which uv fetches once and keeps."""

import re

from questions import CONTEXT, TEMPLATE
from rendering import git, load_hook

REPOSITORY = "git+https://github.com/OWNER/cookiecutter-fastapi-service"


def pinned_commit() -> str:
    """Return the commit whose generator new projects run."""
    pin = re.fullmatch(
        rf"{re.escape(REPOSITORY)}@([0-9a-f]{{40}})#subdirectory=resource", CONTEXT["_resource"]
    )
    assert pin
    return pin[1]


def test_renders_pin_a_commit_that_has_the_generator() -> None:
    commit = pinned_commit()

    git(TEMPLATE, "merge-base", "--is-ancestor", commit, "HEAD")
    git(TEMPLATE, "cat-file", "-e", f"{commit}:resource/pyproject.toml")


def test_release_pins_its_own_generator() -> None:
    if git(TEMPLATE, "tag", "--points-at", "HEAD"):
        pinned, released = (
            git(TEMPLATE, "rev-parse", f"{commit}:resource") for commit in (pinned_commit(), "HEAD")
        )
        assert pinned == released


def test_name_of_the_generator_is_reserved() -> None:
    [module] = (TEMPLATE / "resource" / "src").iterdir()

    assert module.name in load_hook("pre_gen_project").RESERVED_NAMES
