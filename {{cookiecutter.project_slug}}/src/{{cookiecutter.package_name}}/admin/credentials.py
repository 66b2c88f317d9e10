"""Pages of personal access tokens and service accounts."""

from typing import Any
from uuid import UUID

from sqladmin import Secret, action, expose
from sqladmin.filters import BooleanFilter
from sqlalchemy import select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from wtforms import BooleanField, Form, HiddenField, SelectMultipleField, StringField
from wtforms.widgets import CheckboxInput, ListWidget

from ..auth import models as auth
from ..auth import service_accounts
from ..auth.personal_tokens import revoke_token
from ..auth.schemas import ServiceAccountCreate, ServiceAccountUpdate
from ..auth.scopes import SCOPES, effective_scopes
from ..exceptions import ConflictError
from .transaction import AdminTransaction, transaction
from .views import TEXT, AdminView, ReadModel, changed


class PersonalAccessToken(ReadModel):
    """A token and its owner, without its hash."""

    __table__ = (
        select(
            auth.PersonalAccessToken.id,
            auth.User.email,
            auth.PersonalAccessToken.name,
            auth.PersonalAccessToken.scope,
            auth.PersonalAccessToken.created_at,
            auth.PersonalAccessToken.last_used_at,
            auth.PersonalAccessToken.expires_at,
        )
        .join(auth.User, auth.User.id == auth.PersonalAccessToken.user_id)
        .subquery("personal_access_token_rows")
    )


class TokenView(AdminView, model=PersonalAccessToken):
    """Personal access tokens of all accounts, which their owners create."""

    name = "Personal access token"
    name_plural = "Personal access tokens"
    icon = "fa-solid fa-ticket"
    can_create = can_edit = can_delete = False
    column_list = ("email", "name", "scope", "last_used_at", "expires_at")
    column_searchable_list = ("email", "name", "scope")
    column_sortable_list = ("email", "name", "created_at", "last_used_at", "expires_at")
    column_default_sort = ("created_at", True)

    @action(name="revoke", label="Revoke")
    async def confirm_revoke(self, request: Request) -> Response:
        return await self.confirm_action(request, "revoke")

    @expose("/action/revoke", methods=["POST"])
    async def revoke(self, request: Request) -> Response:
        return await self.run_action(request, "revoke", self.revoke_token)

    async def revoke_token(self, tx: AdminTransaction, key: UUID) -> bool:
        model = auth.PersonalAccessToken
        user_id = await tx.session.scalar(select(model.user_id).where(model.id == key))
        if user_id is None:
            return False
        await revoke_token(tx.session, user_id, key, by=tx.admin)
        return True


class ServiceAccount(ReadModel):
    """A service account, without the hash of its secret and without its keys."""

    __table__ = (
        select(
            auth.ServiceAccount.user_id.label("client_id"),
            auth.ServiceAccount.name,
            auth.ServiceAccount.scope,
            service_accounts.AUTH_METHOD,
            auth.User.is_active,
            auth.ServiceAccount.created_at,
            auth.ServiceAccount.updated_at,
        )
        .join(auth.User, auth.User.id == auth.ServiceAccount.user_id)
        .subquery("service_account_rows")
    )


class ScopesField(SelectMultipleField):  # type: ignore[misc]
    """Check boxes of scopes."""

    widget = ListWidget(prefix_label=False)
    option_widget = CheckboxInput()


def _scope_choices() -> list[tuple[str, str]]:
    names = sorted(effective_scopes(auth.Role.SERVICE))
    return [(name, f"{name}: {SCOPES[name].description}") for name in names]


class ServiceAccountForm(Form):  # type: ignore[misc]
    """A service account; `updated_at` detects concurrent changes."""

    updated_at = HiddenField()
    name = StringField("Name", render_kw=TEXT)
    scopes = ScopesField("Scopes", choices=_scope_choices, render_kw={"class": "list-unstyled"})
    is_active = BooleanField("Active", default=True, render_kw={"class": "form-check-input"})


class ServiceAccountView(AdminView, model=ServiceAccount):
    """Credentials of programs. A secret is shown once, when it is created."""

    name = "Service account"
    name_plural = "Service accounts"
    icon = "fa-solid fa-robot"
    column_list = ("name", "client_id", "scope", "auth_method", "is_active", "created_at")
    column_searchable_list = ("name", "scope")
    column_sortable_list = ("name", "created_at")
    column_default_sort = ("created_at", True)
    column_filters = (BooleanFilter("is_active", title="Active"),)
    form = ServiceAccountForm

    async def get_form_data_for_edit(self, obj: Any) -> dict[str, Any]:
        """Return the values of the form, with the scopes as a list."""
        return {**await super().get_form_data_for_edit(obj), "scopes": obj.scope.split()}

    async def create_row(self, request: Request, data: dict[str, Any]) -> ServiceAccount:
        account = ServiceAccountCreate(name=data["name"], scopes=data["scopes"])
        async with transaction(request) as tx:
            client_id, secret = await service_accounts.create_service_account(
                tx.session, tx.admin, account
            )
            if not data["is_active"]:
                update = ServiceAccountUpdate(is_active=False)
                await service_accounts.update_service_account(
                    tx.session, tx.admin, client_id, update
                )
            fields = [name for name, value in data.items() if value]
            tx.record("create", self.identity, client_id, fields)
        _show_secret(request, client_id, secret)
        return ServiceAccount(client_id=client_id)

    async def update_row(self, request: Request, key: UUID, data: dict[str, Any]) -> ServiceAccount:
        async with transaction(request) as tx:
            account = await service_accounts.get_service_account(tx.session, key)
            if data.pop("updated_at") != str(account.updated_at):
                raise ConflictError(
                    "The service account has changed in the meantime; load it again."
                )
            scopes = data.pop("scopes")
            changes = changed(account, data)
            if set(scopes) != set(account.scopes.split()):
                changes["scopes"] = scopes
            if changes:
                update = ServiceAccountUpdate(**changes)
                await service_accounts.update_service_account(tx.session, tx.admin, key, update)
            tx.record("change", self.identity, key, changes)
        return ServiceAccount(client_id=key)

    async def delete_row(self, tx: AdminTransaction, key: UUID) -> None:
        await service_accounts.delete_service_account(tx.session, tx.admin, key)

    @action(name="rotate-secret", label="Rotate secret", add_in_list=False)
    async def confirm_rotate_secret(self, request: Request) -> Response:
        return await self.confirm_action(request, "rotate secret", "of")

    @expose("/action/rotate-secret", methods=["POST"])
    async def rotate_secret(self, request: Request) -> Response:
        if len(self.selected_keys(request)) != 1:
            raise HTTPException(400, "Select one service account.")

        async def rotate(tx: AdminTransaction, key: UUID) -> bool:
            secret = await service_accounts.rotate_secret(tx.session, tx.admin, key)
            _show_secret(request, key, secret)
            return True

        response = await self.run_action(request, "rotate secret", rotate)
        if Secret.get(request) is None:
            return response
        context = {"title": self.name, "secret_next_url": response.headers["Location"]}
        return await self.templates.TemplateResponse(request, "sqladmin/layout.html", context)


def _show_secret(request: Request, client_id: UUID, secret: str | None) -> None:
    if secret is not None:
        label = f"Client ID: {client_id}. Copy the secret now; it will not be shown again."
        Secret.reveal_once(request, secret, "Client secret", label)
