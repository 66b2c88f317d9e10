"""Record and list audit events."""

from typing import Final
from uuid import UUID

from asgi_correlation_id import correlation_id
from sqlalchemy import bindparam, case, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..auth.principal import Principal
from ..pagination import RowPage, paginate
from .models import AuditEvent, Credential
from .schemas import AuditEventQuery, AuditQuery

MAX_TARGET: Final = 80  # characters; names of many fields are longer
# Credentials that only the owner of the account has, who therefore is the actor.
OWN_CREDENTIALS: Final = {"password", "token", "client_credentials", "email_link"}

_BY_ADMINISTRATOR = or_(
    AuditEvent.actor_id != AuditEvent.account_id, AuditEvent.credential == "cli"
)
_OWN_EVENTS = select(
    AuditEvent.id,
    AuditEvent.created_at,
    AuditEvent.action,
    case(
        (_BY_ADMINISTRATOR, "administrator"),
        (AuditEvent.actor_id.is_not(None), "you"),
        else_="unknown",
    ).label("by"),
    AuditEvent.credential,
    AuditEvent.target,
    AuditEvent.request_id,
    case((_BY_ADMINISTRATOR, None), else_=AuditEvent.address).label("address"),
).where(AuditEvent.account_id == bindparam("account_id"))
_EVENTS = select(*AuditEvent.__table__.columns)


def record(
    session: AsyncSession,
    action: str,
    account_id: UUID | None,
    *,
    by: Principal | None = None,
    credential: Credential = "none",
    target: str | None = None,
    address: str | None = None,
) -> None:
    """Add an event to the transaction of the change, so that both are stored or neither.

    An event contains no values, such as email addresses or tokens.

    Args:
        action: an `Action`, or "admin." with the action of an admin page.
        account_id: the account that is changed or logged in to; None if there is none.
        by: the authenticated caller. Without one, the actor is the owner of the account if
            `credential` is one of `OWN_CREDENTIALS`, and unknown otherwise.
        credential: how the actor was authenticated, if not as `by`.
        target: what of the account is changed, such as "session:<id>" or "fields:role,is_active".
        address: the address of a client without a session.
    """
    actor_id = account_id if credential in OWN_CREDENTIALS else None
    if by is not None:
        actor_id, address, credential = by.id, by.address, by.credential
    session.add(
        AuditEvent(
            action=action,
            account_id=account_id,
            actor_id=actor_id,
            credential=credential,
            target=target and target[:MAX_TARGET],
            request_id=correlation_id.get(),
            address=address,
        )
    )


async def list_own_events(session: AsyncSession, account_id: UUID, query: AuditQuery) -> RowPage:
    """List the events of an account for its owner, without the addresses of administrators."""
    return await paginate(session, _OWN_EVENTS, query, {"account_id": account_id})


async def list_events(session: AsyncSession, query: AuditEventQuery) -> RowPage:
    """List the events of all accounts that match the query."""
    statement = _EVENTS
    if query.account_id is not None:
        statement = statement.where(AuditEvent.account_id == query.account_id)
    if query.actor_id is not None:
        statement = statement.where(AuditEvent.actor_id == query.actor_id)
    if query.action is not None:
        statement = statement.where(AuditEvent.action == query.action)
    if query.since is not None:
        statement = statement.where(AuditEvent.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(AuditEvent.created_at < query.until)
    return await paginate(session, statement, query)
