"""The documentation pages and the OpenAPI document."""

import re
from base64 import b64encode
from copy import deepcopy
from hashlib import sha256
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from orders import api
from support import NewApp, new_client


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_pages_load_nothing_from_other_hosts_and_match_their_policy(
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
async def test_documentation_is_served_by_setting(
    new_app: NewApp, environment: str, enabled: bool | None, status: int
) -> None:
    settings = {"allowed_hosts": ["test"], "bcrypt_rounds": 10, "docs_enabled": enabled}
    client = new_client(new_app(environment=environment, **settings))

    for path in ("/docs", "/redoc", "/openapi.json", "/docs/assets/favicon.png"):
        assert (await client.get(path)).status_code == status


def test_operation_ids_are_the_names_of_the_functions(app: FastAPI) -> None:
    operations = [o for path in app.openapi()["paths"].values() for o in path.values()]
    ids = [operation["operationId"] for operation in operations]

    names = [route.name for router in api.ROUTERS for route in router.routes]
    assert len(set(ids)) == len(ids)
    assert set(names) <= set(ids)


def test_document_conforms_to_the_openapi_schema(app: FastAPI) -> None:
    from schemathesis.openapi import from_dict

    document = deepcopy(app.openapi())
    # The published schema rejects relative URLs, which OpenAPI 3.1 section 4.6 allows.
    for flow in document["components"]["securitySchemes"]["OAuth2"]["flows"].values():
        for name in flow.keys() & {"tokenUrl", "refreshUrl"}:
            flow[name] = urljoin("https://test", flow[name])
    from_dict(document).validate()
