"""Repeated requests with an Idempotency-Key, as clients see them."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Form
from httpx2 import AsyncClient, Response, TransportError
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from {{ cookiecutter.package_name }} import api
from {{ cookiecutter.package_name }}.auth.models import LoginSession
from {{ cookiecutter.package_name }}.database import Database, utcnow
from {{ cookiecutter.package_name }}.dependencies import DbSession
from {{ cookiecutter.package_name }}.exceptions import ConflictError
from {{ cookiecutter.package_name }}.idempotency.models import IdempotencyKey
from {{ cookiecutter.package_name }}.idempotency.route import IdempotentRoute
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.state import get_state

import notes_support
from support import (
    Account,
    NewApp,
    NewDatabase,
    Register,
    Statements,
    new_account,
    new_client,
    pointers,
    serve,
    settings_for,
)

URL = "/api/v1/test-notes"
KEY = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'
POINTER = "/header/Idempotency-Key"


async def post(client: AsyncClient, key: str = KEY, title: str = "a", url: str = URL) -> Response:
    """Create a note."""
    return await client.post(url, json={"title": title}, headers={"Idempotency-Key": key})


async def list_notes(client: AsyncClient) -> Any:
    """Return the notes that the client lists."""
    return (await client.get(URL)).json()["items"]


def assert_equal(first: Response, second: Response) -> None:
    """Check that both are the same response of the route."""
    assert (first.status_code, first.content) == (second.status_code, second.content)
    for name in ("Content-Length", "Content-Type", "Location"):
        assert first.headers.get_list(name) == second.headers.get_list(name) != []


def assert_reused(response: Response) -> None:
    """Check the problem of a key that was sent with another request."""
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/idempotency-key-reused"
    assert pointers(response) == [POINTER]


async def test_repeated_request_returns_the_first_response(member: Account) -> None:
    first = await post(member.client)
    [note] = await list_notes(member.client)

    # A key without quotes is the same key.
    second, third = await post(member.client), await post(member.client, KEY.strip('"'))

    assert first.status_code == 201
    assert first.headers["Location"] == f"{URL}/{note['id']}"
    assert_equal(first, second)
    assert_equal(first, third)
    assert await list_notes(member.client) == [note]


async def test_concurrent_requests_have_one_effect(live_app: FastAPI) -> None:
    client = (await new_account(live_app)).client
    assert await list_notes(client) == []

    responses = await asyncio.gather(*(post(client) for _ in range(20)))

    for response in responses:
        assert response.status_code == 201
        assert_equal(responses[0], response)
    assert await list_notes(client) == [responses[0].json()]


async def test_requests_without_a_key_are_independent(member: Account) -> None:
    for _ in range(2):
        assert (await member.client.post(URL, json={"title": "a"})).status_code == 201

    assert len(await list_notes(member.client)) == 2


async def test_key_of_another_request_is_rejected(member: Account) -> None:
    first = await post(member.client)

    assert_reused(await post(member.client, title="b"))
    assert_reused(await post(member.client, url=f"{URL}?a=1"))

    assert_equal(first, await post(member.client))
    assert len(await list_notes(member.client)) == 1


async def test_users_have_their_own_keys(member: Account, register: Register) -> None:
    other = await register()

    first, second = await post(member.client), await post(other.client)

    assert (first.status_code, second.status_code) == (201, 201)
    assert await list_notes(member.client) == [first.json()]
    assert await list_notes(other.client) == [second.json()]


async def test_scope_is_checked_before_a_response_is_repeated(
    member: Account, session: AsyncSession
) -> None:
    assert (await post(member.client)).status_code == 201
    await session.execute(
        update(LoginSession)
        .where(LoginSession.user_id == member.id)
        .values(scope=notes_support.READ)
    )
    await session.commit()

    response = await post(member.client)

    assert response.status_code == 403
    assert response.json()["type"] == "/problems/insufficient-scope"
    assert len(await list_notes(member.client)) == 1


async def test_failed_request_can_be_repeated_with_its_key(
    new_app: NewApp, member: Account
) -> None:
    app, failures = new_app(), [ConflictError("a conflict"), ValueError("a defect")]
    router = APIRouter(prefix="/api/v1/test-failures", route_class=IdempotentRoute)

    @router.post("", status_code=201, dependencies=[notes_support.Idempotent])
    async def create(principal: notes_support.Writer, session: DbSession) -> str:
        session.add(notes_support.Note(owner_id=principal.id, title="a"))
        await session.flush()
        if failures:
            raise failures.pop(0)
        return "created"

    app.include_router(router, responses=api.RESPONSES)
    client = new_client(app)
    client.headers["Authorization"] = member.client.headers["Authorization"]

    responses = [await post(client, url="/api/v1/test-failures") for _ in range(4)]

    assert [response.status_code for response in responses] == [409, 500, 201, 201]
    assert len(await list_notes(member.client)) == 1
    # The same key of another route is another key.
    assert (await post(client)).status_code == 201
    assert len(await list_notes(member.client)) == 2


async def test_form_and_all_headers_are_repeated(new_app: NewApp, member: Account) -> None:
    app, url = new_app(), "/api/v1/test-forms"
    router = APIRouter(prefix=url, route_class=IdempotentRoute)

    @router.post("", dependencies=[notes_support.Idempotent])
    async def create(
        title: Annotated[str, Form()], principal: notes_support.Writer, session: DbSession
    ) -> JSONResponse:
        session.add(notes_support.Note(owner_id=principal.id, title=title))
        response = JSONResponse(title)
        response.headers.append("Link", "<a>")
        response.headers.append("Link", "<b>")
        return response

    app.include_router(router, responses=api.RESPONSES)
    headers = {**member.client.headers, "Idempotency-Key": KEY}

    for _ in range(2):
        response = await new_client(app).post(url, data={"title": "a"}, headers=headers)
        assert (response.status_code, response.json()) == (200, "a")
        assert response.headers["Link"] == "<a>, <b>"

    assert_reused(await new_client(app).post(url, data={"title": "b"}, headers=headers))
    assert len(await list_notes(member.client)) == 1


async def test_client_that_disconnects_causes_no_error(app: FastAPI, member: Account) -> None:
    async def disconnect() -> Message:
        return {"type": "http.disconnect"}

    async def receive_nothing(scope: Scope, _: Receive, send: Send) -> None:
        await app(scope, disconnect, send)

    client = new_client(receive_nothing)
    client.headers["Authorization"] = member.client.headers["Authorization"]

    assert (await post(client)).status_code == 400


async def test_invalid_request_can_be_corrected_with_its_key(member: Account) -> None:
    invalid = await post(member.client, title="")

    assert pointers(invalid) == ["/body/title"]
    assert (await post(member.client)).status_code == 201


async def test_expired_key_is_a_new_key(member: Account, session: AsyncSession) -> None:
    first = await post(member.client)
    expired = {"expires_at": utcnow() - timedelta(seconds=1)}
    await session.execute(update(IdempotencyKey).values(expired))
    await session.commit()

    second, third = await post(member.client, title="b"), await post(member.client, title="b")

    assert second.status_code == 201
    assert_equal(second, third)
    assert await list_notes(member.client) == [first.json(), second.json()]


@pytest.mark.parametrize(
    "key",
    ["", '"', '""', '"a', 'a"', 'a"b', "a b", '"a b"', "a\\b", '"\\a"', '"a";b', "ä", "a" * 256],
)
async def test_invalid_key_has_a_pointer(member: Account, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode())]

    response = await member.client.post(URL, json={"title": "a"}, headers=headers)

    assert (response.status_code, pointers(response)) == (422, [POINTER])
    assert await list_notes(member.client) == []


@pytest.mark.parametrize("key", ["a", "a" * 255, '"' + "a" * 255 + '"', r'"\"\\"', "!#[]~"])
async def test_valid_key_is_accepted(member: Account, key: str) -> None:
    assert (await post(member.client, key)).status_code == 201


async def test_header_cannot_be_sent_twice(member: Account) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    response = await member.client.post(URL, json={"title": "a"}, headers=headers)

    assert (response.status_code, pointers(response)) == (422, [POINTER])


@pytest.mark.parametrize("has_key", [False, True])
async def test_number_of_statements(member: Account, statements: Statements, has_key: bool) -> None:
    headers = {"Idempotency-Key": KEY} if has_key else {}
    counts = []

    for _ in range(2):
        with statements() as executed:
            response = await member.client.post(URL, json={"title": "a"}, headers=headers)
        assert response.status_code == 201
        counts.append(len(executed))

    # principal, key, note, response; then: principal, key, response
    assert counts == ([4, 3] if has_key else [2, 2])


async def test_request_does_not_wait_for_the_first_one_for_long(new_database: NewDatabase) -> None:
    async with new_database() as url:
{%- if cookiecutter.database == "postgresql" %}
        settings = settings_for(url, database_statement_timeout=1)
{%- else %}
        settings = settings_for(url, database_busy_timeout=0.1)
{%- endif %}
        app = notes_support.mount(create_app(settings))
        async with app.router.lifespan_context(app), Database(settings) as database:
            member = await new_account(app)
            async with database.write_session() as session:
                values = {"user_id": member.id, "operation": f"POST {URL}", "key": KEY.strip('"')}
                session.add(IdempotencyKey(**values, fingerprint="", expires_at=utcnow()))
                await session.flush()

                response = await post(member.client)

                await session.rollback()
            assert (await post(member.client)).status_code == 201

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/idempotency-key-in-use"
    assert response.headers["Retry-After"] == "1"


async def test_response_that_was_lost_with_its_process_is_repeated(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    async with new_database() as url:
        settings = settings_for(url)
        async with get_state(app := create_app(settings)).database:
            headers = {"Authorization": (await new_account(app)).client.headers["Authorization"]}
        log = tmp_path / "log"
        with serve(settings, log, "notes_server_support") as server:
            async with AsyncClient(base_url=server.base_url, headers=headers) as client:
                client.headers["Hold-Response"] = "yes"
                sent = asyncio.create_task(post(client))
                await asyncio.to_thread(server.until, lambda: b"response held" in log.read_bytes())
                server.process.kill()
                with pytest.raises(TransportError):
                    await sent

        with serve(settings, log, "notes_server_support") as server:
            async with AsyncClient(base_url=server.base_url, headers=headers) as client:
                [note] = await list_notes(client)
                responses = await asyncio.gather(*(post(client) for _ in range(20)))
                assert await list_notes(client) == [note]

    assert {response.status_code for response in responses} == {201}
    assert [response.json() for response in responses] == [note] * 20
