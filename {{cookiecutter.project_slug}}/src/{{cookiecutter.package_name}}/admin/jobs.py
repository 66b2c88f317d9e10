"""Pages of background jobs."""

from sqladmin import action, expose
from sqlalchemy import Text, cast, select
from starlette.requests import Request
from starlette.responses import Response

from ..auth.models import User
from ..exceptions import ServiceError
from ..worker import service
from ..worker.models import Status, jobs
from .transaction import AdminTransaction
from .views import AdminView, ChoiceFilter, ReadModel


class Job(ReadModel):
    """An unfinished job and the user who enqueued it, without its arguments."""

    __table__ = (
        select(*(column for column in jobs.c if column is not jobs.c.user_id), User.email)
        .join(User, cast(User.id, Text) == jobs.c.user_id, isouter=True)
        .subquery("job_rows")
    )


class JobView(AdminView, model=Job):
    """Unfinished background jobs. Failed jobs can be retried."""

    icon = "fa-solid fa-gears"
    can_create = can_edit = can_delete = False
    column_list = ("id", "task", "status", "attempts", "error_type", "created_at", "run_after")
    column_searchable_list = ("task", "error_type", "request_id")
    column_sortable_list = ("id", "task", "created_at", "run_after")
    column_default_sort = ("id", True)
    column_filters = (ChoiceFilter("status", [(status, status.capitalize()) for status in Status]),)

    @action(name="retry", label="Retry")
    async def confirm_retry(self, request: Request) -> Response:
        return await self.confirm_action(request, "retry")

    @expose("/action/retry", methods=["POST"])
    async def retry(self, request: Request) -> Response:
        return await self.run_action(request, "retry", self.retry_job)

    async def retry_job(self, tx: AdminTransaction, key: int) -> bool:
        try:
            await service.retry_job(tx.session, key)
        except ServiceError:  # the job has not failed, or has been done meanwhile
            return False
        return True

    def parse_key(self, text: str) -> int:
        key = int(text)
        if abs(key) >= 2**63:
            raise ValueError("greater than the column can store")
        return key
