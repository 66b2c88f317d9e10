"""Log lines: JSON with fields of the Elastic Common Schema, and no secrets."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }} import __version__
from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.logging import ECS_VERSION

from support import (
    PASSWORD,
    Account,
    NewApp,
    change_password,
    create_personal_token,
    create_session,
    log_in,
    new_client,
    refresh,
    registration,
)

SECRET = "hunter2"
ReadLog = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def read_log(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> ReadLog:
    """Return a function that returns the log lines of the test's application."""
    caplog.set_level("WARNING", logger="httpx2")  # the client's own lines
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_request_is_logged_in_one_line_and_other_lines_have_its_id(
    admin: Account, new_app: NewApp, read_log: ReadLog
) -> None:
    client = new_client(new_app(log_level="INFO"))
    headers = {"Authorization": admin.client.headers["Authorization"], "User-Agent": "probe/1"}
    path = f"/api/v1/users/{admin.id}"

    response = await client.patch(path, json={"full_name": "Ada"}, headers=headers)
    await client.get("/unknown%0Apath")
    await client.get("/health/live")

    change, request, other = read_log()
    assert request.pop("event.duration") > 0
    assert request.pop("@timestamp").endswith("Z")
    assert request == {
        "message": "request",
        "log.level": "info",
        "log.logger": "access",
        "ecs.version": ECS_VERSION,
        "service.name": "{{ cookiecutter.project_slug }}",
        "service.version": __version__,
        "service.environment": "test",
        "http.request.id": response.headers["X-Request-ID"],
        "http.request.method": "PATCH",
        "http.response.status_code": 200,
        "url.path": path,
        "client.ip": "127.0.0.1",
        "user.id": str(admin.id),
        "user_agent.original": "probe/1",
        "labels": {"route": "/api/v1/users/{user_id}"},
    }
    assert change["message"] == "user changed"
    assert change["http.request.id"] == request["http.request.id"]
    assert other["url.path"] == "/unknown\npath"
    assert not {"user.id", "labels"} & other.keys()


async def test_log_has_no_secrets(
    member: Account, new_app: NewApp, session: AsyncSession, read_log: ReadLog
) -> None:
    client = new_client(new_app(log_level="DEBUG"))
    client.headers["Authorization"] = member.client.headers["Authorization"]
    login = {"email": member.email, "password": PASSWORD}

    personal_token = (await create_personal_token(member))["token"]
    tokens = (await log_in(client, member.email)).json()
    rotated = (await refresh(client, tokens["refresh_token"])).json()
    await log_in(client, member.email, password=SECRET)
    cookies = (await client.post("/api/v1/auth/session", json=login)).cookies
    await change_password(client, new=f"{SECRET}-{SECRET}")
    await client.post("/api/v1/users", json=registration(email=SECRET, password=SECRET))
    await client.get(f"/api/v1/users?cursor={SECRET}")
    await client.post("/api/v1/auth/revoke", data={"token": rotated["refresh_token"]})
    await client.delete(f"/api/v1/auth/tokens/{personal_token}")

    account = await session.get_one(User, member.id)
    secrets = [PASSWORD, SECRET, personal_token, account.password_hash, *cookies.values()]
    secrets += [body[name] for body in (tokens, rotated) for name in body if "_token" in name]
    lines = read_log()
    assert [line["message"] for line in lines].count("request") == 10
    assert [secret for secret in secrets if secret in json.dumps(lines)] == []


async def test_failed_commit_is_not_logged_as_a_success(
    admin: Account, new_app: NewApp, read_log: ReadLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = new_client(new_app(log_level="INFO"))
    client.headers["Authorization"] = admin.client.headers["Authorization"]

    async def fail(_: AsyncSession) -> None:
        raise ConnectionError

    monkeypatch.setattr(AsyncSession, "commit", fail)
    responses = [
        await log_in(client, admin.email),
        await create_session(client, admin),
        await client.post("/api/v1/users", json=registration()),
        await client.patch(f"/api/v1/users/{admin.id}", json={"full_name": "Ada"}),
    ]

    assert [response.status_code for response in responses] == [500] * 4
    assert {line["message"] for line in read_log()} == {"unhandled exception", "request"}
