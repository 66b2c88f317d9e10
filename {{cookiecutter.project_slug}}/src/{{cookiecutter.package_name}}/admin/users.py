"""Pages of accounts and logins."""

from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr
from sqladmin import action, expose
from sqladmin.filters import BooleanFilter
from sqlalchemy import case, func, select
from starlette.requests import Request
from starlette.responses import Response
from wtforms import BooleanField, Form, HiddenField, PasswordField, SelectField, StringField

from ..auth import models as auth
from ..auth.dependencies import get_auth_services
from ..auth.models import Role
from ..auth.passwords import MIN_LENGTH, NewPassword
from ..auth.sessions import revoke_session
from ..dependencies import require_mail
from ..exceptions import ConflictError
from ..schemas import RequestModel
from ..users import service
from ..users.invitations import check_invitation, invite_user
from ..users.schemas import InvitationCreate, UserCreate, UserUpdate
from .transaction import AdminTransaction, transaction
from .views import TEXT, AdminView, ChoiceFilter, ReadModel, changed

ROLES: Final = (Role.USER, Role.ADMIN)  # people, not service accounts


class User(ReadModel):
    """A person's account, without its password hash."""

    __table__ = (
        select(*auth.ACCOUNT_COLUMNS, auth.User.email_verified_at.is_not(None).label("verified"))
        .where(auth.User.role.in_(ROLES))
        .subquery("user_rows")
    )


class LoginSession(ReadModel):
    """A login and its account or service account, without the hash of its cookie."""

    __table__ = (
        select(
            auth.LoginSession.id,
            func.coalesce(auth.ServiceAccount.name, auth.User.email).label("account"),
            case((auth.LoginSession.cookie_hash.is_(None), "token"), else_="cookie").label("kind"),
            auth.LoginSession.address,
            auth.LoginSession.user_agent,
            auth.LoginSession.scope,
            auth.LoginSession.created_at,
            auth.LoginSession.expires_at,
            auth.LoginSession.revoked_at.is_not(None).label("revoked"),
        )
        .join(auth.User, auth.User.id == auth.LoginSession.user_id)
        .join(auth.ServiceAccount, auth.ServiceAccount.user_id == auth.User.id, isouter=True)
        .subquery("login_rows")
    )


class PasswordReset(RequestModel):
    """A new password for another user."""

    password: NewPassword


class UserForm(Form):  # type: ignore[misc]
    """An account; `updated_at` detects concurrent changes."""

    updated_at = HiddenField()
    email = StringField("Email", render_kw=TEXT)
    full_name = StringField("Name", render_kw=TEXT)
    role = SelectField("Role", choices=ROLES, render_kw={"class": "form-select"})
    is_active = BooleanField("Active", default=True, render_kw={"class": "form-check-input"})
    password = PasswordField(
        "Password",
        description=f"At least {MIN_LENGTH} characters. Leave it empty to keep the current one, or "
        "to invite a new user by email. A new password revokes all logins of the account.",
        render_kw={**TEXT, "autocomplete": "new-password"},
    )


class UserView(AdminView, model=User):
    """Accounts, under the rules of the API."""

    icon = "fa-solid fa-user"
    column_list = (
        "email",
        "full_name",
        "role",
        "is_active",
        "verified",
        "mfa_enabled",
        "created_at",
    )
    column_searchable_list = ("email", "full_name")
    column_sortable_list = ("email", "full_name", "role", "created_at")
    column_default_sort = ("created_at", True)
    column_filters = (
        ChoiceFilter("role", [(role, role.capitalize()) for role in ROLES]),
        BooleanFilter("is_active", title="Active"),
        BooleanFilter("verified"),
        BooleanFilter("mfa_enabled", title="Second factor"),
    )
    form = UserForm

    async def create_row(self, request: Request, data: dict[str, Any]) -> auth.User:
        profile = {"email": data["email"], "full_name": data["full_name"] or None}
        role = Role(data["role"])
        user_data: UserCreate | InvitationCreate
        if data["password"]:
            user_data = UserCreate(**profile, password=data["password"])
            password_hash = await _hash_password(request, user_data.password, user_data.email)
        else:
            user_data = InvitationCreate(**profile, role=role)
            await _check_invitation(request, user_data.email)
        async with transaction(request) as tx:
            if isinstance(user_data, InvitationCreate):
                taken = select(auth.User.id).where(auth.User.email == user_data.email)
                if await tx.session.scalar(taken) is not None:
                    raise ConflictError(service.EMAIL_TAKEN)
                user = await invite_user(tx.session, user_data, tx.admin)
            else:
                user = await service.create_user(
                    tx.session, user_data, password_hash, role, by=tx.admin
                )
            if not data["is_active"]:
                update = UserUpdate(is_active=False)
                await service.update_user(tx.session, tx.admin, user.id, update)
            fields = [name for name, value in data.items() if value]
            tx.record("create", self.identity, user.id, fields)
        return user

    async def update_row(self, request: Request, key: UUID, data: dict[str, Any]) -> auth.User:
        password_hash = None
        if password := data.pop("password"):
            new_password = PasswordReset(password=password).password
            password_hash = await _hash_password(request, new_password, data["email"])
        async with transaction(request) as tx:
            user = await service.get_user(tx.session, key, for_update=True)
            if data.pop("updated_at") != str(user.updated_at):
                raise ConflictError("The account has changed in the meantime; load it again.")
            changes = changed(user, {**data, "full_name": data["full_name"] or None})
            if changes:
                update = UserUpdate(**changes)
                await service.update_user(tx.session, tx.admin, user.id, update)
            if password_hash is not None:
                await service.reset_password(tx.session, tx.admin, user.id, password_hash)
                changes["password"] = password_hash
            tx.record("change", self.identity, user.id, changes)
        return user

    async def delete_row(self, tx: AdminTransaction, key: UUID) -> None:
        await service.delete_user(tx.session, tx.admin, key)

    @action(name="invite", label="Send invitation")
    async def confirm_invite(self, request: Request) -> Response:
        return await self.confirm_action(request, "send invitation", "to")

    @expose("/action/invite", methods=["POST"])
    async def invite(self, request: Request) -> Response:
        async def invite_again(tx: AdminTransaction, key: UUID) -> bool:
            user = await service.get_user(tx.session, key)
            await _check_invitation(request, user.email)
            invitation = InvitationCreate(email=user.email, role=user.role)
            await invite_user(tx.session, invitation, tx.admin)
            return True

        return await self.run_action(request, "invite", invite_again)

    @action(name="remove-factors", label="Remove second factors")
    async def confirm_remove_factors(self, request: Request) -> Response:
        return await self.confirm_action(request, "remove second factors", "of")

    @expose("/action/remove-factors", methods=["POST"])
    async def remove_factors(self, request: Request) -> Response:
        async def remove(tx: AdminTransaction, key: UUID) -> bool:
            return await service.remove_factors(tx.session, tx.admin, key)

        return await self.run_action(request, "remove factors", remove)


class LoginView(AdminView, model=LoginSession):
    """Logins of all accounts."""

    name = "Login"
    name_plural = "Logins"
    icon = "fa-solid fa-key"
    can_create = can_edit = can_delete = False
    column_list = ("account", "kind", "address", "created_at", "expires_at", "revoked")
    column_searchable_list = ("account", "address")
    column_sortable_list = ("account", "created_at", "expires_at")
    column_default_sort = ("created_at", True)
    column_filters = (BooleanFilter("revoked"),)

    @action(name="revoke", label="Revoke")
    async def confirm_revoke(self, request: Request) -> Response:
        return await self.confirm_action(request, "revoke")

    @expose("/action/revoke", methods=["POST"])
    async def revoke(self, request: Request) -> Response:
        return await self.run_action(request, "revoke", self.revoke_login)

    async def revoke_login(self, tx: AdminTransaction, key: UUID) -> bool:
        login = await tx.session.get(auth.LoginSession, key, with_for_update=True)
        if login is None or login.revoked_at is not None:
            return False
        await revoke_session(tx.session, login.user_id, key, by=tx.admin)
        return True


async def _check_invitation(request: Request, email: str) -> None:
    await require_mail(request)
    await check_invitation(await get_auth_services(request), email)


async def _hash_password(request: Request, password: SecretStr, email: str) -> str:
    services = await get_auth_services(request)
    caller = str(request.state.principal.id)
    return await services.hasher.hash_new(password.get_secret_value(), email, caller)
