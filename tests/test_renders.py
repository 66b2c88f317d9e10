"""Check the files of the renders of every combination of answers, with names of every kind."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from conftest import Render
from questions import (
    FEATURES,
    TEMPLATE,
    Answers,
    choices,
    label,
    min_max_configurations,
)
from render_checks import (
    expected_headings,
    expected_paths,
    find_forbidden_patterns,
    find_problems,
    headings,
    is_on,
)
from rendering import Files, application, read, rendered, without_secrets

DEPLOYED = {"use_elk": True, "use_kubernetes": True, "cloud": "aws-ecs", "ci": "gitlab"}
NAMES = {
    "apostrophe": "Bob's Bikes & Co.",
    "accents": "Café Ünïcode",
    "cyrillic": "Заказы",
    "japanese": "日本語サービス",
    "arabic": "طلبات",
    "hindi": "नमस्ते",
    "emoji": "🚀 👩‍💻",
    "typographic": "Bob’s Bikes – a × b",  # noqa: RUF001 - what people write
    "digits": "3D Printing #1: 100 %, [a] | *b* ~ c?",
    "longest": "x" * 60,
    "widest": "国" * 60,
}


def test_combination(combination: Answers, application_files: Callable[[Answers], Files]) -> None:
    files = rendered(**combination)

    assert set(files) == expected_paths(combination)
    assert [
        pattern
        for feature in FEATURES
        if not is_on(feature, combination)
        for pattern in find_forbidden_patterns(files, feature)
    ] == []
    assert headings(files[PurePosixPath("README.md")]) == expected_headings(combination)
    assert find_problems(files) == []
    assert application(files) == application_files(combination)


def test_applications_are_distinct(
    configurations: list[Answers], application_files: Callable[[Answers], Files]
) -> None:
    found = [application_files(answers) for answers in configurations]

    assert all(one not in found[:number] for number, one in enumerate(found))


@pytest.mark.parametrize("answers", [*min_max_configurations(), DEPLOYED], ids=label)
def test_same_answers_render_the_same_bytes(
    answers: Answers, render: Render, tmp_path: Path
) -> None:
    given = [f"{name}={answer}" for name, answer in answers.items()]
    subprocess.run(
        [sys.executable, "-m", "cookiecutter", TEMPLATE, "--no-input", "-o", tmp_path, *given],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        check=True,
    )

    assert without_secrets(tmp_path / "orders") == without_secrets(render(**answers))


@pytest.mark.parametrize("cloud", choices("cloud"))
def test_only_scripts_are_executable(cloud: str, render: Render) -> None:
    project = render(cloud=cloud, use_elk=True, use_kubernetes=True)
    for path in (project / name for name in read(project)):
        executable = path.stat().st_mode & 0o111
        assert executable == (0o111 if path.read_bytes().startswith(b"#!") else 0), path


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_name_in_any_script_renders_a_correct_project(name: str, configuration: Answers) -> None:
    files = rendered(**configuration, project_name=name, description=name, author_name=name)

    assert find_problems(files) == []
    metadata = tomllib.loads(files[PurePosixPath("pyproject.toml")].decode())["project"]
    assert metadata["description"] == name
    assert metadata["authors"][0]["name"] == name
    assert name in files[PurePosixPath("README.md")].decode()


@pytest.mark.parametrize(
    ("slug", "package"),
    [("a", "a"), ("a-" * 24 + "bc", "a_" * 26 + "bc"), ("7", "app_7")],
    ids=["shortest", "longest", "digit"],
)
def test_code_is_formatted_with_names_of_any_length(
    slug: str, package: str, configuration: Answers
) -> None:
    assert find_problems(rendered(**configuration, project_slug=slug, package_name=package)) == []


@pytest.mark.parametrize("email", ["o'brien+x@mail.example.co.uk", "A_B@Mail.My-Shop.CO"])
def test_unusual_email_is_not_changed(email: str, render: Render) -> None:
    pyproject = (render(author_email=email) / "pyproject.toml").read_text("utf-8")

    assert tomllib.loads(pyproject)["project"]["authors"][0]["email"] == email
