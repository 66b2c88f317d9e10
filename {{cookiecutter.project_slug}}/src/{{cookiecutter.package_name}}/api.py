"""The routers of the API."""

from fastapi import FastAPI

from .audit import router as audit
from .auth import mfa_router as mfa
from .auth import recovery_router as recovery
from .auth import router as auth
from .auth import service_account_router as service_accounts
from .auth import token_router as personal_tokens
from .errors import problem_responses
from .items import router as items
from .users import router as users
{%- if cookiecutter.use_worker %}
from .worker import router as jobs
{%- endif %}

{% if cookiecutter.use_redis -%}
RESPONSES = problem_responses(400, 413, 422, 429, 503)
{%- else -%}
RESPONSES = problem_responses(400, 413, 422, 503)
{%- endif %}


# Routes are matched in this order, so the most used router is first.
ROUTERS = (
    items.router,
    users.router,
    auth.router,
    auth.oauth,
    mfa.router,
    personal_tokens.router,
    recovery.router,
    service_accounts.router,
    audit.router,
{%- if cookiecutter.use_worker %}
    jobs.router,
{%- endif %}
)


def setup(app: FastAPI) -> None:
    """Include the routers."""
    for router in ROUTERS:
        app.include_router(router, responses=RESPONSES)
    app.include_router(auth.well_known)
