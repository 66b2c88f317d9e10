"""Routes under /jobs; administrators only."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Query, Security
from sqlalchemy import Row

from ..auth.dependencies import get_current_principal
from ..auth.principal import Principal
from ..auth.scopes import ADMINISTRATORS, define_scope
from ..dependencies import DatabaseDep, ReadSession
from ..errors import problem_responses
from ..pagination import Page, RowPage
from . import service
from .schemas import JobQuery, JobRead

log = structlog.stdlib.get_logger(__name__)

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

JOBS_ADMIN = define_scope("jobs:admin", "Read and retry jobs.", ADMINISTRATORS)
JobAdmin = Annotated[Principal, Security(get_current_principal, scopes=[JOBS_ADMIN])]
JobKey = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("", response_model=Page[JobRead], responses=problem_responses(401, 403))
async def list_jobs(
    query: Annotated[JobQuery, Query()], _: JobAdmin, session: ReadSession
) -> RowPage:
    """List unfinished jobs of all users."""
    return await service.list_jobs(session, query)


@router.get("/{job_id}", response_model=JobRead, responses=problem_responses(401, 403, 404))
async def read_job(job_id: JobKey, _: JobAdmin, session: ReadSession) -> Row[*tuple[object, ...]]:
    """Return an unfinished job."""
    return await service.get_job(session, job_id)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobRead,
    responses=problem_responses(401, 403, 404, 409),
)
async def retry_job(job_id: JobKey, _: JobAdmin, database: DatabaseDep) -> Row[*tuple[object, ...]]:
    """Enqueue a failed job again."""
    async with database.write_session() as session:
        await service.retry_job(session, job_id)
        job = await service.get_job(session, job_id)
    log.info("job retried", task=job.task, job_id=str(job_id))
    return job
