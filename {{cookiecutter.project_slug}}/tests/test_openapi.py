"""The OpenAPI description, the pages that show it, and whether the service keeps to it."""

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import urljoin
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from httpx2 import AsyncClient
from sqlalchemy import update

from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentAdmin,
    CurrentPrincipal,
)
from {{ cookiecutter.package_name }}.auth.models import Role, User
from {{ cookiecutter.package_name }}.dependencies import (
    DbSession,
    ReadSession,
)
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.state import get_state

from support import Account, NewApp, NewDatabase, new_account, new_client, serve, settings_for

if TYPE_CHECKING:
    from schemathesis.schemas import BaseSchema

# No schema can say which passwords are common and which e-mail domains special, what is a cursor,
# and that OAuth parameters may not be repeated.
STRICTER_THAN_SCHEMA = r"^(register_user|change_my_password|update_user|list_\w+|revoke_token)$"


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
    for path, operations in app.openapi()["paths"].items():
        body = str(operations.get("post", {}).get("requestBody"))
        for name in [name for name in examples if f"/{name}'" in body]:
            response = await member.client.post(path, json=examples.pop(name))
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


@pytest.mark.parametrize(
    ("environment", "enabled", "status"),
    [
        ("test", None, 200),
        ("test", False, 404),
        ("production", None, 404),
        ("production", True, 200),
    ],
)
async def test_documentation_is_served_as_settings_say(
    new_app: NewApp, environment: str, enabled: bool | None, status: int
) -> None:
    settings = {"allowed_hosts": ["test"], "bcrypt_rounds": 10, "docs_enabled": enabled}
    client = new_client(new_app(environment=environment, **settings))

    for path in ("/docs", "/redoc", "/openapi.json", "/docs/assets/favicon.png"):
        assert (await client.get(path)).status_code == status


@pytest.fixture
async def description(new_database: NewDatabase, tmp_path: Path) -> AsyncIterator["BaseSchema"]:
    """The description that a running server gives out, and the token of an administrator."""
    from schemathesis import Config, openapi

    # 412 is for an If-Match that names no version of the resource.
    answers = ["2xx", "401", "403", "404", "409", "412"]
    accepted = {"positive_data_acceptance": {"enabled": False}}
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
            # Preparing to make other characters takes longer than all the tests.
            "generation": {"with-security-parameters": False, "codec": "ascii"},
            # Does not know OAuth 2.0; tested above.
            "checks": {
                "ignored_auth": {"enabled": False},
                "positive_data_acceptance": {"expected-statuses": answers},
            },
            "operations": [
                {"include-operation-id-regex": STRICTER_THAN_SCHEMA, "checks": accepted}
            ],
        }
        with serve(settings, tmp_path / "log") as server:
            published = f"{server.base_url}/openapi.json"
            yield openapi.from_url(published, config=Config.from_dict(config))


def test_description_fits_the_standard(app: FastAPI) -> None:
    from schemathesis.openapi import from_dict

    document = deepcopy(app.openapi())
    # Relative URLs are right (OpenAPI 3.1 section 4.6), but not known to the published schema.
    flow = document["components"]["securitySchemes"]["OAuth2"]["flows"]["password"]
    flow |= {name: urljoin("https://test", flow[name]) for name in ("tokenUrl", "refreshUrl")}
    from_dict(document).validate()


def test_every_operation_keeps_to_its_description(description: "BaseSchema") -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import Case, GenerationMode
    from schemathesis.core.result import Ok

    # Raise max_examples, and take out derandomize, to search for longer.
    few = settings(
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

        @few
        @given(case=cases)
        def keeps_to_it(case: Case[Any]) -> None:
            case.call_and_validate()

        keeps_to_it()
    description.as_state_machine().run(settings=few)  # sequences of operations, too


def test_caller_is_authenticated_before_a_connection_is_held(app: FastAPI) -> None:
    for context in iter_route_contexts(app.routes):
        if isinstance(context.route, APIRoute):
            hints = [*get_type_hints(context.route.endpoint, include_extras=True).values()]
            held = [number for number, hint in enumerate(hints) if hint in (DbSession, ReadSession)]
            callers = [hint in (CurrentAdmin, CurrentPrincipal) for hint in hints]
            assert not any(callers[max(held, default=len(hints)) :]), context.path
