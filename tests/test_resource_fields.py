"""Fields of a resource generate working code on each database, or are rejected in one sentence."""

import sys
from pathlib import Path
from typing import Any

import click
import pytest

from conftest import Render
from fastapi_resource.add import new_resource
from fastapi_resource.fields import parse, parse_all
from fastapi_resource.names import Names, resource_names
from fastapi_resource.project import Project
from fastapi_resource.render import render as render_resource
from harness import environ, run
from test_resource_names import SENTENCE

# Fields that cannot work, by a part of the sentence that says why.
REJECTED = {
    "begin with a name": ":str UUID:uuid _:str from_:str a__b:str 2nd:str é:str a-b:str",
    "choose a type": "x x: x:foo x:Str x:str?? x::str x:varchar x:unique x:optional x:?",
    "write 'x:str[:LENGTH]'": "x:str:-1 x:str:5:6 x:str: x:str:five x:str:1000000 x:str:٣",
    "use a length from 1 to 200": "x:str:0 x:str:201 x:list:str:0 x:list:str:201",
    "use a length from 1 to 100000": "x:text:0 x:text:100001",
    "write 'x:int'": "x:int:5",
    "write 'x:decimal[:DIGITS,PLACES]'": "x:decimal:5 x:decimal:a,b x:decimal:5,2,1 x:decimal:,",
    "use at most 18 digits": "x:decimal:2,2 x:decimal:19,2 x:decimal:10,0 x:decimal:0,0",
    "write 'x:enum:VALUE,VALUE'": "x:enum x:enum:unique",
    "list different values": "x:enum:a,a x:enum:a,A x:enum:1 x:enum:a, x:enum:a-b,a_b x:enum:a:b",
    "linters do not take for a password": "x:enum:password,api-token x:enum:secret_x,open",
    "write 'x:list:str[:LENGTH]'": "x:list x:list:int x:list:str:five",
    "write 'x:ref:RESOURCE": "x:ref x:ref:Items x:ref:items:delete x:ref:items:cascade:restrict",
    "set-null needs an optional field": "x:ref:items:set-null",
    "can be unique": "x:bool:unique x:json:unique x:text:unique x:date:unique x:enum:a:unique",
    "length of at least 8": "x:str:7:unique",
    "cannot be the default": """
        x:int:default=a x:int:default=9999999999999999 x:int:default=٣ x:int:default=
        x:float:default=nan x:float:default=1e999 x:bool:default=yes x:bool:default=True
        x:enum:a,b:default=c x:decimal:default=1.234 x:decimal:default=1e5 x:decimal:default=
        x:str:default= x:str:3:default=abcd token:str:default=abc x:date:default=2020-01-01
        x:list:str:default=a x:text:default=a x:json:default={} x:url:default=a x:uuid:default=a
        x:ref:items:default=a
    """,
    "choose a default that linters accept": """
        x:str:default=0.0.0.0 x:str:default=/tmp x:str:default=/tmp/x x:str:default=/tmpx
        x:str:default=/var/tmp/x x:str:default=/dev/shm
    """,
    "put ':default=' last": """
        x:str:default=a:optional x:str:default=a:unique x:int:default=1:default=2
        x:enum:a,b:default=a:optional x:str:unique:default=a:optional
    """,
    "unique field cannot have a default": "x:str:unique:default=a x:int:optional:unique:default=1",
    "every resource has this field": "id:int owner:ref:users version:int created_at:date",
    "lists have a parameter": "q:str sort:str limit:int cursor:str",
    "models have an attribute": "metadata:json registry:str",
    "bodies have an attribute": """
        copy:str json:json dict:str schema:str model_dump:str validate:bool register:str mro:int
    """,
    "rows of a list have an attribute": "t:int tuple:str",
    "begin with 'model_dump' or": "model_dump_at:date model_validated:bool model_dump:ref:items",
    "generated modules use this name": "str:str date:date datetime:datetime list:list:str self:str",
    "keyword of Python": "class:str import:str from:date global:bool",
    "at most 40 characters": "a_name_that_is_too_long_for_any_column_xy:str",
}
# Fields that cannot work together, by what both would generate.
CONFLICTS = {
    "due": "due:date due:int",
    "item_id": "item:ref:items item_id:uuid",
    "age_min": "age:int age_min:bool",
    "age_max": "age_max:uuid age:date",
    "X1": "x1:text x_1:list:str",
    "GadgetCreate": "create:enum:a,b",
    "GadgetStatus": "status:enum:a,b gadget_status:text",
}
# The fields of one resource each.
ACCEPTED = """
title:str
title:str:1
title:str:8:unique
title:str:200:optional:unique
title:str? second:str third:str:20?
title:str:default=a"b'c\\d{e}%s$f#
title:str:default=é
host:str:default=:: path:str:default=/srv/tmp address:str:default=0.0.0.0:80
body:text
body:text:1
number:int
number:int:unique
number:int:default=-999999999999999
weight:float
price:decimal
price:decimal:2,1
price:decimal:18,17?
price:decimal:5,3:default=1.5
active:bool
active:bool?:default=false
born:date
at:datetime at_noon:datetime?
token:uuid
token:uuid:unique
contact:email:unique
site:url?
extra:json?
status:enum:a
status:enum:in-progress,done?:default=done
status:enum?:mro,name,value
password:str secret:str? passenger:str:default=a token:text compass:enum:passed,tokens
tags:list:str
item:ref:items
item_id:ref:items?
first:ref:items:cascade second:ref:items?:set-null third:ref:items:restrict
class:ref:items version:ref:items json:ref:items
gadget:text gadgets:list:str query:str:10 read:decimal
order:int group:str user:str desc:str select:str end:date table:str column:str primary:bool all:int
check:bool default:str unique:bool index:text limits:int offset:int where:str join:str union:int
text:text decimal:decimal uuid:uuid email:email url:url enum:enum:a,b field:text float_value:float
any:text annotated:text literal:text response:list:str base:decimal page:text none:text true:text
type:str match:str case:str key:str keys:str items:int values:int get:str update:str name:str
session:str data:str value:str query:str count:int min:int max:int filter:str format:str hash:int
input:str object:str property:str range:int set:list:str warning:text exception:text super:text
client:str account:str member:str service:str statement:str principal:str path:str
"""
PLURALS = """
order_lines groups tables columns views triggers functions references
joins unions matches cases clients people children statuses_of_orders addresses boxes analyses
categories days heroes x_y_zs a1s v2_orders buzzes testimonials test_runs units uploads tokens
purchase_order_line_items versions events notes labels comments articles
"""
# Imports all resources, and creates and reads their tables.
READ_TABLES = """
import asyncio, importlib, sys
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

package, url, *resources = sys.argv[1:]
for name in resources:
    importlib.import_module(f"{package}.{name}.router")
metadata = importlib.import_module(f"{package}.database").Base.metadata

async def main():
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        for table in metadata.sorted_tables:
            await connection.execute(select(table))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("reason", "text"),
    [(reason, text) for reason, texts in REJECTED.items() for text in texts.split()],
)
def test_fields_that_cannot_work_are_rejected(reason: str, text: str) -> None:
    with pytest.raises(click.UsageError) as error:
        parse(text)

    assert error.value.message.startswith(f"{text!r}: ")
    assert reason in error.value.message
    assert SENTENCE.fullmatch(error.value.message)


@pytest.mark.parametrize(("name", "texts"), CONFLICTS.items())
def test_fields_that_cannot_work_together_are_rejected(name: str, texts: str) -> None:
    with pytest.raises(click.UsageError) as error:
        parse_all(texts.split(), Names("gadgets", "gadget"))

    assert repr(name) in error.value.message
    assert SENTENCE.fullmatch(error.value.message)


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("x:int:default=-3", -3),
        ("x:float:default=1.50", 1.5),
        ("x:bool:default=false", False),
        ("x:decimal:default=1.5", "1.50"),
        ("x:decimal:default=-0", "0.00"),
        ("x:enum:a,b:default=b", "b"),
        ("x:str:default=what?", "what?"),
        ("x:str:default=9:30", "9:30"),
        ("x:str:9:default=::", "::"),
    ],
)
def test_default_is_as_in_a_response(text: str, default: Any) -> None:
    field = parse(text)

    assert (field.default, field.has_default, field.required) == (default, True, False)
    assert not field.nullable


@pytest.mark.parametrize(
    "text", ["x:date?", "x:date:optional", "x:enum:a,b?", "x:list:str?", "x:str:9?:unique"]
)
def test_optional_fields(text: str) -> None:
    field = parse(text)

    assert field.nullable
    assert not field.required


def test_sample_values_ascend_in_lists_that_are_sorted() -> None:
    for text in ("x:str:1", "x:int", "x:float", "x:date", "x:datetime", "x:uuid", "x:email"):
        values = parse(text).values
        assert values == sorted(values)
        assert len(set(values)) == 3


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def project(request: pytest.FixtureRequest, render: Render) -> Project:
    """A project with all these resources, formatted as the command does."""
    project = Project.find(render(database=request.param))
    gadgets = [
        (Names(f"gadgets{number}", f"gadget{number}"), texts)
        for number, texts in enumerate(ACCEPTED.strip().splitlines())
    ]
    others = [(resource_names(plural, None), "title:str due:date?") for plural in PLURALS.split()]
    paths = []
    for number, (names, texts) in enumerate([*gadgets, *others]):
        # Items belong to their owners, so only owned resources refer to them.
        public, admin = (number & 1 > 0, number & 2 > 0) if "ref:" not in texts else (False, False)
        resource = new_resource(
            project, names, parse_all(texts.split(), names), public=public, admin=admin
        )
        for name, text in render_resource(resource, project.package).items():
            path = project.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            paths.append(path)
    project.format(paths)
    return project


def test_generated_code_has_no_lint(project: Project) -> None:
    run([sys.executable, "-m", "ruff", "check", "src", "tests"], project.folder)
    run([sys.executable, "-m", "ruff", "format", "--check", "src", "tests"], project.folder)


@pytest.mark.slow
def test_generated_code_is_imported_and_its_tables_are_read(
    project: Project, environment: Path, request: pytest.FixtureRequest
) -> None:
    url = "sqlite+aiosqlite://"
    if project.database == "postgresql":
        url = request.getfixturevalue("postgres").database()
        url = url.replace("postgresql:", "postgresql+asyncpg:").replace("sslmode", "ssl")
    resources = [path.parent.name for path in project.source.glob("*/router.py")]

    run(
        [str(environment / "bin" / "python"), "-c", READ_TABLES, project.package, url, *resources],
        project.folder,
        environ(project.folder, environment),
    )


@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
def test_generated_tests_are_collected(project: Project, environment: Path) -> None:
    env = environ(project.folder, environment)
    folders = [f"tests/{plural}" for plural in PLURALS.split()]

    run(
        [str(environment / "bin" / "python"), "-m", "pytest", "-q", "--collect-only", *folders],
        project.folder,
        env,
    )
