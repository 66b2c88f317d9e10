"""Routes under /jobs; administrators only."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from ..auth.dependencies import CurrentAdmin
from ..dependencies import DbSession, ReadSession
from ..errors import problem_responses
from ..pagination import Page, RowPage
from . import service
from .models import Job
from .schemas import JobQuery, JobRead

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.get("", response_model=Page[JobRead], responses=problem_responses(401, 403))
async def list_jobs(
    query: Annotated[JobQuery, Query()], _: CurrentAdmin, session: ReadSession
) -> RowPage:
    """List all jobs."""
    return await service.list_jobs(session, query)


@router.get("/{job_id}", response_model=JobRead, responses=problem_responses(401, 403, 404))
async def read_job(job_id: UUID, _: CurrentAdmin, session: ReadSession) -> Job:
    """Return a job."""
    return await service.get_job(session, job_id)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobRead,
    responses=problem_responses(401, 403, 404, 409),
)
async def retry_job(job_id: UUID, _: CurrentAdmin, session: DbSession) -> Job:
    """Enqueue a failed job again."""
    return await service.retry_job(session, job_id)
