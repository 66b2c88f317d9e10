"""Routes of service accounts, for administrators."""

from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Response
from sqlalchemy import Row

from ..dependencies import DbSession, ReadSession
from ..errors import problem_responses
from ..pagination import Page, RowPage
from . import service_accounts
from .dependencies import STEP_UP, CurrentAdmin, RecentAdmin
from .schemas import (
    ClientSecretRead,
    ServiceAccountCreate,
    ServiceAccountCreated,
    ServiceAccountQuery,
    ServiceAccountRead,
    ServiceAccountUpdate,
)

log = structlog.stdlib.get_logger(__name__)

router = APIRouter(
    prefix="/api/v1/service-accounts",
    tags=["service accounts"],
    responses=problem_responses(401, 403),
)


@router.post("", status_code=201, responses=problem_responses(409) | STEP_UP)
async def create_service_account(
    data: ServiceAccountCreate, admin: RecentAdmin, session: DbSession, response: Response
) -> ServiceAccountCreated:
    """Create an account for a program, which gets access tokens with client credentials.

    Without `jwks`, the response contains a client secret, which is shown only once.
    """
    account_id, secret = await service_accounts.create_service_account(session, admin, data)
    account = await service_accounts.get_service_account(session, account_id)
    log.info("service account created", account_id=str(account_id))
    response.headers["Location"] = f"/api/v1/service-accounts/{account_id}"
    read = ServiceAccountRead.model_validate(account)
    return ServiceAccountCreated(**read.model_dump(), client_secret=secret)


@router.get("", response_model=Page[ServiceAccountRead])
async def list_service_accounts(
    query: Annotated[ServiceAccountQuery, Query()], _: CurrentAdmin, session: ReadSession
) -> RowPage:
    """List the service accounts."""
    return await service_accounts.list_service_accounts(session, query)


@router.get("/{account_id}", response_model=ServiceAccountRead, responses=problem_responses(404))
async def read_service_account(
    account_id: UUID, _: CurrentAdmin, session: ReadSession
) -> Row[*tuple[Any, ...]]:
    """Return a service account."""
    return await service_accounts.get_service_account(session, account_id)


@router.patch(
    "/{account_id}",
    response_model=ServiceAccountRead,
    responses=problem_responses(404, 409) | STEP_UP,
)
async def update_service_account(
    account_id: UUID, data: ServiceAccountUpdate, admin: RecentAdmin, session: DbSession
) -> Row[*tuple[Any, ...]]:
    """Change name, scopes, keys or state of a service account.

    New keys replace a secret. Removing a scope and deactivating the account revoke its access
    tokens; tokens that were issued to a removed key are valid until they expire.
    """
    await service_accounts.update_service_account(session, admin, account_id, data)
    log.info("service account changed", account_id=str(account_id))
    return await service_accounts.get_service_account(session, account_id)


@router.post("/{account_id}/secret", responses=problem_responses(404) | STEP_UP)
async def rotate_client_secret(
    account_id: UUID, admin: RecentAdmin, session: DbSession
) -> ClientSecretRead:
    """Replace the secret or the keys of a service account with a new secret.

    Revokes the access tokens of the account. The secret is shown only once.
    """
    secret = await service_accounts.rotate_secret(session, admin, account_id)
    log.info("service account secret rotated", account_id=str(account_id))
    return ClientSecretRead(client_secret=secret)


@router.delete("/{account_id}", status_code=204, responses=problem_responses(404) | STEP_UP)
async def delete_service_account(account_id: UUID, admin: RecentAdmin, session: DbSession) -> None:
    """Delete a service account and everything that belongs to it."""
    await service_accounts.delete_service_account(session, admin, account_id)
    log.info("service account deleted", account_id=str(account_id))
