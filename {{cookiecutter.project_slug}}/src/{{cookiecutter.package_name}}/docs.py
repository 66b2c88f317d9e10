"""The OpenAPI description and the pages that show it, with scripts and styles from our own host."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from .auth.models import Role
from .auth.scopes import PEOPLE, SCOPES
from .errors import REF_TEMPLATE, ProblemDetails
from .settings import Settings

SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def setup(app: FastAPI, settings: Settings) -> None:
    """Describe errors and scopes; serve /docs, /redoc and /openapi.json when enabled."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            # errors.problem_responses refers to these schemas.
            problem = ProblemDetails.model_json_schema(ref_template=REF_TEMPLATE)
            added = {**problem.pop("$defs"), ProblemDetails.__name__: problem}
            components = describe()["components"]
            schemas = components["schemas"]
            assert not schemas.keys() & added.keys(), "another model has the name of one of errors"
            schemas |= added
            flows = components["securitySchemes"]["OAuth2"]["flows"]
            flows["clientCredentials"] = {"tokenUrl": flows["password"]["tokenUrl"]}
            for flow, roles in (("password", PEOPLE), ("clientCredentials", {Role.SERVICE})):
                flows[flow]["scopes"] = {
                    name: scope.description
                    for name, scope in sorted(SCOPES.items())
                    if not scope.roles.isdisjoint(roles)
                }
        return describe()

    app.openapi = openapi  # type: ignore[method-assign]
    if not settings.docs_enabled:
        return

    # Relative URLs also work behind a proxy's path prefix.
    swagger_ui = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon.png",
    )
    redoc = get_redoc_html(
        openapi_url="openapi.json",
        title=app.title,
        redoc_js_url="docs/assets/redoc.standalone.js",
        redoc_favicon_url="docs/assets/favicon.png",
        with_google_fonts=False,
    )
    # fastapi-offline is used only for the copies of Swagger UI and ReDoc in its package.
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    app.mount("/docs/assets", assets, name="docs-assets")
    app.add_route("/docs", _serve(swagger_ui), include_in_schema=False)
    app.add_route("/redoc", _serve(redoc), include_in_schema=False)


def operation_id(route: APIRoute) -> str:
    """Return the name of the function, from which generated clients name the method."""
    return route.name


def _serve(page: HTMLResponse) -> Callable[[Request], Response]:
    # The policy allows the inline script of the page by its hash.
    html = bytes(page.body)
    hashes = [b64encode(sha256(script).digest()).decode() for script in SCRIPT.findall(html)]
    scripts = " ".join(f"'sha256-{hash_}'" for hash_ in hashes)
    policy = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "worker-src blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )
    return lambda _: HTMLResponse(html, headers={"Content-Security-Policy": policy})
