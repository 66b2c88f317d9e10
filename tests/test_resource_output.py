"""Generated modules are clean in each mode of access, with each type of field."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import Render
from fastapi_resource.fields import parse
from fastapi_resource.names import Names, singular_of
from fastapi_resource.project import Project
from fastapi_resource.render import Reference, Resource
from fastapi_resource.render import render as render_resource
from harness import CACHE, environ, run

# The modes of access, by the options of the command.
MODES: dict[str, dict[str, Any]] = {
    "private": {},
    "public": {"public": True},
    "restricted": {"admin": True},
    "catalog": {"public": True, "admin": True},
}
FIELDS = """
name:str:40 code:str:unique:optional label:str:default=new note:text? count:int number:int:unique
price:decimal discount:decimal:5,3:default=0.500 weight:float ratio:float:default=0.5 paid:bool
active:bool:default=true born:date happens:datetime ends:datetime? token:uuid key:uuid:unique
contact:email? login:email:unique site:url extra:json? options:json kind:enum:a,b-c:default=a
color:enum:red,green tags:list:str words:list:str?:20 customer:ref:private_others
agent:ref:private_others?:set-null article:ref:public_others:cascade plan:ref:restricted_others
country:ref:catalog_others? responsible_manager:ref:private_others?:set-null
deputy_of_the_agent:ref:private_others?:set-null
"""


def new_resource(mode: str, kind: str, fields: str, *, database: str, redis: bool) -> Resource:
    """Return a resource whose name begins with its mode."""
    parsed = [parse(text) for text in fields.split()]
    references = tuple(
        Reference(field, Names(field.ref, singular_of(field.ref)), field.ref.startswith("private"))
        for field in parsed
        if field.type == "ref"
    )
    plural = f"{mode}_{kind}"
    names = Names(plural, singular_of(plural))
    return Resource(names, parsed, database, redis, **MODES[mode], references=references)


def modules(mode: str, fields: str, **project: Any) -> SimpleNamespace:
    """Return the text of each generated module."""
    files = render_resource(new_resource(mode, "gadgets", fields, **project), "orders")
    return SimpleNamespace(**{Path(path).stem: text for path, text in files.items()})


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_code_is_clean_in_each_mode(database: str, render: Render, environment: Path) -> None:
    project = Project.find(render(database=database, use_redis=True))
    files: dict[str, str] = {}
    for mode in MODES:
        for kind, fields, redis in (
            ("others", "title:str", True),
            ("gadgets", FIELDS, True),
            ("gizmos", FIELDS, False),
            ("notes", "body:text", True),
        ):
            one = new_resource(mode, kind, fields, database=database, redis=redis)
            files |= render_resource(one, project.package)
    paths = [project.folder / path for path in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    project.format(paths)
    cache = f"types-{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}"
    env = environ(project.folder, environment, MYPY_CACHE_DIR=str(CACHE / cache))

    for command in ("ruff check", "mypy", "lint-imports"):
        program, *arguments = command.split()
        run([str(environment / "bin" / program), *arguments], project.folder, env)


@pytest.mark.parametrize(
    ("mode", "fields", "is_cached"),
    [
        ("private", "title:str", True),
        ("public", "title:str", True),
        ("catalog", "title:str", True),
        ("restricted", "title:str", False),
        ("private", "customer:ref:private_others", True),
        ("private", "customer:ref:private_others:cascade", False),
        ("private", "customer:ref:private_others?:set-null", False),
    ],
)
def test_list_is_cached_if_services_make_all_its_changes(
    mode: str, fields: str, *, is_cached: bool
) -> None:
    code = modules(mode, fields, database="sqlite", redis=True)

    assert ("get_or_load" in code.router) == ("invalidate(" in code.service) == is_cached


@pytest.mark.parametrize("redis", [False, True])
def test_list_is_not_cached_without_a_cache(*, redis: bool) -> None:
    code = modules("private", "title:str", database="sqlite", redis=redis)

    assert ("get_or_load" in code.router) == ("invalidate(" in code.service) == redis


@pytest.mark.parametrize(
    ("database", "mode", "constraint"),
    [
        ("postgresql", "private", "uq_private_gadgets_owner_id_code"),
        ("postgresql", "public", "uq_public_gadgets_code"),
        ("sqlite", "private", "private_gadgets.owner_id, private_gadgets.code"),
        ("sqlite", "catalog", "catalog_gadgets.code"),
    ],
)
def test_values_are_unique_for_those_who_see_them(
    database: str, mode: str, constraint: str
) -> None:
    code = modules(mode, "code:str:unique", database=database, redis=False)

    assert f'"{constraint}"' in code.service


@pytest.mark.parametrize(
    ("mode", "columns"),
    [
        ("private", ["owner_id created_at id", "owner_id price id", "agent_id created_at id"]),
        (
            "public",
            ["created_at id", "price id", "owner_id created_at id", "agent_id created_at id"],
        ),
        ("catalog", ["created_at id", "price id", "agent_id created_at id"]),
    ],
)
def test_each_order_and_reference_has_an_index(mode: str, columns: list[str]) -> None:
    fields = "price:decimal code:str:unique note:str? agent:ref:catalog_others"
    code = modules(mode, fields, database="postgresql", redis=False)

    found = re.findall(r'Index\("\w+", (.+)\)', code.models)

    assert [index.replace('"', "").replace(",", "") for index in found] == columns


@pytest.mark.parametrize("number", [1, 2, 3])
def test_errors_name_every_reference_and_unique_field(number: int) -> None:
    references = ["customer:ref:private_customers", "plan:ref:restricted_plans", "a:ref:a_fees"]
    uniques = ["code:str:unique", "reference_number:int:unique", "contact:email:unique"]
    fields = " ".join(references[:number] + uniques[:number])

    code = modules("private", fields, database="postgresql", redis=False)

    docstring = re.sub(r"\s+", " ", code.service)
    referenced = {
        1: "private customer does not",
        2: "private customer or restricted plan does not",
        3: "private customer, restricted plan or a fee does not",
    }
    conflicting = {
        1: "code",
        2: "code or reference number",
        3: "code, reference number or contact",
    }
    conflict = f"there is a private gadget with this {conflicting[number]} already."
    assert f"NotFoundError: the {referenced[number]} exist" in docstring
    assert f"ConflictError: {conflict}" in docstring


def test_version_and_cleared_references_are_in_the_etag() -> None:
    fields = "customer:ref:private_others?:set-null agent:ref:private_others"

    code = modules("private", fields, database="sqlite", redis=False)

    parts = re.findall(r"f'\W+private_gadget\.(\w+)}'", code.router)
    assert parts == ["version", "customer_id"]
    assert "etag_of(private_gadget.version)" not in code.router
