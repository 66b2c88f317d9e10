"""The audit log of accounts."""

from datetime import timedelta
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.audit.models import Action, AuditEvent
from {{ cookiecutter.package_name }}.audit.service import record
from {{ cookiecutter.package_name }}.auth import service
from {{ cookiecutter.package_name }}.database import Database, utcnow
from {{ cookiecutter.package_name }}.state import get_state

from support import Account, NewApp, log_in, pointers, read_pages

OWN_EVENTS = "/api/v1/users/me/audit-events"
EVENTS = "/api/v1/audit-events"
ADDRESS = "203.0.113.7"


async def store(database: Database, *events: AuditEvent) -> None:
    """Store events."""
    async with database.write_session() as session:
        session.add_all(events)


def new_event(**changes: object) -> AuditEvent:
    """Return an event to be stored."""
    return AuditEvent(**{"action": Action.LOGIN_SUCCEEDED, "credential": "none"} | changes)


async def test_event_is_stored_with_what_it_describes(
    database: Database, session: AsyncSession
) -> None:
    account_id = uuid4()

    async def log_in(*, succeeds: bool) -> None:
        async with database.write_session() as transaction:
            record(transaction, Action.LOGIN_SUCCEEDED, account_id)
            await transaction.flush()
            if not succeeds:
                raise ConnectionError

    with pytest.raises(ConnectionError):
        await log_in(succeeds=False)
    assert (await session.scalars(select(AuditEvent.account_id))).all() == []
    await log_in(succeeds=True)
    assert (await session.scalars(select(AuditEvent.account_id))).all() == [account_id]


async def test_longest_request_id_is_stored(client: AsyncClient, session: AsyncSession) -> None:
    request_id = "a" * 128

    client.headers["X-Request-ID"] = request_id
    response = await log_in(client, "unknown@example.com")

    assert response.json()["error"] == "invalid_grant"
    assert await session.scalar(select(AuditEvent.request_id)) == request_id


async def test_many_field_names_are_truncated(database: Database, session: AsyncSession) -> None:
    target = "fields:" + ",".join(["a_long_name"] * 10)
    async with database.write_session() as transaction:
        record(transaction, Action.USER_CHANGED, uuid4(), target=target)

    assert await session.scalar(select(AuditEvent.target)) == target[:80]


@pytest.mark.parametrize(
    ("credential", "by"),
    [
        ("password", "you"),
        ("token", "you"),
        ("email_link", "you"),
        ("cli", "administrator"),
        ("none", "unknown"),
    ],
)
async def test_event_without_a_session_names_the_credential(
    member: Account, database: Database, credential: Any, by: str
) -> None:
    async with database.write_session() as session:
        record(session, Action.LOGIN_SUCCEEDED, member.id, credential=credential, address="::1")

    [event] = (await member.client.get(OWN_EVENTS)).json()["items"]

    assert (event["credential"], event["by"]) == (credential, by)
    assert event["address"] == (None if by == "administrator" else "::1")


async def test_owner_sees_neither_the_address_of_an_administrator_nor_events_of_others(
    member: Account, admin: Account, database: Database
) -> None:
    own = {"account_id": member.id, "address": "192.0.2.1"}
    await store(
        database,
        new_event(**own, actor_id=member.id),
        new_event(**own, actor_id=admin.id, target="fields:role"),
        new_event(**own),
        new_event(account_id=admin.id, actor_id=member.id),
        new_event(account_id=None),
    )

    response = await member.client.get(OWN_EVENTS, params={"sort": "created_at"})

    events = response.json()["items"]
    assert [(event["by"], event["address"]) for event in events] == [
        ("you", "192.0.2.1"),
        ("administrator", None),
        ("unknown", "192.0.2.1"),
    ]
    assert str(admin.id) not in response.text
    assert events[1]["target"] == "fields:role"


async def test_administrators_filter_the_events_of_all_accounts(
    member: Account, admin: Account, database: Database
) -> None:
    now = utcnow()
    old, recent = now - timedelta(days=2), now - timedelta(hours=1)
    events = [
        new_event(account_id=member.id, actor_id=member.id, created_at=old),
        new_event(account_id=member.id, actor_id=admin.id, action=Action.USER_CHANGED),
        new_event(account_id=None, action=Action.LOGIN_FAILED, created_at=recent),
    ]
    await store(database, *events)

    async def found(**query: Any) -> set[UUID]:
        response = await admin.client.get(EVENTS, params=query)
        return {UUID(event["id"]) for event in response.json()["items"]}

    first, second, third = (event.id for event in events)
    assert await found() == {first, second, third}
    assert await found(account_id=member.id) == {first, second}
    assert await found(actor_id=admin.id) == {second}
    assert await found(action="login.failed") == {third}
    assert await found(action="unknown") == set()
    assert await found(since=recent.isoformat()) == {second, third}
    assert await found(until=recent.isoformat()) == {first}
    assert await found(account_id=member.id, since=recent.isoformat()) == {second}


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("time", ["yesterday", "2026-11-29T12:00:00", "0001-01-01T00:00:00+14:00"])
async def test_invalid_time_is_rejected(admin: Account, name: str, time: str) -> None:
    response = await admin.client.get(EVENTS, params={name: time})

    assert (response.status_code, pointers(response)) == (422, [f"/query/{name}"])


async def test_only_administrators_see_the_events_of_all_accounts(member: Account) -> None:
    assert (await member.client.get(EVENTS)).status_code == 403


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
@pytest.mark.parametrize("path", [OWN_EVENTS, EVENTS])
async def test_pages_are_complete_and_in_order(
    admin: Account, database: Database, path: str, sort: str
) -> None:
    now = utcnow()
    same_time = [new_event(account_id=admin.id, created_at=now) for _ in range(3)]
    await store(database, *same_time, new_event(account_id=admin.id))

    pages = await read_pages(admin.client, path, limit=2, sort=sort)

    assert [len(page) for page in pages] == [2, 2]
    listed = [UUID(event["id"]) for event in chain(*pages)]
    assert listed == sorted(listed, reverse=sort.startswith("-"))


async def test_recorded_failures_are_bounded_for_an_account_and_in_total(
    new_app: NewApp, session: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_RECORDED_FAILURES", 4)
    state = get_state(new_app(login_attempts=3))

    for key in ("first", "second"):
        for action in (Action.LOGIN_FAILED, Action.LOGIN_CODE_FAILED):
            for _ in range(5):
                await service.record_failed_login(
                    state.database, state.auth, action, None, key, ADDRESS
                )

    actions = (await session.scalars(select(AuditEvent.action))).all()
    assert sorted(actions) == [Action.LOGIN_CODE_FAILED] * 4 + [Action.LOGIN_FAILED] * 4


async def test_failures_of_unknown_emails_do_not_hide_those_of_accounts(
    new_app: NewApp, session: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_RECORDED_FAILURES", 2)
    state, account_id = get_state(new_app()), uuid4()

    for key, user_id in (("a", None), ("b", None), ("c", None), ("d", account_id)):
        action = Action.LOGIN_FAILED
        await service.record_failed_login(state.database, state.auth, action, user_id, key, ADDRESS)

    recorded = (await session.scalars(select(AuditEvent.account_id))).all()
    assert sorted(recorded, key=str) == sorted([None, None, account_id], key=str)
