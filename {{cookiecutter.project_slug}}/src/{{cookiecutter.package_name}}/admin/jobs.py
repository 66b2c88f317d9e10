"""Pages of background jobs."""

from typing import Self

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


class JobKey(int):
    """The id of a job, which is not greater than the column can store."""

    def __new__(cls, text: str) -> Self:
        """Convert the text of a URL."""
        if not 0 < int(text) < 2**63:
            raise ValueError("not the id of a job")
        return super().__new__(cls, text)


class Job(ReadModel):
    """An unfinished job and the user who enqueued it, without its arguments."""

    __table__ = (
        select(*(column for column in jobs.c if column is not jobs.c.user_id), User.email)
        .join(User, cast(User.id, Text) == jobs.c.user_id, isouter=True)
        .subquery("job_rows")
    )


class JobView(AdminView, model=Job):
    """Unfinished background jobs. Failed jobs can be retried."""

    key_type = JobKey
    icon = "fa-solid fa-gears"
    can_create = can_edit = can_delete = False
    column_list = ("id", "task", "status", "attempts", "error_type", "created_at", "run_after")
    column_searchable_list = ("task", "error_type", "request_id")
    column_sortable_list = ("id", "task", "created_at", "run_after")
    column_default_sort = ("id", True)
    column_filters = (ChoiceFilter("status", [(status, status.capitalize()) for status in Status]),)

    @action(name="retry", label="Retry")
    async def confirm_retry(self, request: Request) -> Response:
        """Ask for confirmation."""
        return await self.confirm_action(request, "Retry", "job")

    @expose("/action/retry", methods=["POST"])
    async def retry(self, request: Request) -> Response:
        """Retry the selected jobs that have failed."""
        return await self.run_action(request, "retry", self.retry_job)

    async def retry_job(self, tx: AdminTransaction, key: int) -> bool:
        """Enqueue a failed job again."""
        try:
            await service.retry_job(tx.session, key)
        except ServiceError:  # the job has not failed, or has been done meanwhile
            return False
        return True


VIEWS: tuple[type[AdminView], ...] = (JobView,)
