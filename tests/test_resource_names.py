"""Names of a resource are derived as an English speaker would, or rejected in one sentence."""

import ast
import builtins
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from conftest import Render
from fastapi_resource.add import new_resource
from fastapi_resource.fields import parse_all
from fastapi_resource.names import (
    RESERVED_FIELDS,
    USED_CLASSES,
    USED_VARIABLES,
    Names,
    resource_names,
    singular_of,
)
from fastapi_resource.project import Project
from fastapi_resource.render import render as render_resource
from harness import run

SENTENCE = re.compile(r"[^\n]+[.:] [^\n]+\.|[^\n.]+\.")
SINGULARS = """
addresses address, aliases alias, analyses analysis, articles article, axes axis, bases base,
batches batch, biases bias, bonuses bonus, boxes box, branches branch, buses bus, businesses
business, caches cache, cases case, categories category, causes cause, children child, cities city,
classes class, courses course, crises crisis, criteria criterion, databases database, dishes dish,
echoes echo, expenses expense, focuses focus, gases gas, halves half, heroes hero, houses house,
hypotheses hypothesis, indices index, invoices invoice, keys key, knives knife, leaves leaf,
lenses lens, licenses license, lives life, matches match, matrices matrix, menus menu, mice mouse,
movies movie, order_lines order_line, parentheses parenthesis, parties party, people person,
prizes prize, processes process, purchases purchase, quizzes quiz, releases release,
responses response, salespeople salesperson, shelves shelf, shoes shoe, sizes size, spouses spouse,
statuses status, stock_indices stock_index, taxes tax, tax_reliefs tax_relief, ties tie,
tomatoes tomato, toys toy, vertices vertex, viruses virus, warehouses warehouse, wishes wish,
wikis wiki, wolves wolf, women woman, workspaces workspace
"""
# Names that cannot work, by a part of the sentence that says why.
REJECTED = {
    "use lowercase words with underscores": "Orders order-lines _orders orders_ a__b 1orders é s",
    "use at most 25 characters": "lines_of_purchase_orders_x",
    "same plural": "news sheep series data media information invoice us access analysis",
    "a dependency or generated code uses": """
        types statistics secrets warnings credits models pages statements tests values as
    """,
    "another singular": """
        classes imports asyncs properties filters formats hashes inputs lists objects sets strings
        texts licenses
        exceptions bases queries responses sessions services routers urls dates decimals users
        owners accounts principals members readers writers
    """,
}
EVERY_TYPE = """
zcode:str:unique znote:text? zcount:int zprice:decimal zweight:float zactive:bool:default=true
zborn:date zat:datetime ztoken:uuid zcontact:email? zsite:url zextra:json? zkind:enum:a,b:default=a
ztags:list:str zshort:str:10 zitem:ref:items:cascade zother:ref:items?:set-null
"""
ATTRIBUTES = """
from {package}.database import Base
from {package}.schemas import RequestModel, ResponseModel
from sqlalchemy import Row
for cls in (Base, RequestModel, ResponseModel):
    print(*dir(cls), *dir(type(cls)))
# Rows of a query with a column `count` or `index` have its value instead of the method.
print(*set(dir(Row)) - {{"count", "index"}})
"""


def test_singular_is_derived() -> None:
    for line in SINGULARS.replace("\n", " ").split(","):
        plural, singular = line.split()
        assert singular_of(plural) == singular


@pytest.mark.parametrize(
    ("singular", "article", "cls"),
    [
        ("order_line", "an order line", "OrderLine"),
        ("invoice", "an invoice", "Invoice"),
        ("hour", "an hour", "Hour"),
        ("house", "a house", "House"),
        ("unit", "a unit", "Unit"),
        ("upload", "an upload", "Upload"),
        ("use_case", "a use case", "UseCase"),
        ("one_time_code", "a one time code", "OneTimeCode"),
        ("v2_order", "a v2 order", "V2Order"),
    ],
)
def test_names_in_sentences_and_code(singular: str, article: str, cls: str) -> None:
    names = Names(f"{singular}s", singular)

    assert (names.a, names.cls) == (article, cls)


def test_names_in_paths() -> None:
    names = resource_names("order_lines", None)

    assert (names.url, names.words, names.word) == ("order-lines", "order lines", "order line")


@pytest.mark.parametrize(
    ("reason", "plural"),
    [(reason, plural) for reason, plurals in REJECTED.items() for plural in plurals.split()],
)
def test_names_that_cannot_work_are_rejected(reason: str, plural: str) -> None:
    with pytest.raises(click.UsageError) as error:
        resource_names(plural, None)

    assert reason in error.value.message
    assert SENTENCE.fullmatch(error.value.message)


@pytest.fixture(scope="module")
def modules(render: Render) -> list[tuple[str, ast.Module]]:
    """All modules that the generator can write, with names that no template has, by their file."""
    names = Names("zresources", "zresource")
    fields = parse_all(EVERY_TYPE.split(), names)
    plain = [field for field in fields if not field.ref]
    projects = [
        Project.find(render(database=database, use_redis=optional, use_admin=optional))
        for database in ("postgresql", "sqlite")
        for optional in (False, True)
    ]
    return [
        (path.rpartition("/")[2], ast.parse(text))
        for project in projects
        for public, admin in itertools.product((False, True), repeat=2)
        for chosen in (fields, plain)
        for path, text in render_resource(
            new_resource(project, names, chosen, public=public, admin=admin),
            project.package,
            has_admin=project.has_admin,
        ).items()
    ]


def names_of(node: ast.AST) -> set[str]:
    """Return the names that a statement defines, imports or uses."""
    names: set[str] = set()
    for one in ast.walk(node):
        match one:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                names.add(name)
            case ast.alias():
                names.add(one.asname or one.name)
    return names


def names_in_scope(module: ast.Module) -> Iterator[str]:
    """Yield the names that a name of the resource would hide in a module or in a function."""
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            yield from names_of(statement)
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from names_of(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
            if names_of(node) & {"zresource", "zresources", "zresource_id"}:
                yield from names_of(node)


def test_names_in_generated_code_are_reserved(modules: list[tuple[str, ast.Module]]) -> None:
    used = {
        name
        for _, module in modules
        for name in names_in_scope(module)
        if not re.search("^_|^test_|z|item", name.lower()) and not name.isupper()
    } - {"self", *dir(builtins)}

    variables = {name for name in used if name.islower()}
    # A resource has parameters such as `order_id`, and functions such as `create_order`.
    derived = {
        re.sub("^(create|delete|get|list|new|read|update)_|_id$", "", name) for name in variables
    }
    assert variables | derived == USED_VARIABLES
    assert used - variables == USED_CLASSES


def test_names_in_the_bodies_of_classes_are_reserved(modules: list[tuple[str, ast.Module]]) -> None:
    used = {
        node.id
        for file, module in modules
        for cls in ast.walk(module)
        if isinstance(cls, ast.ClassDef) and file in ("models.py", "schemas.py")
        for node in ast.walk(cls)
        if isinstance(node, ast.Name) and node.id.islower() and node.id[0] not in "_z"
    }

    assert used <= RESERVED_FIELDS.keys()


def test_attributes_of_models_bodies_and_rows_are_reserved(
    render: Render, environment: Path
) -> None:
    project = Project.find(render())
    program = ATTRIBUTES.format(package=project.package)

    attributes = run(
        [str(environment / "bin" / "python"), "-c", program], project.folder / "src"
    ).split()

    assert {name for name in attributes if name[0] != "_"} <= RESERVED_FIELDS.keys()
