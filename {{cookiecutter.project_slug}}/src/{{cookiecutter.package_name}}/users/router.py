"""Routes under /users."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Response

from ..auth import personal_tokens
from ..auth.dependencies import (
    STEP_UP,
    AccountReader,
    AccountWriter,
    AuthDep,
    ClearCookies,
    ClientDep,
    CurrentAdmin,
    RecentAdmin,
    RecentPrincipal,
)
from ..auth.models import PersonalAccessToken, User
from ..auth.principal import Principal
from ..auth.schemas import PersonalTokenRead, UserRead
from ..auth.service import begin_administration, check_address_limit
from ..dependencies import DatabaseDep, DbSession, ReadSession, RequireMail
from ..errors import field_problem, problem_responses
from ..exceptions import (
    IncorrectPasswordError,
    RegistrationClosedError,
    UnacceptablePasswordError,
)
from ..pagination import Page, RowPage
from ..throttle import address_key
from . import email_change, invitations, service
from .schemas import (
    AccountDelete,
    EmailChange,
    EmailToken,
    InvitationAcceptance,
    InvitationCreate,
    PasswordChange,
    ProfileUpdate,
    RegistrationAccepted,
    UserCreate,
    UserQuery,
    UserUpdate,
)

log = structlog.stdlib.get_logger(__name__)

router = APIRouter(prefix="/api/v1/users", tags=["users"])


@router.get("/me", response_model=UserRead, responses=problem_responses(401, 403))
async def read_me(principal: AccountReader) -> Principal:
    """Return the caller's own account."""
    return principal


@router.patch("/me", response_model=UserRead, responses=problem_responses(401, 403))
async def update_me(data: ProfileUpdate, principal: AccountWriter, session: DbSession) -> User:
    """Change the caller's own profile."""
    return await service.update_profile(session, principal.id, data)


@router.post("", status_code=202, responses=problem_responses(403, 429))
async def register_user(
    data: UserCreate, database: DatabaseDep, auth: AuthDep, client: ClientDep
) -> RegistrationAccepted:
    """Register an account, which is never an administrator's.

    The response is the same if the address has an account; its owner then gets an email.
    """
    if auth.settings.registration != "open":
        raise RegistrationClosedError
    await check_address_limit(auth, client, "register")
    password, caller = data.password.get_secret_value(), address_key(client.address)
    try:
        password_hash = await auth.hasher.hash_new(password, data.email, caller)
    except UnacceptablePasswordError as error:
        raise field_problem(422, "/body/password", str(error)) from None
    await service.register(database, auth, data, password_hash, client)
    return RegistrationAccepted(email=data.email)


@router.post(
    "/invitations",
    status_code=201,
    response_model=UserRead,
    dependencies=[RequireMail],
    responses=problem_responses(403, 409, 429) | STEP_UP,
)
async def invite_user(
    data: InvitationCreate, admin: RecentAdmin, database: DatabaseDep, auth: AuthDep
) -> User:
    """Create an account, and email a link to set its password; administrators only.

    For an account without a password, only send the email again.
    """
    await invitations.check_invitation(auth, data.email)
    async with database.write_session() as session:
        await begin_administration(session, admin)
        user = await invitations.invite_user(session, data, admin)
    log.info("user invited", invited_user_id=str(user.id))
    return user


@router.put("/invitations", status_code=204, responses=problem_responses(429))
async def accept_invitation(
    data: InvitationAcceptance, database: DatabaseDep, auth: AuthDep, client: ClientDep
) -> None:
    """Set the password of an invited account with the token of the email."""
    await check_address_limit(auth, client, "recovery")
    await invitations.accept_invitation(database, auth, data, client)


@router.put("/email-undo", status_code=204, responses=problem_responses(409, 429))
async def undo_email_change(
    data: EmailToken, database: DatabaseDep, auth: AuthDep, client: ClientDep
) -> None:
    """Undo a change of the email address with the token of the email to the former address.

    Revokes every session and token, and emails a link to set a new password.
    """
    await check_address_limit(auth, client, "recovery")
    await email_change.undo_email_change(database, data.token.get_secret_value(), client)


@router.post(
    "/me/email",
    status_code=202,
    response_class=Response,
    dependencies=[RequireMail],
    responses=problem_responses(403, 429) | STEP_UP,
)
async def request_email_change(
    data: EmailChange, principal: RecentPrincipal, database: DatabaseDep, auth: AuthDep
) -> None:
    """Email a link to confirm a new address to it. The response is the same for a taken address."""
    await email_change.request_email_change(database, auth, principal, data)


@router.put("/me/email", response_model=UserRead, responses=problem_responses(401, 403, 409))
async def change_my_email(
    data: EmailToken, principal: AccountWriter, database: DatabaseDep, auth: AuthDep
) -> User:
    """Change the caller's email address with the token that was sent to the new address."""
    token = data.token.get_secret_value()
    return await email_change.change_email(database, auth.settings, principal, token)


@router.put(
    "/me/password",
    status_code=204,
    dependencies=[ClearCookies],
    responses=problem_responses(403, 429) | STEP_UP,
)
async def change_my_password(
    data: PasswordChange, principal: RecentPrincipal, database: DatabaseDep, auth: AuthDep
) -> None:
    """Change the caller's password and revoke every session, also that of this request."""
    current, new = data.current_password.get_secret_value(), data.new_password.get_secret_value()
    try:
        await service.change_password(database, auth, principal, current, new)
    except IncorrectPasswordError as error:
        raise field_problem(403, "/body/current_password", str(error)) from None


@router.delete(
    "/me",
    status_code=204,
    dependencies=[ClearCookies],
    responses=problem_responses(403, 409, 429) | STEP_UP,
)
async def delete_me(
    data: AccountDelete, principal: RecentPrincipal, database: DatabaseDep, auth: AuthDep
) -> None:
    """Delete the caller's account and everything that belongs to it."""
    await service.delete_account(database, auth, principal, data.password.get_secret_value())


@router.get("", response_model=Page[UserRead], responses=problem_responses(401, 403))
async def list_users(
    query: Annotated[UserQuery, Query()], _: CurrentAdmin, session: ReadSession
) -> RowPage:
    """List all accounts; administrators only."""
    return await service.list_users(session, query)


@router.get("/{user_id}", response_model=UserRead, responses=problem_responses(401, 403, 404))
async def read_user(user_id: UUID, _: CurrentAdmin, session: ReadSession) -> User:
    """Return an account; administrators only."""
    return await service.get_user(session, user_id)


@router.patch(
    "/{user_id}", response_model=UserRead, responses=problem_responses(403, 404, 409) | STEP_UP
)
async def update_user(
    user_id: UUID, data: UserUpdate, admin: RecentAdmin, database: DatabaseDep
) -> User:
    """Change role, state, email or name of an account; administrators only."""
    async with database.write_session() as session:
        user = await service.update_user(session, admin, user_id, data)
    changed = sorted(data.model_fields_set)
    log.info("user changed", changed_user_id=str(user.id), changed=changed)
    return user


@router.delete(
    "/{user_id}/factors", status_code=204, responses=problem_responses(403, 404) | STEP_UP
)
async def delete_user_factors(user_id: UUID, admin: RecentAdmin, database: DatabaseDep) -> None:
    """Remove the second factors of a user who has lost them; administrators only.

    Revokes every session of the user.
    """
    async with database.write_session() as session:
        is_removed = await service.remove_factors(session, admin, user_id)
    if is_removed:
        log.info("factors removed", changed_user_id=str(user_id))


@router.get(
    "/{user_id}/tokens",
    response_model=list[PersonalTokenRead],
    responses=problem_responses(401, 403, 404),
)
async def list_user_tokens(
    user_id: UUID, _: CurrentAdmin, session: ReadSession
) -> Sequence[PersonalAccessToken]:
    """List the valid personal access tokens of a user; administrators only."""
    await service.get_user(session, user_id)
    return await personal_tokens.list_tokens(session, user_id)


@router.delete(
    "/{user_id}/tokens/{token_id}",
    status_code=204,
    responses=problem_responses(403, 404) | STEP_UP,
)
async def delete_user_token(
    user_id: UUID, token_id: UUID, admin: RecentAdmin, session: DbSession
) -> None:
    """Revoke a personal access token of a user; administrators only."""
    await service.revoke_token(session, admin, user_id, token_id)
