"""Routes of the audit log."""

from typing import Annotated

from fastapi import APIRouter, Query, Security

from ..auth.dependencies import AccountReader, get_current_principal
from ..auth.principal import Principal
from ..auth.scopes import AUDIT_READ
from ..dependencies import ReadSession
from ..errors import problem_responses
from ..pagination import Page, RowPage
from . import service
from .schemas import AuditEventAdminRead, AuditEventQuery, AuditEventRead, AuditQuery

router = APIRouter(prefix="/api/v1", tags=["audit"], responses=problem_responses(401, 403))

AuditReader = Annotated[Principal, Security(get_current_principal, scopes=[AUDIT_READ])]


@router.get("/users/me/audit-events", response_model=Page[AuditEventRead])
async def list_my_audit_events(
    query: Annotated[AuditQuery, Query()], principal: AccountReader, session: ReadSession
) -> RowPage:
    """List the events of the caller's account, such as logins and changes."""
    return await service.list_own_events(session, principal.id, query)


@router.get("/audit-events", response_model=Page[AuditEventAdminRead])
async def list_audit_events(
    query: Annotated[AuditEventQuery, Query()], _: AuditReader, session: ReadSession
) -> RowPage:
    """List the events of all accounts; administrators only."""
    return await service.list_events(session, query)
