"""Response bodies and queries of the audit routes."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from ..field_types import Timestamp
from ..pagination import PageQuery
from ..schemas import ResponseModel, Text
from .models import Credential


class AuditQuery(PageQuery):
    """Order of a list of events."""

    sort: Literal["created_at", "-created_at"] = "-created_at"


class AuditEventQuery(AuditQuery):
    """Filters and order of the list of all events."""

    account_id: Annotated[UUID | None, Field(description="Only events of this account.")] = None
    actor_id: Annotated[UUID | None, Field(description="Only events caused by this account.")] = (
        None
    )
    action: Annotated[Text | None, Field(max_length=40, examples=["login.failed"])] = None
    since: Annotated[Timestamp | None, Field(description="Only events at or after this time.")] = (
        None
    )
    until: Annotated[Timestamp | None, Field(description="Only events before this time.")] = None


class _AuditEvent(ResponseModel):
    id: UUID
    created_at: datetime
    action: Annotated[str, Field(examples=["login.succeeded"])]
    credential: Annotated[Credential, Field(description="How the actor was authenticated.")]
    target: Annotated[
        str | None, Field(description="The object of the action.", examples=["fields:email,role"])
    ]
    request_id: Annotated[
        str | None, Field(description="The X-Request-ID of the request, also in the log.")
    ]


class AuditEventRead(_AuditEvent):
    """An event of the caller's account."""

    by: Annotated[
        Literal["you", "administrator", "unknown"],
        Field(description="Who caused the event; `you` is anyone with the account's credentials."),
    ]
    address: Annotated[
        str | None, Field(description="Address of the client; null if an administrator's.")
    ]


class AuditEventAdminRead(_AuditEvent):
    """An event of any account, as administrators see it."""

    account_id: Annotated[UUID | None, Field(description="The account; null if unknown.")]
    actor_id: Annotated[UUID | None, Field(description="The account that caused the event.")]
    address: str | None
