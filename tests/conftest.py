"""Fixtures: renders, each made once per worker, the machine they are made on, and its servers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import (
    APPLICATION_QUESTIONS,
    TEMPLATE,
    Answers,
    Files,
    application,
    applications,
    combinations,
    label,
    read,
)
from workbench import POSTGRES, REDIS, Server, requirements, shared_environment

Render = Callable[..., Path]


def pytest_report_header() -> str:
    """Say how much there is to do."""
    features, programs = len(combinations()), len(applications())
    return f"template: {features} combinations of features, {programs} applications"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker ends long after the others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tools that know nothing of who runs the tests, and hooks that leave lock and git out."""
    folder = tmp_path_factory.mktemp("home")
    config = folder / "cookiecutter.yaml"
    config.write_text(f"replay_dir: {folder}\ncookiecutters_dir: {folder}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COOKIECUTTER_CONFIG", str(config))
        patch.setenv("TEMPLATE_SKIP", "lock,git")
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="session")
def render(cookies_session: Any) -> Render:
    """Render a project in a new folder; the answers not given are the defaults.

    The function raises what cookiecutter raises when it refuses.
    """

    def render(**answers: Any) -> Path:
        result = cookies_session.bake(extra_context=answers, template=str(TEMPLATE))
        if result.exception is not None:
            raise result.exception
        project: Path = result.project_path
        return project

    return render


@pytest.fixture(scope="session")
def application_files(render: Render) -> Callable[[Answers], Files]:
    """The files of the application that these answers decide, of a render made only once."""
    made: dict[str, Files] = {}

    def files(answers: Answers) -> Files:
        deciding = {name: answers[name] for name in APPLICATION_QUESTIONS}
        if label(deciding) not in made:
            made[label(deciding)] = application(read(render(**deciding)))
        return made[label(deciding)]

    return files


@pytest.fixture(scope="session")
def environment(render: Render) -> Path:
    """One environment with what all the applications ask for."""
    needed = set[str]().union(*(requirements(render(**answers)) for answers in applications()))
    return shared_environment(needed)


@pytest.fixture(scope="session")
def postgres(environment: Path) -> Iterator[Server]:
    """The PostgreSQL server of this worker."""
    server = Server(environment, POSTGRES)
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis(environment: Path) -> Iterator[Server]:
    """The Redis server of this worker."""
    server = Server(environment, REDIS)
    yield server
    server.close()
