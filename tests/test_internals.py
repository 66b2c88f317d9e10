"""Tests of code that owners of a service rarely change: copied from `render/` and run there."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import Application
from questions import MIN_AND_MAX, Answers, label, min_max_configurations

TESTS = Path(__file__).parent / "render"


@pytest.fixture(params=min_max_configurations(), ids=label)
def app(
    request: pytest.FixtureRequest, make_application: Callable[[Answers], Application]
) -> Iterator[Application]:
    """Return an application with these tests among its own."""
    app = make_application(request.param)
    copy = shutil.copytree(TESTS, app.folder / "tests" / "render")
    yield app
    shutil.rmtree(copy)


@pytest.mark.thorough(but=MIN_AND_MAX)
def test_internals(app: Application) -> None:
    app.run("pytest", "tests/render")
