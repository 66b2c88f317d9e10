"""Options, selection of tests, summary, and fixtures for renders, servers and applications."""

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import rendering
from harness import (
    CACHE,
    POSTGRES,
    REDIS,
    Application,
    Server,
    answers_to,
    environ,
    pythons,
    quick_coverage,
    requirements,
    shared_environment,
)
from questions import (
    APPLICATION_QUESTIONS,
    QUESTIONS,
    Answers,
    combinations,
    configurations,
    label,
    min_max_configurations,
)
from rendering import RAM_DISK, Files, application

collect_ignore = ["render"]  # test_internals.py copies it into renders

Render = Callable[..., Path]
RENDER = "TEMPLATE_SKIP=lock,git .venv/bin/cookiecutter . --no-input -f -o /tmp/try"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that select more tests."""
    parser.addoption(
        "--thorough", action="store_true", help="render every combination and run slow tests"
    )
    parser.addoption("--all", action="store_true", help="also run every application")
    parser.addoption(
        "--update",
        action="store_true",
        help="write the tables of docs/reference, and how the sample differs from poe resource",
    )


def pytest_configure() -> None:
    """Connect to this machine without a proxy."""
    others = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"127.0.0.1,localhost,{others}".rstrip(",")


@dataclass(frozen=True)
class Selection:
    """The combinations and tests selected by the command line.

    Attributes:
        combinations: of features, which are rendered; tests take each as `combination`.
        configurations: of the application, which are run; tests take each as `configuration`.
        thorough: whether tests marked `thorough` run.
    """

    combinations: list[Answers]
    configurations: list[Answers]
    thorough: bool


@functools.cache
def select(config: pytest.Config) -> Selection:
    """Read the options."""
    run_all = config.getoption("all")
    thorough = run_all or config.getoption("thorough")
    return Selection(combinations(every=thorough), configurations(every=run_all), thorough)


def pytest_report_header(config: pytest.Config) -> str:
    """Print how much is selected."""
    selection = select(config)
    return (
        f"template: {len(selection.combinations)} combinations of features, "
        f"{len(selection.configurations)} applications"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each selected `combination` or `configuration`, unless it names them."""
    selection = select(metafunc.config)
    marks = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    for name, values in (
        ("combination", selection.combinations),
        ("configuration", selection.configurations),
    ):
        if name in metafunc.fixturenames and name not in marks:
            metafunc.parametrize(name, values, ids=label, scope="module")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect thorough tests; run slow tests first, so that no worker ends much later."""
    thorough = select(config).thorough
    left_out = [] if thorough else [item for item in items if _is_thorough(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    items.sort(
        key=lambda item: not {"slow", "thorough"} & {one.name for one in item.iter_markers()}
    )
    for item in items:
        item.user_properties += [("answers", answers) for answers in _answers(item)]
        if "app" in getattr(item, "fixturenames", ()):
            groups = [label(answers) for answers in _answers(item)]
            item.add_marker(pytest.mark.xdist_group("-".join(["app", *groups])))


def _is_thorough(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("thorough")
    return marker is not None and not any(
        answers in marker.kwargs.get("but", ()) for answers in _answers(item)
    )


def _answers(item: pytest.Item) -> list[Answers]:
    call = getattr(item, "callspec", None)
    params = call.params.values() if call else ()
    return [one for one in params if isinstance(one, dict) and one.keys() <= QUESTIONS.keys()]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how much was tested, and for each failure how to rerun it and render its project."""
    stats = terminalreporter.stats
    passed, wrong = stats.get("passed", []), stats.get("failed", []) + stats.get("error", [])
    executed = sum(
        number for report in passed for name, number in report.user_properties if name == "executed"
    )
    rows = {
        "combinations rendered": sum("::test_combination[" in report.nodeid for report in passed),
        "applications that passed their own tests": sum(
            "::test_own_tests" in report.nodeid for report in passed
        ),
        "tests of the template that passed": len(passed),
        "tests of the applications that passed": executed,
        "failures": len(wrong),
    }
    terminalreporter.section("summary")
    for row, number in rows.items():
        terminalreporter.write_line(f"{number:>8,}  {row}")
    for report in wrong:
        test = report.nodeid.partition("@app-")[0]  # without the group that xdist appends
        terminalreporter.write_line(f"\nrerun:  .venv/bin/pytest --all '{test}'")
        for answers in (value for name, value in report.user_properties if name == "answers"):
            given = " ".join(f"{question}={answer}" for question, answer in answers.items())
            terminalreporter.write_line(f"render: {RENDER} {given}")


@pytest.fixture(scope="session", autouse=True)
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Isolate tools from the user's configuration, and let hooks skip lock and git."""
    folder = tmp_path_factory.mktemp("home")
    config = folder / "cookiecutter.yaml"
    config.write_text(f"replay_dir: {folder}\ncookiecutters_dir: {folder}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COOKIECUTTER_CONFIG", str(config))
        patch.setenv("TEMPLATE_SKIP", "lock,git")
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="session", name="configurations")
def _configurations(pytestconfig: pytest.Config) -> list[Answers]:
    """All selected configurations of the application."""
    return select(pytestconfig).configurations


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return a function that renders a project in a new folder; other answers are the defaults.

    It raises FailedHookException if the hook rejects an answer.
    """

    def render(**answers: Any) -> Path:
        return rendering.render(tmp_path_factory.mktemp("render"), **answers)

    return render


@pytest.fixture(scope="session")
def application_files() -> Callable[[Answers], Files]:
    """Return a function that returns the files of an application, rendered only once."""
    made: dict[str, Files] = {}

    def files(answers: Answers) -> Files:
        deciding = {name: answers[name] for name in APPLICATION_QUESTIONS}
        if label(deciding) not in made:
            made[label(deciding)] = application(rendering.rendered(**deciding))
        return made[label(deciding)]

    return files


@pytest.fixture(scope="session")
def new_environment(render: Render) -> Callable[[str], Path]:
    """Return a function that creates an environment of a Python for all applications."""
    needed = set[str]().union(
        *(requirements(render(**answers)) for answers in min_max_configurations())
    )
    return functools.cache(lambda python: shared_environment(needed, python))


@pytest.fixture(scope="session")
def environment(new_environment: Callable[[str], Path]) -> Path:
    """The environment of this Python."""
    return new_environment(sys.executable)


@pytest.fixture
def engine() -> Iterator[None]:
    """A container engine with compose, one test at a time.

    A step of a build has been seen to be killed while another test removed its containers.
    """
    if not answers_to("docker", "info"):
        pytest.skip("no container engine: `docker info` fails")
    if not answers_to("docker", "compose", "version"):
        pytest.skip("no `docker compose`")
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / "engine.lock"):
        yield


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


@pytest.fixture(scope="session")
def make_application(
    request: pytest.FixtureRequest,
    render: Render,
    new_environment: Callable[[str], Path],
) -> Iterator[Callable[[Answers], Application]]:
    """Return a function that renders an application and prepares its databases, once per worker.

    The applications take turns with the Pythons of the machine. All except the min and max
    configurations use Python 3.12 or later, if installed, which measures line coverage fastest.
    """
    made: dict[str, Application] = {}
    turns = {
        label(answers): number
        for number, answers in enumerate(select(request.config).configurations)
    }
    exact = {label(answers) for answers in min_max_configurations()}
    order = list(pythons().values())
    quick = [python for version, python in pythons().items() if version != "3.11"]
    shared = {
        # The template's own tests already use every processor.
        "PYTEST_XDIST_AUTO_NUM_WORKERS": "0",
        "MYPY_CACHE_DIR": str(CACHE / f"types-{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}"),
    }

    def file() -> str:
        return f"sqlite:///{tempfile.mkdtemp(dir=scratch)}/app.db"

    def make_application(answers: Answers) -> Application:
        if label(answers) not in made:
            folder = render(**answers)
            hurried = quick and label(answers) in turns.keys() - exact
            choice = quick if hurried else order
            python = choice[turns.get(label(answers), 0) % len(choice)]
            env = environ(folder, new_environment(python), **shared)
            if hurried:
                env["COVERAGE_RCFILE"] = str(quick_coverage(folder))
            urls = {"DATABASE_URL": file}
            if answers["database"] == "postgresql":
                server: Server = request.getfixturevalue("postgres")
                env["TEST_DATABASE_URL"] = server.database()
                urls["DATABASE_URL"] = server.database
            if answers["use_redis"]:
                urls["REDIS_URL"] = request.getfixturevalue("redis").database
                env["RATE_LIMIT"] = "1000000"  # all tests are one client
            made[label(answers)] = Application(folder, urls, env)
        return made[label(answers)]

    with tempfile.TemporaryDirectory(dir=RAM_DISK) as scratch:
        shared["TMPDIR"] = scratch
        yield make_application
