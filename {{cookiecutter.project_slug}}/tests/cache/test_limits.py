"""Rate limits: which requests count together, and what clients receive."""

import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from fastapi import Depends, FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.requests import HTTPConnection

from {{ cookiecutter.package_name }}.auth.service import (
    TokenOwners,
    get_principal_by_personal_token,
)
from {{ cookiecutter.package_name }}.database import Database
from {{ cookiecutter.package_name }}.preconditions import json_response
from {{ cookiecutter.package_name }}.rate_limits import CALLERS, RateLimit
from {{ cookiecutter.package_name }}.throttle import Limit
from {{ cookiecutter.package_name }}.token_format import new_token

from support import (
    PASSWORD,
    Account,
    NewApp,
    Register,
    create_personal_token,
    log_in,
    new_client,
)

ME = "/api/v1/users/me"


def assert_limited(response: Response, policy: str = "default") -> None:
    """Assert that the request was rejected, with the time to wait."""
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == "Too many requests; try again later."
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert f'"{policy}";r=0;t=' in response.headers["ratelimit"]


@pytest.fixture
def replicas(new_app: NewApp) -> Iterator[FastAPI]:
    """Processes of the service that allow three requests a minute."""
    return iter([new_app(rate_limit=3), new_app(rate_limit=3)])


def on(app: FastAPI, account: Account) -> AsyncClient:
    """A client of this process with the account's access token."""
    return new_client(app, account.client.headers["Authorization"].removeprefix("Bearer "))


async def test_user_is_limited_on_all_replicas_together(
    replicas: Iterator[FastAPI], member: Account, register: Register
) -> None:
    here, there = on(app := next(replicas), member), on(next(replicas), member)

    answers = [await client.get(ME) for client in (here, there, here)]

    assert [answer.status_code for answer in answers] == [200] * 3
    remaining = [answer.headers["ratelimit"].split(";")[1] for answer in answers]
    assert remaining == ["r=2", "r=1", "r=0"]
    assert all(int(answer.headers["ratelimit"].partition("t=")[2]) > 0 for answer in answers)
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=3;w=60'}
    assert_limited(await there.get(ME))
    assert_limited(await here.get("/api/v1/nowhere"))
    assert (await here.get("/health/live")).status_code == 200
    assert "ratelimit" not in (await here.get("/health/live")).headers
    assert (await on(app, await register()).get(ME)).status_code == 200


async def test_304_has_the_headers(new_app: NewApp) -> None:
    app = new_app()
    app.get("/api/v1/document", response_model=None)(lambda: json_response("{}"))
    client = new_client(app)
    etag = (await client.get("/api/v1/document")).headers["etag"]

    response = await client.get("/api/v1/document", headers={"If-None-Match": etag})

    assert response.status_code == 304
    assert "ratelimit" in response.headers


async def test_unauthenticated_clients_are_limited_by_address(replicas: Iterator[FastAPI]) -> None:
    app = next(replicas)

    def client(address: str, **headers: str) -> AsyncClient:
        transport = ASGITransport(app, client=(address, 1))
        return AsyncClient(transport=transport, base_url="https://test", headers=headers)

    for headers in ({}, {"Authorization": "Bearer forged"}, {"Cookie": "__Host-session=forged"}):
        assert (await client("192.0.2.1", **headers).get(ME)).status_code == 401
    assert_limited(await client("192.0.2.1", Cookie="__Host-csrf=forged").get(ME))
    assert (await client("192.0.2.2").get(ME)).status_code == 401


def test_callers_of_every_security_scheme_have_limits_of_their_own(app: FastAPI) -> None:
    schemes = app.openapi()["components"]["securitySchemes"]

    assert schemes.keys() == CALLERS.keys(), "see CALLERS in rate_limits.py"


async def test_callers_of_another_scheme_are_limited_apart(
    replicas: Iterator[FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = next(replicas)
    app.add_api_route("/api/v1/report", lambda: "all")

    async def ask(key: str) -> int:
        authorization = {"Authorization": f"ApiKey {key}"}
        return (await new_client(app).get("/api/v1/report", headers=authorization)).status_code

    def caller_of_api_key(connection: HTTPConnection) -> str | None:
        scheme, _, key = connection.headers.get("Authorization", "").partition(" ")
        return f"key:{key}" if scheme == "ApiKey" and key in {"ada", "bob"} else None

    monkeypatch.setitem(CALLERS, "ApiKey", caller_of_api_key)

    assert [await ask(key) for key in ("ada", "ada", "ada", "ada")] == [200, 200, 200, 429]
    assert await ask("bob") == 200
    assert [await ask(key) for key in ("x", "y", "z", "x")] == [200, 200, 200, 429]


async def test_all_logins_of_a_user_count_together(
    replicas: Iterator[FastAPI], member: Account
) -> None:
    app = next(replicas)
    login = {"email": member.email, "password": PASSWORD}
    async with new_client(app) as browser, new_client(app) as other:
        for client in (browser, other):
            await client.post("/api/v1/auth/session", json=login)
        clients = (browser, other, on(app, member), browser)
        statuses = [(await client.get(ME)).status_code for client in clients]

    assert statuses == [200, 200, 200, 429]


async def test_personal_access_tokens_count_for_their_owner(
    replicas: Iterator[FastAPI], member: Account, register: Register
) -> None:
    app, other = next(replicas), await register()
    tokens = [(await create_personal_token(account))["token"] for account in (member, other)]
    mine, theirs = (new_client(app, token, address="192.0.2.1") for token in tokens)
    elsewhere = new_client(app, tokens[0], address="192.0.2.2")

    # The first request of a token counts for its address, as its owner is not known yet.
    first = [(await client.get(ME)).status_code for client in (mine, theirs)]
    statuses = [(await client.get(ME)).status_code for client in (mine, elsewhere, mine, mine)]

    assert first == [200, 200]
    assert statuses == [200, 200, 200, 429]
    assert (await on(app, member).get(ME)).status_code == 429
    assert (await theirs.get(ME)).status_code == 200


async def test_unknown_tokens_count_for_their_address_and_not_for_the_owner(
    replicas: Iterator[FastAPI], member: Account
) -> None:
    app = next(replicas)
    created = await create_personal_token(member)
    revoked = new_client(app, created["token"], address="192.0.2.1")
    assert (await revoked.get(ME)).status_code == 200
    await member.client.delete(f"/api/v1/auth/tokens/{created['id']}")

    statuses = [(await revoked.get(ME)).status_code for _ in range(4)]
    random = [
        (await new_client(app, new_token(), address="192.0.2.2").get(ME)).status_code
        for _ in range(4)
    ]

    assert statuses == [401, 401, 401, 429]  # the first counts for the owner
    assert random == [401, 401, 401, 429]
    assert (await on(app, member).get(ME)).status_code == 200


async def test_owners_of_a_limited_number_of_tokens_are_remembered(
    database: Database, member: Account
) -> None:
    tokens = [(await create_personal_token(member))["token"] for _ in range(3)]
    owners = TokenOwners(max_tokens=2)
    for token in (tokens[0], tokens[1], tokens[0], tokens[2]):
        owners.put(token, await get_principal_by_personal_token(database, token, None))

    assert [owners.get(token) for token in tokens] == [member.id, None, member.id]


async def test_route_may_have_a_further_limit(new_app: NewApp, member: Account) -> None:
    app = new_app(rate_limit=100)
    exports = Depends(RateLimit("exports", Limit(1, 3600)))
    app.add_api_route("/api/v1/export", lambda: "all", dependencies=[exports])
    client = on(app, member)

    answer = await client.get("/api/v1/export")

    assert answer.status_code == 200
    policies = answer.headers.get_list("ratelimit-policy")
    assert policies == ['"exports";q=1;w=3600', '"default";q=100;w=60']
    limited = await client.get("/api/v1/export")
    assert limited.status_code == 429
    assert 1 <= int(limited.headers["retry-after"]) <= 3600
    assert (await client.get(ME)).status_code == 200


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Advances the clock by a number of seconds."""
    start, passed = time.time, 0.0

    def advance(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        monkeypatch.setattr(time, "time", lambda: start() + passed)

    return advance


async def test_window_moves(app: FastAPI, advance: Callable[[float], None]) -> None:
    throttle, key, limit = app.state.services.throttle, f"rate:test:{uuid4()}", Limit(3, 3600)
    remaining = []
    for seconds in (0, 600, 600):
        advance(seconds)
        remaining.append((await throttle.hit(key, limit)).remaining)

    refused = await throttle.hit(key, limit)
    advance(2401)
    allowed = await throttle.hit(key, limit)

    assert remaining == [2, 1, 0]
    assert (refused.remaining, 2340 < refused.wait <= 2400) == (0, True)
    assert (allowed.remaining, allowed.wait) == (0, 0)
    assert 0 < (await throttle.hit(key, limit)).wait <= 600


async def test_attempt_is_allowed_when_the_oldest_is_a_window_ago(
    app: FastAPI, advance: Callable[[float], None]
) -> None:
    throttle, key, limit = app.state.services.throttle, f"login:{uuid4()}", Limit(2, 60)
    assert await throttle.attempt(key, limit) == 0
    advance(40)
    assert await throttle.attempt(key, limit) == 0
    assert 0 < await throttle.attempt(key, limit) <= 20

    advance(21)

    assert await throttle.attempt(key, limit) == 0
    assert 20 < await throttle.attempt(key, limit) <= 39


async def test_reset_forgets_the_attempts(app: FastAPI) -> None:
    throttle, key, limit = app.state.services.throttle, f"login:{uuid4()}", Limit(1, 60)
    await throttle.attempt(key, limit)

    await throttle.reset(key, limit)

    assert await throttle.attempt(key, limit) == 0


async def test_guesses_on_all_replicas_count_together(new_app: NewApp, member: Account) -> None:
    here, there = (new_client(new_app(login_attempts=2)) for _ in "ab")

    statuses = [
        (await log_in(client, member.email, "a wrong password")).status_code
        for client in (here, there, here)
    ]

    assert statuses == [400, 400, 429]
