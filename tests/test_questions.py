"""Every question has a prompt and a default that works."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Render
from questions import CONTEXT, QUESTIONS, TEMPLATE, choices
from rendering import default_answers, without_secrets

PROMPTS: dict[str, Any] = CONTEXT["__prompts__"]


def test_every_question_and_choice_has_a_prompt() -> None:
    assert list(PROMPTS) == list(QUESTIONS)
    for question in QUESTIONS:
        wording = PROMPTS[question]
        if choices(question) and not isinstance(QUESTIONS[question], bool):
            assert list(wording) == ["__prompt__", *choices(question)]
        else:
            assert isinstance(wording, str)


@pytest.mark.parametrize(
    "question", [name for name in QUESTIONS if isinstance(PROMPTS[name], dict)]
)
def test_choices_are_explained_in_aligned_words(question: str) -> None:
    lines = [PROMPTS[question][choice] for choice in choices(question)]
    width = max(len(choice) for choice in choices(question)) + 2
    for choice, line in zip(choices(question), lines, strict=True):
        assert line[:width] == choice.ljust(width)
        assert line[width] != " "
        assert len(line) <= 75


@pytest.mark.parametrize(
    ("name", "slug", "package"),
    [
        ("Orders", "orders", "orders"),
        ("Bob's Bikes", "bobs-bikes", "bobs_bikes"),
        ("Café Ünïcode", "cafe-unicode", "cafe_unicode"),
        ("Заказы", "zakazy", "zakazy"),
        ("日本", "ri-ben", "ri_ben"),
        ("3D Printing", "3d-printing", "app_3d_printing"),
        ("🚀", "service", "service"),
        ("A" * 49 + " and more", "a" * 49, "a" * 49),
    ],
)
def test_slug_and_package_derive_from_the_name(name: str, slug: str, package: str) -> None:
    answers = default_answers(project_name=name)

    assert (answers["project_slug"], answers["package_name"]) == (slug, package)


def test_pressing_enter_renders_the_same_as_no_input(render: Render, tmp_path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "cookiecutter", TEMPLATE, "--output-dir", tmp_path],
        input="\n" * len(QUESTIONS),
        env={**os.environ, "HOME": str(tmp_path / "home"), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout

    for wording in PROMPTS.values():
        assert (wording if isinstance(wording, str) else wording["__prompt__"]) in asked
    assert without_secrets(tmp_path / "orders") == without_secrets(render())


def test_readme_lists_the_questions_and_their_choices() -> None:
    readme = (TEMPLATE / "README.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+)\|", readme, re.MULTILINE))

    assert list(rows) == list(QUESTIONS)
    for question in QUESTIONS:
        if choices(question):
            shown = {False: "no", True: "yes"}
            wanted = [shown.get(choice, choice) for choice in choices(question)]
            assert re.findall(r"`([^`]+)`", rows[question]) == wanted


def test_presets_of_the_readme_render(tmp_path: Path) -> None:
    readme = (TEMPLATE / "README.md").read_text("utf-8").replace("\\\n", "")
    presets = re.findall(r"^uvx cookiecutter gh:\S+ (--no-input .+)$", readme, re.MULTILINE)

    assert len(presets) == 3
    for number, preset in enumerate(presets):
        option, *answers = shlex.split(preset)
        # cookiecutter ignores names that it does not know.
        assert {answer.partition("=")[0] for answer in answers} <= QUESTIONS.keys()
        folder = tmp_path / str(number)
        command = [sys.executable, "-m", "cookiecutter", str(TEMPLATE), option, *answers]
        environment = {**os.environ, "TEMPLATE_SKIP": "lock,git"}
        subprocess.run([*command, "--output-dir", folder], env=environment, check=True)
        assert (folder / "orders" / "pyproject.toml").is_file()
