"""Routes under /jobs; administrators only."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from ..auth.dependencies import AdminUser
from ..database import Reading, Record, Session
from ..errors import problems
from ..pagination import Page
from . import service
from .models import Job
from .schemas import JobQuery, JobRead

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("", response_model=Page[JobRead], responses=problems(401, 403))
async def list_jobs(
    page: Annotated[JobQuery, Query()], _: AdminUser, reader: Reading
) -> dict[str, object]:
    """All jobs."""
    jobs, next_cursor = await service.list_jobs(reader, page)
    return {"items": jobs, "next_cursor": next_cursor}


@router.get("/{job_id}", response_model=JobRead, responses=problems(401, 403, 404))
async def read_job(job_id: UUID, _: AdminUser, reader: Reading) -> Record:
    """One job."""
    return await service.read_job(reader, job_id)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobRead,
    responses=problems(401, 403, 404, 409),
)
async def retry_job(job_id: UUID, _: AdminUser, session: Session) -> Job:
    """Try a failed job again."""
    return await service.retry_job(session, job_id)
