"""The OpenAPI description, the pages that show it, and whether the service keeps to it."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, Config, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema

from {{ cookiecutter.package_name }}.auth.passwords import Passwords
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.users import service
from {{ cookiecutter.package_name }}.users.models import Role
from {{ cookiecutter.package_name }}.users.schemas import UserCreate

from support import PASSWORD, Account, NewApp, Server, log_in, new_client, settings_for

# No schema can say which passwords are common and which e-mail domains special, what is a cursor
# or the ETag of an item, and that OAuth parameters may not be repeated.
STRICTER_THAN_SCHEMA = (
    "^(register_user|change_my_password|update_user|list_users|list_items|update_item|delete_item"
    "|revoke_token)$"
)
# Raise max_examples, and take out derandomize, to search for longer.
FEW = settings(
    max_examples=3,
    stateful_step_count=6,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_operation_ids_are_the_names_of_the_functions(app: FastAPI) -> None:
    ids = [o["operationId"] for path in app.openapi()["paths"].values() for o in path.values()]

    routes = [r for r in iter_route_contexts(app.routes) if getattr(r, "include_in_schema", False)]
    assert sorted(ids) == sorted(getattr(route.endpoint, "__name__", "") for route in routes)
    assert len(set(ids)) == len(ids)


async def test_errors_are_described_and_locks_are_locked(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            errors = {code: r for code, r in operation["responses"].items() if code >= "400"}
            if path.startswith("/api/"):
                assert errors.keys() >= {"400", "413", "422", "503"}
            for code, response in errors.items():
                oauth = code == "400" and path in ("/api/v1/auth/token", "/api/v1/auth/revoke")
                media_type = "application/json" if oauth else "application/problem+json"
                assert list(response["content"]) == [media_type], (path, code)
            if "security" in operation:
                assert operation["security"] == [{"OAuth2": []}, {"Cookie": []}]
                assert "401" in errors
                url = re.sub(r"{\w+}", str(UUID(int=0)), path)
                for token in (None, "not-a-token"):
                    response = await new_client(app, token).request(method, url)
                    assert response.status_code == 401, (method, path)


async def test_security_schemes_and_examples_work_as_they_are(
    app: FastAPI, member: Account
) -> None:
    components = app.openapi()["components"]
    schemas = components["schemas"].items()
    examples = {name: schema["examples"][0] for name, schema in schemas if "examples" in schema}
    flow = components["securitySchemes"]["OAuth2"]["flows"]["password"]
    form = {"grant_type": "refresh_token", "refresh_token": member.refresh_token}

    assert flow["tokenUrl"] == flow["refreshUrl"]
    assert (await member.client.post(flow["refreshUrl"], data=form)).status_code == 200
    for path, name in {
        "users": "UserCreate",
        "auth/session": "SessionCreate",
        "items": "ItemCreate",
    }.items():
        response = await member.client.post(f"/api/v1/{path}", json=examples.pop(name))
        assert response.status_code == 201
    assert examples == {}
    assert components["securitySchemes"]["Cookie"]["name"] in member.client.cookies


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_pages_need_no_other_host_and_fit_their_policy(
    client: AsyncClient, page: str
) -> None:
    response = await client.get(page)

    policy = response.headers["content-security-policy"]
    assert not re.search("https?:", response.text + policy)
    links = re.findall(r"""(?:src|href|url)(?:=|: )["']([^"']+)""", response.text)
    assert len(links) >= 2
    for link in links:
        assert (await client.get(link)).status_code == 200
    for script in re.findall("<script>(.*?)</script>", response.text, re.DOTALL):
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/assets/favicon.png"])
async def test_documentation_can_be_switched_off(new_app: NewApp, path: str) -> None:
    assert (await new_client(new_app()).get(path)).status_code == 200
    assert (await new_client(new_app(docs_enabled=False)).get(path)).status_code == 404


@pytest.fixture(params=list(Role))
async def description(request: pytest.FixtureRequest, server: Server) -> BaseSchema:
    """The description that a running server gives out, and a token of a user or administrator."""
    email = f"{uuid4().hex}@example.com"
    data = UserCreate.model_validate({"email": email, "password": PASSWORD})
    database = Database(settings_for(server.database_url))
    async with database, database.session() as session:
        await service.register(session, Passwords(rounds=4), data, request.param)
    async with AsyncClient(base_url=server.base_url) as client:
        token = (await log_in(client, email)).json()["access_token"]
    accepted = {"positive_data_acceptance": {"enabled": False}}
    config = {
        "headers": {"Authorization": f"Bearer {token}"},
        # Preparing to make other characters takes longer than all the tests.
        "generation": {"with-security-parameters": False, "codec": "ascii"},
        "checks": {"ignored_auth": {"enabled": False}},  # does not know OAuth 2.0; tested above
        "operations": [{"include-operation-id-regex": STRICTER_THAN_SCHEMA, "checks": accepted}],
    }
    url = f"{server.base_url}/openapi.json"
    return schemathesis.openapi.from_url(url, config=Config.from_dict(config))


def test_every_operation_keeps_to_its_description(description: BaseSchema) -> None:
    for result in description.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        if operation.body or operation.query or operation.path_parameters:
            cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @FEW
        @given(case=cases)
        def keeps_to_it(case: Case[Any]) -> None:
            case.call_and_validate()

        keeps_to_it()


def test_sequences_of_operations_keep_to_their_description(description: BaseSchema) -> None:
    description.as_state_machine().run(settings=FEW)
