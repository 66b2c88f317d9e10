"""Names of every kind: each answer gives a correct project, or is refused in one sentence."""

import ast
import keyword
import re
import tomllib
from pathlib import PurePosixPath
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rendering import rendered
from support import QUESTIONS, Files, applications, flaws

# What people write, and what breaks files: letters of any script, signs, and pieces of syntax.
LETTERS = st.characters(categories=["L", "M", "N", "P", "S", "Z"])
PIECES = st.sampled_from(["'", '"', "\\", "#", ": ", "{x}", "$(x)", "`", "<b>", "\t", "\n", "é"])
# cookiecutter takes an answer for a template itself, and fails at one that is none.
TEMPLATE_SYNTAX = re.compile(r"\{[{%#]")
TEXT = (
    st.lists(LETTERS | PIECES, max_size=40)
    .map("".join)
    .filter(lambda text: not TEMPLATE_SYNTAX.search(text))
)
WORDS = st.from_regex(r"[a-z][a-z0-9]{0,7}([-_ ][a-z0-9]{1,7}){0,5}", fullmatch=True)
EMAIL = st.emails() | WORDS.map(lambda word: f"{word}@example.com") | TEXT
NAMES = st.fixed_dictionaries(
    {},
    optional={
        "project_name": TEXT | WORDS,
        "description": TEXT,
        "author_name": TEXT,
        "author_email": EMAIL,
        "project_slug": WORDS,
        "package_name": WORDS | st.sampled_from([*keyword.kwlist, *keyword.softkwlist]),
    },
)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1
RICHEST = [max(applications(), key=lambda answers: sum(map(bool, answers.values())))]
if "use_kubernetes" in QUESTIONS:
    RICHEST = [one | {"use_kubernetes": True} for one in RICHEST]


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(names=NAMES)
@pytest.mark.parametrize("answers", RICHEST, ids=["everything"])
def test_names_give_a_correct_project_or_are_refused(
    names: dict[str, str], answers: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        files = rendered(**answers, **names)
    except FailedHookException:
        said = capsys.readouterr().err.splitlines()
        assert said
        assert all(line.split()[0] in QUESTIONS for line in said)
        return
    assert flaws(files) == []
    assert_named(files, names)


def assert_named(files: Files, names: dict[str, str]) -> None:
    """The texts are where people and tools read them, and what they name is legal."""
    project = tomllib.loads(files[PurePosixPath("pyproject.toml")].decode())["project"]
    [command] = project["scripts"]
    package = project["scripts"][command].partition(".")[0]
    source = files[PurePosixPath(f"src/{package}/main.py")].decode()
    titles = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword) and node.arg == "title"
        if isinstance(node.value, ast.Constant)
    ]

    assert LABEL.fullmatch(command)
    assert package.isidentifier()
    assert not keyword.iskeyword(package)
    assert project["description"] == names.get("description", project["description"])
    assert project["authors"][0]["name"] == names.get("author_name", project["authors"][0]["name"])
    assert titles == [names.get("project_name", QUESTIONS["project_name"])]
