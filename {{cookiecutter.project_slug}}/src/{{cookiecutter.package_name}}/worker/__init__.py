"""Background jobs: an outbox in the database, workers that read a Redis stream, a scheduler.

The table is the queue: what a job is, and what became of it. The stream only tells the workers at
once that there is something to do; whatever it loses, the scheduler sends again.
"""

from fastapi import FastAPI

from ..errors import problem_responses
from ..mail import Mailer
from ..settings import Settings
from .outbox import Outbox
from .router import router


def setup(app: FastAPI, settings: Settings) -> None:
    """Make what jobs need, and mount the routes for administrators."""
    app.state.mailer = Mailer(settings)
    app.state.outbox = Outbox(app.state.services.redis)
    app.state.services.database.info.update(outbox=app.state.outbox)
    app.include_router(router, responses=problem_responses(400, 413, 422, 429, 503))
