"""Background jobs in PostgreSQL, with PgQueuer.

A request enqueues a job in its own transaction. Worker processes run the jobs, each at least once,
and enqueue the tasks that have a schedule.
"""

from fastapi import FastAPI

from ..errors import problem_responses
from .router import router


def setup(app: FastAPI) -> None:
    """Mount the routes for administrators."""
    app.include_router(router, responses=problem_responses(400, 413, 422, 429, 503))
