"""Pages of background jobs."""

from uuid import UUID

from sqladmin import action, expose
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from ..auth.models import User
from ..worker import models as worker
from ..worker import service
from ..worker.models import State
from .transaction import AdminTransaction
from .views import AdminView, ChoiceFilter, ReadModel


class Job(ReadModel):
    """A job and the user who enqueued it, without its arguments."""

    __table__ = (
        select(
            worker.Job.id,
            worker.Job.task,
            worker.Job.state,
            worker.Job.attempts,
            worker.Job.error_type,
            worker.Job.request_id,
            User.email,
            worker.Job.created_at,
            worker.Job.due_at,
            worker.Job.started_at,
            worker.Job.finished_at,
        )
        .join(User, User.id == worker.Job.user_id, isouter=True)
        .subquery("job_rows")
    )


class JobView(AdminView, model=Job):
    """Background jobs. Failed jobs can be retried."""

    icon = "fa-solid fa-gears"
    can_create = can_edit = can_delete = False
    column_list = ("task", "state", "attempts", "error_type", "created_at", "finished_at")
    column_searchable_list = ("task", "error_type", "request_id")
    column_sortable_list = ("task", "created_at", "finished_at")
    column_default_sort = ("created_at", True)
    column_filters = (ChoiceFilter("state", [(state, state.capitalize()) for state in State]),)

    @action(name="retry", label="Retry")
    async def confirm_retry(self, request: Request) -> Response:
        """Ask for confirmation."""
        return await self.confirm_action(request, "Retry", "job")

    @expose("/action/retry", methods=["POST"])
    async def retry(self, request: Request) -> Response:
        """Retry the selected jobs that have failed."""
        return await self.run_action(request, "retry", self.retry_job)

    async def retry_job(self, tx: AdminTransaction, key: UUID) -> bool:
        """Enqueue a failed job again."""
        job = await tx.session.get(worker.Job, key, with_for_update=True)
        if job is None or job.state is not State.FAILED:
            return False
        await service.retry_job(tx.session, key)
        return True


VIEWS: tuple[type[AdminView], ...] = (JobView,)
