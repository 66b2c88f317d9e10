"""Resources of `poe resource` in the applications: their checks, migrations and tests."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness import Application, generate_resource
from questions import MIN_AND_MAX, Answers, configurations, label

# Every type of a field, and a reference.
CUSTOMERS = "name:str email:email:unique birthday:date? website:url? active:bool:default=true"
INVOICES = """
    number:str:unique customer:ref:customers amount:decimal status:enum:open,paid tags:list:str
    quantity:int weight:float? sent:datetime? batch:uuid? notes:text? extra:json?
"""
RESOURCES = [f"customers {CUSTOMERS}", f"invoices {INVOICES}"]
# Other users read these, or administrators write them.
SHARED = [
    "articles title:str slug:str:unique --public",
    "comments body:text article:ref:articles:cascade --public",
    "budgets total:decimal --admin",
    "plans name:str:unique price:decimal --public --admin",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test in the min and max configurations, or with --all in every application."""
    every = metafunc.config.getoption("all")
    values = configurations(every=True) if every else MIN_AND_MAX
    metafunc.parametrize("answers", values, ids=label, scope="module")


@pytest.fixture(scope="module")
def app(
    answers: Answers,
    make_application: Callable[[Answers], Application],
    tmp_path_factory: pytest.TempPathFactory,
) -> Application:
    """Each application in turn, with resources."""
    original = make_application(answers)
    folder = tmp_path_factory.mktemp("resources") / original.folder.name
    shutil.copytree(original.folder, folder)
    app = replace(original, folder=folder, env=original.env | {"PYTHONPATH": str(folder / "src")})
    settings = app.settings()
    *others, last = SHARED * (answers in MIN_AND_MAX) + RESOURCES
    for line in others:
        generate_resource(folder, settings, *line.split(), "--no-migration")
    generate_resource(folder, settings, *last.split())  # its migration is also theirs
    return app


@pytest.mark.slow
def test_checks_are_clean(app: Application) -> None:
    for task in ("lint", "types"):
        app.run("poe", "--executor", "simple", task)


@pytest.mark.slow
def test_migrations_are_reversible_and_match_the_models(app: Application) -> None:
    commands = ("upgrade head", "check", "downgrade base", "upgrade head")
    program = "import sys\nfrom alembic.config import main\n"
    program += "for command in sys.argv[1:]:\n    main(command.split())"

    app.run("python", "-c", program, *commands, **app.settings())


@pytest.mark.slow
def test_own_tests_pass(
    app: Application, answers: Answers, record_property: Callable[[str, object], None]
) -> None:
    if answers in MIN_AND_MAX:
        output = app.run("poe", "--executor", "simple", "coverage")
    else:
        output = app.run("pytest", "tests/customers", "tests/invoices", "tests/test_openapi.py")

    [passed] = re.findall(r"(\d+) passed", output)
    record_property("executed", int(passed))
