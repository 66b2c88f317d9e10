"""Pages of the audit log."""

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from ..audit import models
from ..auth.models import ServiceAccount, User
from .views import AdminView, ChoiceFilter, ReadModel

Actor, ActingService = aliased(User), aliased(ServiceAccount)


class AuditEvent(ReadModel):
    """An event, with the present emails of its account and its actor, or names of services."""

    __table__ = (
        select(
            *models.AuditEvent.__table__.columns,
            func.coalesce(ServiceAccount.name, User.email).label("account"),
            func.coalesce(ActingService.name, Actor.email).label("actor"),
        )
        .join(User, User.id == models.AuditEvent.account_id, isouter=True)
        .join(ServiceAccount, ServiceAccount.user_id == User.id, isouter=True)
        .join(Actor, Actor.id == models.AuditEvent.actor_id, isouter=True)
        .join(ActingService, ActingService.user_id == Actor.id, isouter=True)
        .subquery("audit_event_rows")
    )


class AuditEventView(AdminView, model=AuditEvent):
    """The audit log, read-only."""

    name = "Audit event"
    name_plural = "Audit events"
    icon = "fa-solid fa-list-check"
    can_create = can_edit = can_delete = False
    column_list = ("created_at", "action", "account", "actor", "target", "address", "credential")
    column_searchable_list = ("account", "actor", "target", "request_id", "address")
    column_sortable_list = ("created_at",)
    column_default_sort = ("created_at", True)
    column_filters = (ChoiceFilter("action", [(action, action) for action in models.Action]),)
