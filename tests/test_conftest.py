"""How the tests are distributed."""

import os

import pytest


@pytest.fixture
def app() -> None:
    """Stand for an application."""


@pytest.mark.usefixtures("app")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="all tests share one process")
def test_tests_of_an_application_are_grouped(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@app")
