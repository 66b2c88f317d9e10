"""The OpenAPI description, and whether the service conforms to it."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper
from sqlalchemy.schema import sort_tables

from {{ cookiecutter.package_name }} import api
from {{ cookiecutter.package_name }}.auth.models import Role, User
from {{ cookiecutter.package_name }}.auth.principal import Principal
from {{ cookiecutter.package_name }}.database import Base, utcnow
from {{ cookiecutter.package_name }}.dependencies import (
    DbSession,
    ReadSession,
)
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.state import get_state

from support import (
    PASSWORD,
    Account,
    NewDatabase,
    new_account,
    new_client,
    pointers,
    serve,
    settings_for,
)

if TYPE_CHECKING:
    from schemathesis.schemas import BaseSchema

USERS = "/api/v1/users"
INVALID_TEXT = ("a\0", "\ud800", "abcdefghijkl\udfff")  # neither UTF-8 nor a database can store it


class Operation(NamedTuple):
    """An operation of the description."""

    method: str
    path: str
    description: dict[str, Any]
    schema: dict[str, Any]  # of the JSON body

    @property
    def url(self) -> str:
        """Return the path with parameters that identify no resource."""
        return re.sub(r"{\w+}", str(UUID(int=0)), self.path)

    @property
    def has_id(self) -> bool:
        """Return whether the path has the id of a row."""
        parameters = self.description.get("parameters", [])
        return any(one["in"] == "path" and "uuid" in one["schema"].values() for one in parameters)

    @property
    def example(self) -> dict[str, Any]:
        """Return the members of the JSON body that have an example."""
        members = self.properties.items()
        return {name: schema["examples"][0] for name, schema in members if "examples" in schema}

    @property
    def is_stricter_than_its_schema(self) -> bool:
        """Return whether the service may reject a request that conforms to the description.

        No schema can express which passwords are common, which email domains are reserved, which
        URLs are HTTP, how large JSON may be, what is a cursor or the token of an email, and that
        OAuth parameters must not be repeated.
        """
        parameters = [parameter["name"] for parameter in self.description.get("parameters", [])]
        is_form = "requestBody" in self.description and not self.schema
        strict = ('"format": "email"', '"format": "uri"', '"additionalProperties": true')
        has_strict_type = any(schema in json.dumps(self.schema) for schema in strict)
        has_secret = not self.properties.keys().isdisjoint({"new_password", "token"})
        return is_form or has_strict_type or has_secret or "cursor" in parameters

    @property
    def properties(self) -> dict[str, Any]:
        """Return the schemas of the members of the JSON body."""
        properties: dict[str, Any] = self.schema.get("properties", {})
        return properties


def operations(app: FastAPI) -> Iterator[Operation]:
    """Yield the operations of the description."""
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method, description in methods.items():
            content = description.get("requestBody", {}).get("content", {})
            reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
            schema = document["components"]["schemas"].get(reference.rpartition("/")[2], {})
            yield Operation(method, path, description, schema)


async def test_errors_are_described_and_credentials_required(app: FastAPI) -> None:
    for method, path, description, _ in (all_operations := list(operations(app))):
        errors = {code: r for code, r in description["responses"].items() if code >= "400"}
        if path.startswith("/api/"):
            assert errors.keys() >= {"400", "413", "422", "503"}
        for code, response in errors.items():
            oauth = {"/api/v1/auth/token": {"400", "401"}, "/api/v1/auth/revoke": {"400"}}
            is_oauth = code in oauth.get(path, set())
            media_type = "application/json" if is_oauth else "application/problem+json"
            assert list(response["content"]) == [media_type], (method, path, code)

    for operation in all_operations:
        if "security" in operation.description:
            [(_, [scope])] = operation.description["security"][0].items()
            assert operation.description["security"] == [{"OAuth2": [scope]}, {"Cookie": [scope]}]
            assert operation.description["responses"].keys() >= {"401", "403"}
            for token in (None, "not-a-token"):
                response = await new_client(app, token).request(operation.method, operation.url)
                assert response.status_code == 401, operation.path


async def test_unsafe_requests_with_cookies_require_a_csrf_token(
    app: FastAPI, member: Account
) -> None:
    login = {"email": member.email, "password": PASSWORD}
    async with new_client(app) as browser, new_client(app) as other_browser:
        for client in (browser, other_browser):
            await client.post("/api/v1/auth/session", json=login)
        other_token = other_browser.cookies["__Host-csrf"]
        for operation in operations(app):
            if "security" in operation.description and operation.method != "get":
                for token in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": other_token}):
                    headers = {"Origin": "https://test"} | token
                    response = await browser.request(
                        operation.method, operation.url, headers=headers
                    )
                    assert response.status_code == 403, operation.path
        assert (await browser.get("/api/v1/users/me")).status_code == 200


async def test_examples_are_valid_requests(app: FastAPI, admin: Account) -> None:
    requested = set()

    # The example of the login is the account that the example of the registration creates.
    for operation in sorted(operations(app), key=lambda operation: operation.path != USERS):
        body = operation.example
        is_complete = body and body.keys() >= set(operation.schema.get("required", ()))
        if is_complete and operation.url == operation.path:  # no resource that must exist
            response = await admin.client.request(operation.method, operation.url, json=body)
            assert response.status_code < 400, (operation.path, response.text)
            requested.add(operation.path)

    assert {USERS, "/api/v1/auth/session"} <= requested


async def test_invalid_text_in_a_body_is_rejected(app: FastAPI, admin: Account) -> None:
    members = [
        (operation, name)
        for operation in operations(app)
        for name, schema in operation.properties.items()
        if '"string"' in json.dumps(schema)
    ]
    assert members

    headers = {"Content-Type": "application/json"}
    for operation, name in members:
        for text in INVALID_TEXT:
            body = json.dumps({name: text})
            response = await admin.client.request(
                operation.method, operation.url, content=body, headers=headers
            )
            assert f"/body/{name}" in pointers(response), (operation.path, name, text)
            assert "codec" not in response.text


def new_value(python_type: Any) -> object:
    """Return a value of a column."""
    if isinstance(python_type, type) and issubclass(python_type, Enum):
        return next(iter(python_type))
    times = {datetime: utcnow(), date: utcnow().date()}
    container = get_origin(python_type) or python_type
    return container() if container in {dict, list} else times.get(python_type) or python_type(1)


def new_row(mapper: Mapper[Any], key: UUID) -> object:
    """Return a row to be stored, with this id, which refers to rows with the same id."""
    values: dict[str, object] = {}
    hints = get_type_hints(mapper.class_)
    for name, column in mapper.columns.items():
        [python_type] = get_args(hints[name])
        has_default = column.default is not None or column is mapper.version_id_col
        if python_type is UUID:
            values[name] = key
        elif not column.nullable and not has_default:
            values[name] = new_value(python_type)
    return mapper.class_(**values)


async def test_ids_of_other_users_are_rejected(
    app: FastAPI, member: Account, admin: Account, session: AsyncSession
) -> None:
    mappers: dict[Any, Mapper[Any]] = {one.local_table: one for one in Base.registry.mappers}
    for table in sort_tables(mappers):
        if mappers[table].class_ is not User:
            session.add(new_row(mappers[table], admin.id))
            await session.flush()
    await session.commit()

    for operation in filter(lambda operation: operation.has_id, operations(app)):
        url = re.sub(r"{\w+}", str(admin.id), operation.path)
        response = await member.client.request(operation.method, url, json=operation.example)
        if operation.method == "get":
            assert (await admin.client.get(url)).status_code == 200, url
        if operation.method == "get" and response.status_code == 200:
            # All users may read this row, so it is in their list, too.
            listed = await member.client.get(operation.path.partition("/{")[0])
            assert [row["id"] for row in listed.json()["items"]] == [str(admin.id)], url
        else:
            assert response.status_code in {403, 404}, (operation, response.text)


@pytest.fixture
async def description(new_database: NewDatabase, tmp_path: Path) -> AsyncIterator["BaseSchema"]:
    """Load the description from a running server, with the token of an administrator."""
    from schemathesis import Config, openapi

    # 412: an If-Match that does not name the current version.
    statuses = ["2xx", "401", "403", "404", "409", "412"]
    async with new_database() as url:
        settings = settings_for(url, login_attempts_per_address=1_000_000)
        app = create_app(settings)
        database = get_state(app).database
        async with database, database.write_session() as session:
            account = await new_account(app)
            await session.execute(update(User).values(role=Role.ADMIN))
        config = {
            "headers": dict(account.client.headers),
            "request-timeout": 60,
            # Preparing other characters takes longer than all the tests.
            "generation": {"with-security-parameters": False, "codec": "ascii"},
            "checks": {
                "ignored_auth": {"enabled": False},  # does not know OAuth 2.0; tested above
                "positive_data_acceptance": {"expected-statuses": statuses},
            },
            "operations": [
                {
                    "include-operation-id": operation.description["operationId"],
                    "checks": {"positive_data_acceptance": {"enabled": False}},
                }
                for operation in operations(app)
                if operation.is_stricter_than_its_schema
            ],
        }
        with serve(settings, tmp_path / "log") as server:
            published = f"{server.base_url}/openapi.json"
            yield openapi.from_url(published, config=Config.from_dict(config))


def test_every_operation_conforms_to_the_description(description: "BaseSchema") -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import Case, GenerationMode
    from schemathesis.core.result import Ok

    # To search for longer, raise max_examples and remove derandomize.
    quick = settings(
        max_examples=3,
        stateful_step_count=6,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for result in description.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        if operation.body or operation.query or operation.path_parameters:
            cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @quick
        @given(case=cases)
        def conforms(case: Case[Any]) -> None:
            case.call_and_validate()

        conforms()
    description.as_state_machine().run(settings=quick)  # sequences of operations


def test_caller_is_authenticated_before_a_connection_is_acquired() -> None:
    for route in (route for router in api.ROUTERS for route in router.routes):
        assert isinstance(route, APIRoute)
        hints = [*get_type_hints(route.endpoint, include_extras=True).values()]
        sessions = [index for index, hint in enumerate(hints) if hint in (DbSession, ReadSession)]
        are_callers = [get_args(hint)[:1] == (Principal,) for hint in hints]
        assert not any(are_callers[max(sessions, default=len(hints)) :]), route.path
