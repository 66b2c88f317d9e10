"""Errors are problems (RFC 9457) without internal details."""

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.exceptions import (
    EmailNotVerifiedError,
    IncorrectCodeError,
    InvalidAccountTokenError,
    MailUnavailableError,
    MfaRequiredError,
    ProofRequiredError,
    ReauthenticationRequiredError,
    RegistrationClosedError,
    ServiceError,
)
from {{ cookiecutter.package_name }}.http import SECURITY_HEADERS

from support import NewApp, new_client, pointers, registration


@pytest.mark.parametrize(
    ("method", "path", "status", "title", "headers"),
    [
        ("GET", "/api/v1/unknown", 404, "Not Found", {}),
        ("PUT", "/.well-known/jwks.json", 405, "Method Not Allowed", {"allow": "GET"}),
        ("GET", "/api/v1/users/me", 401, "Unauthorized", {"www-authenticate": "Bearer"}),
    ],
)
async def test_error_is_a_problem(
    client: AsyncClient, method: str, path: str, status: int, title: str, headers: dict[str, str]
) -> None:
    response = await client.request(method, path)

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (SECURITY_HEADERS | headers).items() <= dict(response.headers).items()
    problem = response.json()
    assert (problem["type"], problem["status"], problem["title"]) == ("about:blank", status, title)
    assert problem["request_id"] == response.headers["X-Request-ID"]


async def response_to(new_app: NewApp, error: Exception, **settings: object) -> Response:
    """Return the response of a route that raises the error."""
    app = new_app(**settings)

    @app.get("/fail")
    async def fail() -> None:
        raise error

    return await new_client(app).get("/fail")


@pytest.mark.parametrize(
    ("error", "status", "problem_type"),
    [
        (MfaRequiredError(), 401, "/problems/mfa-required"),
        (ProofRequiredError(), 401, "/problems/proof-required"),
        (EmailNotVerifiedError(), 403, "/problems/email-not-verified"),
        (RegistrationClosedError(), 403, "/problems/registration-closed"),
        (MailUnavailableError(), 503, "/problems/mail-unavailable"),
    ],
)
async def test_errors_that_clients_act_on_have_a_type(
    new_app: NewApp, error: ServiceError, status: int, problem_type: str
) -> None:
    response = await response_to(new_app, error)

    assert (response.status_code, response.json()["type"]) == (status, problem_type)
    assert response.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize(
    ("error", "status", "pointer"),
    [
        (IncorrectCodeError(), 403, "/body/otp"),
        (InvalidAccountTokenError(), 422, "/body/token"),
    ],
)
async def test_error_of_one_member_has_a_pointer(
    new_app: NewApp, error: ServiceError, status: int, pointer: str
) -> None:
    response = await response_to(new_app, error)

    assert (response.status_code, pointers(response)) == (status, [pointer])


@pytest.mark.parametrize(("mfa", "acr"), [(False, ""), (True, ', acr_values="aal2"')])
async def test_old_authentication_is_challenged_to_step_up(
    new_app: NewApp, mfa: bool, acr: str
) -> None:
    response = await response_to(new_app, ReauthenticationRequiredError(900, mfa=mfa))

    assert response.status_code == 401
    assert response.json()["type"] == "/problems/reauthentication-required"
    assert response.headers["WWW-Authenticate"] == (
        'Bearer error="insufficient_user_authentication", '
        f'error_description="Authenticate again, then repeat the request.", max_age="900"{acr}'
    )


async def test_validation_errors_have_pointers_and_no_input(client: AsyncClient) -> None:
    body = registration(email="invalid", password="hunter2") | {"a/b~c": "hunter2"}

    response = await client.post("/api/v1/users", json=body)

    assert response.status_code == 422
    assert pointers(response) == ["/body/email", "/body/password", "/body/a~1b~0c"]
    assert "hunter2" not in response.text


@pytest.mark.parametrize(("content", "status"), [(b'{"email": ', 422), (b'"\xff"', 400)])
async def test_invalid_json_is_rejected(client: AsyncClient, content: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}

    response = await client.post("/api/v1/users", content=content, headers=headers)

    assert response.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("GET", "/unknown/%00", "", 422),
        ("GET", "/docs?name=%00", "", 422),
        ("POST", "/api/v1/auth/token", "multipart/form-data; charset=punycode", 415),
    ],
)
async def test_invalid_text_is_rejected(
    client: AsyncClient, method: str, path: str, content_type: str, status: int
) -> None:
    response = await client.request(method, path, headers={"Content-Type": content_type})

    assert response.status_code == status


async def test_large_body_is_rejected(new_app: NewApp) -> None:
    client = new_client(new_app(max_body_size=100))

    response = await client.post("/api/v1/users", content=b"0" * 101)

    assert response.status_code == 413


@pytest.mark.parametrize("debug", [False, True])
async def test_unexpected_error_has_its_cause_only_with_debug(new_app: NewApp, debug: bool) -> None:
    error = RuntimeError("SELECT password FROM vault")

    response = await response_to(new_app, error, debug=debug)

    assert response.status_code == 500
    cause = "RuntimeError: SELECT password FROM vault" if debug else None
    assert response.json().get("detail") == cause
    assert response.text.count("vault") == debug


async def test_conflict_with_stored_data_has_no_details(
    new_app: NewApp, session: AsyncSession
) -> None:
    app = new_app()
    await session.execute(text("CREATE UNIQUE INDEX uq_users_full_name ON users (full_name)"))
    await session.commit()
    async with new_client(app) as client:
        for name in ("a", "b"):
            body = registration(email=f"{name}@example.com", full_name="Ada")
            response = await client.post("/api/v1/users", json=body)

    assert response.status_code == 409
    assert response.json()["detail"] == "The request conflicts with the stored data."
