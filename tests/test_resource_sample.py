"""The sample is the output of `poe resource` plus its tags; `pytest --update` writes the diff."""

import difflib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Render
from harness import environ, generate_resource
from questions import TEMPLATE, Answers, label

# The answers that change the code of a resource.
VARIANTS = [
    {"database": database, "use_redis": redis}
    for database in ("postgresql", "sqlite")
    for redis in (False, True)
]


def difference(generated: Path, sample: Path) -> Iterator[str]:
    """Yield the lines in which a file of the sample differs, without their positions.

    The context would differ between variants of the sample, so that one diff could not describe
    them.
    """
    before, after = (
        file.read_text("utf-8").splitlines() if file.exists() else []
        for file in (generated, sample)
    )
    for line in [*difflib.unified_diff(before, after, n=0, lineterm="")][2:]:
        yield "@@" if line.startswith("@@") else line


@pytest.mark.parametrize("answers", VARIANTS, ids=label)
def test_sample_is_generated_but_for_its_tags(
    answers: Answers, render: Render, environment: Path, pytestconfig: pytest.Config
) -> None:
    sample, project = render(**answers), render(**answers)
    modules, tests = project / "src" / "orders" / "items", project / "tests" / "items"
    shutil.rmtree(modules)
    shutil.rmtree(tests)
    api = modules.with_name("api.py")
    lines = api.read_text("utf-8").splitlines(keepends=True)
    api.write_text("".join(line for line in lines if "items" not in line), "utf-8")

    fields = ["title:str", "description:text?"]
    generate_resource(project, environ(project, environment), "items", *fields, "--no-migration")

    found = []
    for path in sorted([*modules.glob("*.py"), *tests.glob("*.py")]):
        name = path.relative_to(project)
        if lines := list(difference(path, sample / name)):
            found += [f"--- {name.as_posix()}", *lines]
    stored = TEMPLATE / "tests" / f"items-{answers['database']}.diff"
    text = "\n".join([*found, ""])
    if pytestconfig.getoption("update"):
        stored.write_text(text, "utf-8")
    assert text == stored.read_text("utf-8")
