"""The base of all views: sqladmin reads and shows rows, services change them."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final
from unicodedata import normalize
from uuid import UUID

from pydantic import ValidationError
from sqladmin import ModelView
from sqladmin.filters import StaticValuesFilter
from sqladmin.formatters import BASE_FORMATTERS
from sqladmin.templating import Jinja2Templates
from sqlalchemy import Select, or_
from sqlalchemy.orm import DeclarativeBase
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..exceptions import ServiceError, validation_message
from .transaction import AdminTransaction, transaction

TEMPLATES: Final = Path(__file__).parent / "templates"
TEXT: Final = {"class": "form-control"}
FORMULA_SIGNS: Final = ("=", "+", "-", "@")
MAX_SEARCH_LENGTH: Final = 200


class ReadModel(DeclarativeBase):
    """Base of the models that views read: queries of the columns that may be shown."""


class AdminView(ModelView):
    """A list, details, forms and an export of a `ReadModel`.

    Define `create_row`, `update_row` and `delete_row`, which call services in a `transaction`, or
    switch off `can_create`, `can_edit` and `can_delete`.
    """

    page_size = 25
    page_size_options = (25, 100)
    export_types: ClassVar[list[str]] = ["csv"]
    export_max_rows = 10_000  # an export is built in memory
    use_pretty_export = True
    column_type_formatters = BASE_FORMATTERS | {
        datetime: lambda value: f"{value:%Y-%m-%d %H:%M} UTC"
    }

    async def create_row(self, request: Request, data: dict[str, Any]) -> Any:
        """Create a row from a form, and return it."""
        raise NotImplementedError

    async def update_row(self, request: Request, key: Any, data: dict[str, Any]) -> Any:
        """Change a row by a form, and return it."""
        raise NotImplementedError

    async def delete_row(self, tx: AdminTransaction, key: Any) -> None:
        """Delete a row; called for each selected row in one transaction."""
        raise NotImplementedError

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        with form_errors(request):
            return await self.create_row(request, data)

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        with form_errors(request):
            return await self.update_row(request, self.parse_key(pk), data)

    def parse_key(self, text: str) -> Any:
        """Return a key that a URL contains.

        Raises:
            ValueError: no row can have this key.
        """
        return UUID(text)

    def selected_keys(self, request: Request) -> list[Any]:
        """Return the keys of the selected rows."""
        try:
            return [self.parse_key(key) for key in request.query_params.get("pks", "").split(",")]
        except ValueError:
            raise HTTPException(400, "No rows are selected.") from None

    async def confirm_action(self, request: Request, name: str, preposition: str = "") -> Response:
        """Ask for confirmation of an action on the selected rows.

        sqladmin runs actions by links, which must not change anything (RFC 9110 section 9.2.1).

        Args:
            name: of the action, such as "remove".
            preposition: between the name and the rows, such as "of".
        """
        count = len(self.selected_keys(request))
        rows = f"{count} {self.name if count == 1 else self.name_plural}"
        question = " ".join(filter(None, (name, preposition, rows))).capitalize()
        return await confirm(self.templates, request, f"{question}?", name.capitalize())

    async def run_action(
        self,
        request: Request,
        name: str,
        change: Callable[[AdminTransaction, Any], Awaitable[bool]],
    ) -> Response:
        """Run an action on the selected rows in one transaction.

        Args:
            name: of the action, for the audit log.
            change: called with each key; returns whether the row was changed.
        """
        url = request.url_for("admin:list", identity=self.identity)
        try:
            async with transaction(request) as tx:
                for key in self.selected_keys(request):
                    if await change(tx, key):
                        tx.record(name, self.identity, key)
        except ServiceError as error:
            url = url.include_query_params(error=str(error))
        return RedirectResponse(url, status_code=303)

    async def get_object_for_details(self, request: Request) -> Any:
        try:
            self.parse_key(request.path_params["pk"])
        except ValueError:
            raise HTTPException(404) from None
        return await super().get_object_for_details(request)

    def search_query(self, stmt: Select[Any], term: str) -> Select[Any]:
        """Filter by a literal text, ignoring case."""
        if len(term) > MAX_SEARCH_LENGTH:
            raise HTTPException(400, f"A search has at most {MAX_SEARCH_LENGTH} characters.")
        columns = (getattr(self.model, str(name)) for name in self.column_searchable_list)
        return stmt.where(or_(*(column.icontains(term, autoescape=True) for column in columns)))

    async def get_model_objects(self, request: Request, limit: int | None = 0) -> list[Any]:
        """Return the rows of an export in the order of the list."""
        statement = self.sort_query(self.list_query(request), request).limit(limit)
        async with self.session_maker() as session:
            return list(await session.scalars(statement))

    async def custom_export_cell(self, _row: Any, _name: str, value: Any) -> str | None:
        """Quote text that a spreadsheet would evaluate as a formula (OWASP, "CSV Injection").

        Excel also evaluates full-width signs, and signs after spaces or invisible characters.
        """
        if not isinstance(value, str):
            return None
        visible = (char for char in normalize("NFKC", value) if char.isprintable() and char != " ")
        return f"'{value}" if next(visible, "") in FORMULA_SIGNS else None


class ChoiceFilter(StaticValuesFilter):
    """Filter by one of the values; ignore other values, which an enum column would reject."""

    async def get_filtered_query(self, query: Select[Any], value: Any, model: Any) -> Select[Any]:
        if value not in dict(self.values):
            return query
        return await super().get_filtered_query(query, value, model)


@contextmanager
def form_errors(request: Request) -> Iterator[None]:
    """Convert errors of a form to the text that sqladmin shows in it.

    sqladmin shows the text of every exception. `AdminSite` raises the unexpected ones again, such
    as those of a database outage.
    """
    try:
        yield
    except ServiceError:
        raise
    except ValidationError as error:
        sentences = [
            f"{str(detail['loc'][0]).replace('_', ' ').capitalize()}: "
            f"{validation_message(detail).removesuffix('.')}."
            for detail in error.errors()
        ]
        raise ServiceError(" ".join(sentences)) from None
    except Exception as error:
        request.state.unexpected_error = error
        raise


def raise_unexpected_error(request: Request) -> None:
    """Raise the error that `form_errors` has stored, if there is one."""
    error: Exception | None = getattr(request.state, "unexpected_error", None)
    if error is not None:
        raise error


async def confirm(
    templates: Jinja2Templates, request: Request, question: str, verb: str
) -> Response:
    """Return a page with a button that sends a POST request to the same URL."""
    context = {"question": question, "verb": verb}
    return await templates.TemplateResponse(request, "confirm.html", context)


def changed(row: object, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from those of the row."""
    return {name: value for name, value in data.items() if value != getattr(row, name)}
