"""What is shown of each model, and how the services are called to change it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar
from unicodedata import normalize
from uuid import UUID

from pydantic import SecretStr
from sqladmin import ModelView, action, expose
from sqladmin.filters import BooleanFilter, StaticValuesFilter
from sqladmin.formatters import BASE_FORMATTERS
from sqlalchemy import Select, or_
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from wtforms import BooleanField, Form, HiddenField, PasswordField, SelectField, StringField

from ..auth.models import LoginSession, Role, User
from ..auth.passwords import MIN_LENGTH, NewPassword
from ..auth.service import hash_new_password
from ..auth.sessions import revoke_session
from ..exceptions import ConflictError
from ..schemas import RequestModel
from ..users import service as users
from ..users.schemas import UserCreate, UserUpdate
from . import models
from .pages import AdminSite
from .transaction import AdminTransaction, transaction

FORMULA_SIGNS = ("=", "+", "-", "@")
MAX_SEARCH_LENGTH = 200
TEXT = {"class": "form-control"}


class PasswordReset(RequestModel):
    """A password that an administrator gives to somebody else."""

    password: NewPassword


class UserForm(Form):  # type: ignore[misc]
    """An account, and the time of its last change when the form was filled."""

    updated_at = HiddenField()
    email = StringField("Email", render_kw=TEXT)
    full_name = StringField("Name", render_kw=TEXT)
    role = SelectField("Role", choices=[*Role], render_kw={"class": "form-select"})
    is_active = BooleanField("Active", default=True, render_kw={"class": "form-check-input"})
    password = PasswordField(
        "Password",
        description=f"At least {MIN_LENGTH} characters. Left empty, the present one stays. "
        "A new one ends all logins of the account.",
        render_kw={**TEXT, "autocomplete": "new-password"},
    )


class AdminView(ModelView):
    """What all views share: sqladmin reads and shows, services write.

    A view that lets something be changed defines `add`, `change` or `remove`. They get the session
    from `AdminTransaction.begin`, and all of a request is one transaction.
    """

    page_size = 25
    page_size_options = (25, 100)
    export_types: ClassVar[list[str]] = ["csv"]
    export_max_rows = 10_000  # they are all in memory at the same time
    use_pretty_export = True
    column_type_formatters = BASE_FORMATTERS | {
        datetime: lambda value: f"{value:%Y-%m-%d %H:%M} UTC"
    }

    async def add(self, work: AdminTransaction, data: dict[str, Any]) -> Any:
        """Make something and return it."""
        raise NotImplementedError

    async def change(self, work: AdminTransaction, key: UUID, data: dict[str, Any]) -> Any:
        """Change something and return it."""
        raise NotImplementedError

    async def remove(self, work: AdminTransaction, key: UUID) -> None:
        """Delete something."""
        raise NotImplementedError

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Make what a form describes."""
        work: AdminTransaction = request.state.work
        with work.attempt():
            made = await self.add(work, _values(data))
            work.record("create", self.identity, made.id, filter(data.get, data))
        return made

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Change something to what a form describes."""
        work: AdminTransaction = request.state.work
        with work.attempt():
            return await self.change(work, UUID(pk), _values(data))

    async def delete_model(self, request: Request, pk: str) -> None:
        """Delete one of the things that are named."""
        work: AdminTransaction = request.state.work
        with work.attempt():
            await self.remove(work, UUID(pk))
            work.record("delete", self.identity, pk)

    async def ask(self, request: Request, verb: str, noun: str) -> Response:
        """Ask before something is done with the selected rows."""
        count = len(_keys(request))
        question = f"{verb} {count} {noun}{'s'[: count != 1]}?"
        return await self.pages.ask(request, question, verb)

    async def run_action(
        self,
        request: Request,
        name: str,
        change: Callable[[AdminTransaction, UUID], Awaitable[bool]],
    ) -> Response:
        """Change the selected rows in one transaction; `change` says whether it did."""
        admin = request.state.principal
        async with transaction(self.pages.service, request, admin) as work:
            for key in _keys(request):
                if await change(work, key):
                    work.record(name, self.identity, key)
        url = request.url_for("admin:list", identity=self.identity)
        return RedirectResponse(url, status_code=303)

    @property
    def pages(self) -> AdminSite:
        """What the view is part of."""
        pages = self._admin_ref
        assert isinstance(pages, AdminSite)
        return pages

    async def get_object_for_details(self, request: Request) -> Any:
        """What an address names; every page begins with it."""
        try:
            UUID(request.path_params["pk"])
        except ValueError:
            raise HTTPException(404) from None
        return await super().get_object_for_details(request)

    async def get_object_for_delete(self, value: str) -> str:
        """Leave it to `remove` to say that something is gone, so that nothing else is deleted."""
        return value

    def search_query(self, stmt: Select[Any], term: str) -> Select[Any]:
        """Rows that have the words as they are written, in any case."""
        if len(term) > MAX_SEARCH_LENGTH:
            raise HTTPException(400, f"A search has at most {MAX_SEARCH_LENGTH} characters.")
        words = term.replace("\0", "")
        columns = (getattr(self.model, str(name)) for name in self.column_searchable_list)
        return stmt.where(or_(*(column.icontains(words, autoescape=True) for column in columns)))

    async def get_model_objects(self, request: Request, limit: int | None = 0) -> list[Any]:
        """Return the rows of an export: as many as the limit allows, in the order of the list."""
        statement = self.sort_query(self.list_query(request), request).limit(limit)
        async with self.session_maker() as session:
            return list(await session.scalars(statement))

    async def custom_export_cell(self, _row: Any, _name: str, value: Any) -> str | None:
        """Keep spreadsheets from evaluating a text as a formula.

        Excel also evaluates full-width signs and signs after spaces or invisible characters
        (OWASP, "CSV Injection").
        """
        if not isinstance(value, str):
            return None
        visible = (char for char in normalize("NFKC", value) if char.isprintable() and char != " ")
        return f"'{value}" if next(visible, "") in FORMULA_SIGNS else None


class ChoiceFilter(StaticValuesFilter):
    """Rows with one of the values; an unknown one filters nothing."""

    async def get_filtered_query(self, query: Select[Any], value: Any, model: Any) -> Select[Any]:
        """Narrow the list."""
        if value not in dict(self.values):
            return query
        return await super().get_filtered_query(query, value, model)


class UserView(AdminView, model=models.User):
    """Accounts, under the rules of the API."""

    icon = "fa-solid fa-user"
    column_list = ("email", "full_name", "role", "is_active", "created_at")
    column_searchable_list = ("email", "full_name")
    column_sortable_list = ("email", "full_name", "role", "created_at")
    column_default_sort = ("created_at", True)
    column_filters = (
        ChoiceFilter("role", [(role, role.capitalize()) for role in Role]),
        BooleanFilter("is_active", title="Active"),
    )
    form = UserForm

    async def add(self, work: AdminTransaction, data: dict[str, Any]) -> User:
        """Register an account."""
        create = UserCreate(
            email=data["email"], password=data["password"], full_name=data["full_name"] or None
        )
        password_hash = await _hash_password(work, create.password, create.email)
        session = await work.begin()
        user = await users.create_user(session, create, password_hash, Role(data["role"]))
        if not data["is_active"]:
            await users.update_user(session, work.admin.id, user.id, UserUpdate(is_active=False))
        return user

    async def change(self, work: AdminTransaction, key: UUID, data: dict[str, Any]) -> User:
        """Change an account as its administrator."""
        password_hash = None
        if password := data.pop("password"):
            new = PasswordReset(password=password).password
            password_hash = await _hash_password(work, new, data["email"])
        session = await work.begin()
        user = await users.get_user(session, key)
        if data.pop("updated_at") != str(user.updated_at):
            raise ConflictError("The account has changed in the meantime; read it again.")
        changes = changed(user, {**data, "full_name": data["full_name"] or None})
        if changes:
            await users.update_user(session, work.admin.id, key, UserUpdate(**changes))
        if password_hash is not None:
            await users.reset_password(session, work.admin.id, key, password_hash)
            changes["password"] = password_hash
        work.record("change", self.identity, key, changes)
        return user

    async def remove(self, work: AdminTransaction, key: UUID) -> None:
        """Delete an account with all that belongs to it."""
        await users.delete_user(await work.begin(), work.admin.id, key)


class LoginView(AdminView, model=models.LoginSession):
    """Logins of all accounts; they can be revoked."""

    name = "Login"
    name_plural = "Logins"
    icon = "fa-solid fa-key"
    can_create = can_edit = can_delete = False
    column_list = ("email", "kind", "address", "created_at", "expires_at", "revoked")
    column_searchable_list = ("email", "address")
    column_sortable_list = ("email", "created_at", "expires_at")
    column_default_sort = ("created_at", True)
    column_filters = (BooleanFilter("revoked"),)

    @action(name="revoke", label="Revoke")
    async def ask_to_revoke(self, request: Request) -> Response:
        """Ask before the selected logins are revoked."""
        return await self.ask(request, "Revoke", "login")

    @expose("/action/revoke", methods=["POST"])
    async def revoke(self, request: Request) -> Response:
        """Revoke the selected logins."""
        return await self.run_action(request, "revoke", self.end)

    async def end(self, work: AdminTransaction, key: UUID) -> bool:
        """Revoke a login, if it lives."""
        session = await work.begin()
        login = await session.get(LoginSession, key, with_for_update=True)
        if login is None or login.revoked_at is not None:
            return False
        await revoke_session(session, login.user_id, key)
        return True


VIEWS: tuple[type[AdminView], ...] = (UserView, LoginView)


async def _hash_password(work: AdminTransaction, password: SecretStr, email: str) -> str:
    caller = str(work.admin.id)
    return await hash_new_password(work.auth, password.get_secret_value(), email, caller)


def _values(form: Mapping[str, Any]) -> dict[str, Any]:
    # A field that was not sent is None.
    return {name: "" if value is None else value for name, value in form.items()}


def changed(row: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from those of the row."""
    return {name: value for name, value in given.items() if value != getattr(row, name)}


def _keys(request: Request) -> list[UUID]:
    try:
        return [UUID(key) for key in request.query_params.get("pks", "").split(",")]
    except ValueError:
        raise HTTPException(400, "Nothing is selected.") from None
