"""Routes that reset passwords and verify email addresses."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from ..dependencies import DatabaseDep, RequireMail
from ..errors import problem_responses
from . import recovery
from .cookies import clear_cookies
from .dependencies import AuthDep, ClientDep, get_optional_account_writer
from .principal import Principal
from .schemas import EmailRequest, EmailVerification, PasswordReset, VerifiedEmail

router = APIRouter(prefix="/api/v1/auth", tags=["auth"], responses=problem_responses(429))


@router.post(
    "/password-reset", status_code=202, response_class=Response, dependencies=[RequireMail]
)
async def request_password_reset(
    data: EmailRequest, database: DatabaseDep, auth: AuthDep, client: ClientDep
) -> None:
    """Send a link that sets a new password, if an account has the email address.

    The response is the same for every address.
    """
    await recovery.request_password_reset(database, auth, data.email, client)


@router.put("/password-reset", status_code=204)
async def reset_password(
    data: PasswordReset,
    response: Response,
    database: DatabaseDep,
    auth: AuthDep,
    client: ClientDep,
) -> None:
    """Set a new password with the token of the link, and revoke every session of the account."""
    await recovery.reset_password(database, auth, data, client)
    clear_cookies(response, auth.settings)


@router.post(
    "/email-verification", status_code=202, response_class=Response, dependencies=[RequireMail]
)
async def request_email_verification(
    data: EmailRequest, database: DatabaseDep, auth: AuthDep, client: ClientDep
) -> None:
    """Send a link that verifies the email address again, if an account needs it.

    The response is the same for every address.
    """
    await recovery.request_verification(database, auth, data.email, client)


@router.put("/email-verification", responses=problem_responses(401, 403))
async def verify_email(
    data: EmailVerification,
    principal: Annotated[Principal | None, Depends(get_optional_account_writer)],
    database: DatabaseDep,
    auth: AuthDep,
    client: ClientDep,
) -> VerifiedEmail:
    """Verify the email address with the token of the link.

    Another person may have registered the address. Prove that the account is yours by its password
    or a session, or else set `discard_password` to revoke its sessions and get a link that sets a
    new password.
    """
    return await recovery.verify_email(database, auth, data, client, principal)
