"""The audit log on the admin pages."""

import re
from uuid import UUID

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.audit.models import Action, AuditEvent

from support import Account, delete_account

EVENTS = "/admin/audit-event"


@pytest.fixture
async def event_id(admin: Account, member: Account, session: AsyncSession) -> UUID:
    """An event that an administrator caused, and before it another one."""
    old = AuditEvent(action=Action.PASSWORD_CHANGED, account_id=member.id, credential="cookie")
    event = AuditEvent(
        action=Action.USER_CHANGED,
        account_id=member.id,
        actor_id=admin.id,
        credential="token",
        target="fields:role",
        request_id="request-1",
    )
    session.add_all([old, event])
    await session.commit()
    return event.id


def actions(page: Response) -> list[str]:
    """Return the actions of a list, in its order."""
    return re.findall(r"<td>([a-z_]+\.[a-z_]+)</td>", page.text)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("search={member}", ["user.changed", "password.changed"]),
        ("search={member}&sortBy=created_at", ["password.changed", "user.changed"]),
        ("search={member}&action=password.changed", ["password.changed"]),
        ("search={admin}&action=user.changed", ["user.changed"]),
        ("search=request-1", ["user.changed"]),
        ("search=fields:ROLE", ["user.changed"]),
    ],
)
@pytest.mark.usefixtures("event_id")
async def test_events_are_found(
    browser: AsyncClient, admin: Account, member: Account, query: str, found: list[str]
) -> None:
    emails = {"admin": admin.email, "member": member.email}

    page = await browser.get(f"{EVENTS}/list?{query.format(**emails)}")

    assert actions(page) == found


async def test_event_of_a_deleted_account_has_its_id(
    browser: AsyncClient, member: Account, event_id: UUID
) -> None:
    assert (await delete_account(member.client)).status_code == 204

    details = await browser.get(f"{EVENTS}/details/{event_id}")

    assert str(member.id) in details.text
    assert member.email not in details.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "create"),
        ("POST", "create"),
        ("GET", "edit/{event}"),
        ("POST", "edit/{event}"),
        ("DELETE", "delete?pks={event}"),
    ],
)
async def test_events_cannot_be_changed(
    browser: AsyncClient, session: AsyncSession, event_id: UUID, method: str, path: str
) -> None:
    before = (await session.scalars(select(AuditEvent.id))).all()

    response = await browser.request(method, f"{EVENTS}/{path.format(event=event_id)}")

    assert response.status_code in {403, 404}
    assert (await session.scalars(select(AuditEvent.id))).all() == before
