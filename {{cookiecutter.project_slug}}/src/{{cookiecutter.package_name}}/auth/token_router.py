"""Routes of personal access tokens."""

from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter

from ..dependencies import DbSession, ReadSession
from ..errors import problem_responses
from . import personal_tokens
from .dependencies import STEP_UP, AccountReader, AccountWriter, RecentPrincipal
from .models import PersonalAccessToken
from .schemas import PersonalTokenCreate, PersonalTokenCreated, PersonalTokenRead

router = APIRouter(prefix="/api/v1/auth", tags=["auth"], responses=problem_responses(401, 403))


@router.post("/tokens", status_code=201, responses=problem_responses(409) | STEP_UP)
async def create_personal_token(
    data: PersonalTokenCreate, principal: RecentPrincipal, session: DbSession
) -> PersonalTokenCreated:
    """Create a personal access token for a program. The token is shown only once.

    The token acts for the caller, within its scopes and those of the caller's role. It cannot
    create tokens or change the account.
    """
    token, secret = await personal_tokens.create_token(
        session, principal, data.name, data.scopes, data.expires_at
    )
    row = PersonalTokenRead.model_validate(token)
    return PersonalTokenCreated(**row.model_dump(), token=secret)


@router.get("/tokens", response_model=list[PersonalTokenRead])
async def list_personal_tokens(
    principal: AccountReader, session: ReadSession
) -> Sequence[PersonalAccessToken]:
    """List the caller's valid personal access tokens."""
    return await personal_tokens.list_tokens(session, principal.id)


@router.delete("/tokens/{token_id}", status_code=204, responses=problem_responses(404))
async def delete_personal_token(
    token_id: UUID, principal: AccountWriter, session: DbSession
) -> None:
    """Revoke a personal access token of the caller."""
    await personal_tokens.revoke_token(session, principal.id, token_id, by=principal)
