"""Routes of second factors."""

from uuid import UUID

from fastapi import APIRouter

from ..dependencies import DbSession, ReadSession
from ..errors import problem_responses
from . import mfa
from .dependencies import STEP_UP, AccountReader, AuthDep, RecentPrincipal
from .schemas import (
    FactorConfirmation,
    FactorList,
    FactorRead,
    RecoveryCodes,
    TotpCreate,
    TotpRead,
)
from .service import check_reauthentication

router = APIRouter(prefix="/api/v1/auth", tags=["auth"], responses=problem_responses(401, 403))


@router.get("/factors")
async def list_factors(principal: AccountReader, session: ReadSession) -> FactorList:
    """List the caller's second factors."""
    factors, recovery_codes_left = await mfa.list_factors(session, principal.id)
    return FactorList(
        factors=[FactorRead.model_validate(factor) for factor in factors],
        recovery_codes_left=recovery_codes_left,
    )


@router.post("/factors/totp", status_code=201, responses=problem_responses(409) | STEP_UP)
async def create_totp(
    data: TotpCreate, principal: RecentPrincipal, session: DbSession, auth: AuthDep
) -> TotpRead:
    """Add an authenticator app (RFC 6238), which must be confirmed with its first code.

    Logins require no code before that. An unconfirmed app is replaced when another one is added.
    """
    factor, secret, uri = await mfa.enroll_totp(session, auth.box, principal, data.name)
    return TotpRead(id=factor.id, secret=secret, uri=uri)


@router.post("/factors/{factor_id}/confirmation", responses=problem_responses(404, 429) | STEP_UP)
async def confirm_factor(
    factor_id: UUID,
    data: FactorConfirmation,
    principal: RecentPrincipal,
    session: DbSession,
    auth: AuthDep,
) -> RecoveryCodes:
    """Enable a factor with its first code: logins need a code from now on.

    Revokes the caller's other sessions. Show the recovery codes to the user; they replace all
    earlier ones.
    """
    # A stolen session can confirm a factor, which must not reset the counter of passwords.
    await check_reauthentication(auth, principal.id)
    otp = data.otp.get_secret_value()
    codes = await mfa.confirm(session, auth.box, principal, factor_id, otp)
    return RecoveryCodes(recovery_codes=codes)


@router.delete("/factors/{factor_id}", status_code=204, responses=problem_responses(404) | STEP_UP)
async def delete_factor(factor_id: UUID, principal: RecentPrincipal, session: DbSession) -> None:
    """Remove a factor, and with the last one the recovery codes."""
    await mfa.remove(session, principal, factor_id)


@router.post("/recovery-codes", status_code=201, responses=problem_responses(409) | STEP_UP)
async def create_recovery_codes(principal: RecentPrincipal, session: DbSession) -> RecoveryCodes:
    """Replace the caller's recovery codes."""
    return RecoveryCodes(recovery_codes=await mfa.replace_recovery_codes(session, principal))
