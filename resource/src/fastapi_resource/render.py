"""Render the modules and tests of a resource."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from .fields import ON_DELETE, ORDERED, Field, member
from .names import Names

# The types of columns and of responses.
PYTHON_TYPES = {
    "str": "str",
    "text": "str",
    "int": "int",
    "float": "float",
    "decimal": "Decimal",
    "bool": "bool",
    "date": "date",
    "datetime": "datetime",
    "uuid": "UUID",
    "email": "str",
    "url": "str",
    "json": "dict[str, Any]",
    "list": "list[str]",
    "ref": "UUID",
}
# The arguments of columns, unless the type alone is enough.
COLUMNS = {
    "str": "String({field.length})",
    "text": "String({field.length})",
    "int": "BigInteger",
    "decimal": "Numeric({args})",
    "email": "String(254)",
    "url": "String(2000)",
    "json": "JSONB{none_as_null}",
    "list": "ARRAY(String({field.length}))",
}
SQLITE_COLUMNS = COLUMNS | {
    "decimal": "ScaledDecimal({args})",
    "json": "JSON{none_as_null}",
    "list": "JSON{none_as_null}",
}
# The types of request bodies, unless the field has one of its own (see `Resource.type_alias`).
BODY_TYPES = {
    "str": "SingleLineStr",
    "int": "Integer",
    "float": "Float",
    "bool": "StrictBool",
    "date": "IsoDate",
    "datetime": "Timestamp",
    "uuid": "UUID",
    "email": "Email",
    "url": "Url",
    "json": "JsonObject",
    "ref": "UUID",
}
# The types of query parameters, which are text and therefore not strict.
QUERY_TYPES = {
    "int": "BigInt",
    "float": "FiniteFloat",
    "bool": "bool",
    "list": "SingleLineStr",
}
EQUALITY_FILTERS = ("bool", "enum", "uuid", "email", "ref")
WITHOUT_EXAMPLE = ("ref", "enum", "bool", "decimal")  # their schemas are examples enough
EXAMPLES = {
    "datetime": "2026-11-30T12:00:00Z",
    "email": "user@example.com",
    "url": "https://example.com/",
    "json": {"key": "value"},
}
SINGLE_LINE_LENGTH = 200  # of SingleLineStr
MAX_LIST_LENGTH = 20
LONG = 20  # a longer literal repeats one letter or element
HEX_LENGTH = 32  # of uuid4().hex
MODULES = ("__init__", "models", "schemas", "service", "router")


class Filter(NamedTuple):
    """A query parameter of the list, with its condition in SQLAlchemy."""

    name: str
    type: str
    description: str
    condition: str


class Reference(NamedTuple):
    """A field that refers to another resource.

    Attributes:
        field: the field.
        names: the names of the other resource.
        private: whether users see only their own rows of the other resource.
        by_admins: whether only administrators create rows of the other resource.
    """

    field: Field
    names: Names
    private: bool
    by_admins: bool = False


@dataclass(frozen=True)
class Resource:
    """A resource with the choices of the command line and of the project.

    Attributes:
        redis: whether the project has a cache.
        public: whether all users read.
        admin: whether administrators write, instead of an owner.
        references: its references to other resources.
    """

    names: Names
    fields: list[Field]
    database: str
    redis: bool
    public: bool = False
    admin: bool = False
    references: tuple[Reference, ...] = ()

    @property
    def owned(self) -> bool:
        """Whether each row belongs to a user."""
        return not self.admin

    @property
    def private(self) -> bool:
        """Whether users see only their own rows."""
        return self.owned and not self.public

    @property
    def shared(self) -> bool:
        """Whether users see the rows of all owners."""
        return self.owned and self.public

    @property
    def restricted(self) -> bool:
        """Whether only administrators see the rows."""
        return self.admin and not self.public

    @property
    def cached(self) -> bool:
        """Whether the cache keeps the list.

        It does not if a reference changes rows, because then no service invalidates the list. A
        list for administrators needs the caller's role from the database anyway.
        """
        changed_by_reference = any(field.on_delete != "restrict" for field in self.refs)
        return self.redis and not self.restricted and not changed_by_reference

    @property
    def clears_references(self) -> bool:
        """Whether deletions clear references, which does not change the version of the row."""
        return any(field.on_delete == "set-null" for field in self.refs)

    @property
    def rule(self) -> str:
        """The access rule, as a sentence."""
        return {
            (False, False): "Users see and change only their own.",
            (True, False): "Users see all of them, and change only their own.",
            (False, True): "Only administrators see and change them.",
            (True, True): "Users see them, and administrators change them.",
        }[self.public, self.admin]

    # References

    @property
    def refs(self) -> list[Field]:
        """The fields that refer to other resources."""
        return [field for field in self.fields if field.type == "ref"]

    @property
    def required_references(self) -> list[Reference]:
        """The references that a new row must have."""
        return [reference for reference in self.references if reference.field.required]

    @property
    def referenced(self) -> list[Names]:
        """The names of the other resources, each once."""
        return list(dict.fromkeys(reference.names for reference in self.references))

    # Models

    def python_type(self, field: Field) -> str:
        """Return the type of a field in the model and in responses."""
        if field.type == "enum":
            return self.names.cls + field.alias
        return PYTHON_TYPES[field.type]

    def column(self, field: Field) -> str:
        """Return the arguments of a field's column."""
        if field.type == "enum":
            return f"enum_column({self.python_type(field)})"
        if field.type == "ref":
            on_delete = ON_DELETE[field.on_delete]
            option = f', ondelete="{on_delete}"' if on_delete else ""
            return f'ForeignKey("{field.ref}.id"{option})'
        columns = COLUMNS if self.database == "postgresql" else SQLITE_COLUMNS
        return columns.get(field.type, "").format(
            field=field,
            args=", ".join(field.args),
            none_as_null="(none_as_null=True)" if field.nullable else "",
        )

    @property
    def sorts(self) -> list[str]:
        """The columns that lists are sorted by."""
        sorted_by = (
            field.attr
            for field in self.fields
            if not field.nullable and (field.type in ORDERED or field == self.searched)
        )
        return ["created_at", *sorted_by]

    @property
    def uniques(self) -> list[list[str]]:
        """The columns of each unique constraint: one owner's values if only the owner sees them."""
        return [self._of_owner(field.attr) for field in self.fields if field.unique]

    @property
    def indexes(self) -> list[list[str]]:
        """The columns of each index: for sort orders, and for the deletion of referenced rows."""
        unique = {field.attr for field in self.fields if field.unique}
        found = [[*self._of_owner(name), "id"] for name in self.sorts if name not in unique]
        references = [*(["owner_id"] if self.shared else []), *(field.attr for field in self.refs)]
        return [*found, *([name, "created_at", "id"] for name in references)]

    def _of_owner(self, name: str) -> list[str]:
        return ["owner_id", name] if self.private else [name]

    # Schemas

    def type_alias(self, field: Field) -> str:
        """Return the definition of a field's own type in request bodies, or empty text."""
        match field.type:
            case "str" if field.length != SINGLE_LINE_LENGTH:
                return _limited("SingleLineStr", field)
            case "text":
                return _limited("Text", field)
            case "decimal":
                return f"Annotated[Decimal, DecimalString({', '.join(field.args)})]"
            case "list":
                element = _limited("SingleLineStr", field)
                return f"Annotated[list[{element}], Field(max_length={MAX_LIST_LENGTH})]"
        return ""

    def body_type(self, field: Field) -> str:
        """Return the type of a field in request bodies."""
        if field.type == "enum":
            return self.python_type(field)
        return field.alias if self.type_alias(field) else BODY_TYPES[field.type]

    def response_type(self, field: Field) -> str:
        """Return the type of a field in responses."""
        return field.alias if field.type == "decimal" else self.python_type(field)

    def initial(self, field: Field) -> str:
        """Return what follows the type of a field in the body that creates a row."""
        if field.has_default:
            if field.type == "enum":
                return f" = {self.python_type(field)}.{member(field.default)}"
            default = literal(field.default)
            return f" = Decimal({default})" if field.type == "decimal" else f" = {default}"
        if field.nullable:
            return " = None"
        if field.type in WITHOUT_EXAMPLE:
            return ""
        return f" = Field(examples=[{literal(example(field))}])"

    # Lists

    @property
    def searched(self) -> Field | None:
        """The field that the query parameter `q` searches."""
        return next((field for field in self.fields if field.type == "str"), None)

    @property
    def filters(self) -> list[Filter]:
        """The filters of the list, without `q`."""
        found = [one for field in self.fields for one in self._filters_of(field)]
        if self.shared:
            condition = f'{self.names.cls}.owner_id == bindparam("owner_id")'
            found.insert(0, Filter("owner_id", "UUID", "Only with this owner.", condition))
        return found

    def _filters_of(self, field: Field) -> list[Filter]:
        name = field.attr
        column = f"{self.names.cls}.{name}"
        words = name.removesuffix("_id").replace("_", " ")
        query_type = QUERY_TYPES.get(field.type) or self.body_type(field)
        if field.type in ORDERED:
            return [
                Filter(
                    f"{name}_{end}",
                    query_type,
                    f"{word} {words}.",
                    f'{column} {operator} bindparam("{name}_{end}")',
                )
                for end, word, operator in (("min", "Minimum", ">="), ("max", "Maximum", "<="))
            ]
        if field.type in EQUALITY_FILTERS or (field.type == "str" and field.unique):
            value = f"value of {words}" if field.type == "bool" else words
            description = f"Only with this {value}."
            return [Filter(name, query_type, description, f'{column} == bindparam("{name}")')]
        if field.type == "list":
            description = f"One of the {words}."
            return [Filter(name, query_type, description, self._contains(column, name))]
        return []

    def _contains(self, column: str, name: str) -> str:
        if self.database == "postgresql":
            return f'{column}.any_() == bindparam("{name}", type_=String)'
        value = f'func.json_each({column}).table_valued("value").c.value'
        exists = f'select(1).where({value} == bindparam("{name}"))'
        return f"{exists}.correlate({self.names.cls}).exists()"

    # Errors

    @property
    def conflicts(self) -> dict[str, str]:
        """The message of each unique constraint, by the name that the database reports."""
        unique = (field for field in self.fields if field.unique)
        return {
            self._constraint(columns): f"There is {self.names.a} with this {field.words} already."
            for field, columns in zip(unique, self.uniques, strict=True)
        }

    def _constraint(self, columns: list[str]) -> str:
        plural = self.names.plural
        if self.database == "postgresql":
            return "_".join(["uq", plural, *columns])
        return ", ".join(f"{plural}.{column}" for column in columns)

    @property
    def errors(self) -> list[str]:
        """The errors of creating and changing a row, as a docstring lists them."""
        found = []
        if self.references:
            words = _or(names.word for names in self.referenced)
            private = self.owned and any(reference.private for reference in self.references)
            belongs = " or belongs to another user" if private else ""
            found.append(f"NotFoundError: the {words} does not exist{belongs}.")
        if self.uniques:
            words = _or(field.words for field in self.fields if field.unique)
            found.append(f"ConflictError: there is {self.names.a} with this {words} already.")
        return found

    # Tests

    @property
    def caller(self) -> str:
        """The fixture of the account that sends requests in tests."""
        is_admin = self.admin or any(one.by_admins for one in self.references)
        return "admin" if is_admin else "member"

    @property
    def creator(self) -> str:
        """The parameter for the account that creates a row with the required fields in tests."""
        required = self.required_references
        is_admin = self.admin or any(one.by_admins for one in required)
        return "admin" if is_admin else "account"

    def new_body(self, account: str) -> str:
        """Return the call that makes the body of a new row in tests, up to its changes."""
        call = f"new_{self.names.singular}("
        return f"await {call}{account}, " if self.required_references else call

    def unique_value(self, field: Field) -> str:
        """Return the expression of a value that no other row has."""
        if field.type == "str":
            return "uuid4().hex" + (f"[:{field.length}]" if field.length < HEX_LENGTH else "")
        return {
            "int": "uuid4().int % 2**53",
            "uuid": "str(uuid4())",
            "email": 'f"{uuid4().hex}@example.com"',
            "url": 'f"https://example.com/{uuid4().hex}"',
        }[field.type]

    @property
    def cases(self) -> list[tuple[dict[str, Any], list[int]]]:
        """Queries, and which of three rows they find, newest first (row 1, row 2, row 0)."""
        found: list[tuple[dict[str, Any], list[int]]] = []

        def add(query: dict[str, Any], rows: set[int]) -> None:
            found.append((query, [row for row in (1, 2, 0) if row in rows]))

        if self.searched:
            add({"q": self.searched.values[1][0].upper()}, {1})
            add({"q": "%"}, set())
        for field in self.fields:
            name, values = field.attr, field.values
            if field.type in ORDERED:
                add({f"{name}_min": values[1]}, {1, 2})
                add({f"{name}_max": values[1]}, {0, 1})
            elif field.type == "list":
                add({name: "b"}, {0, 1})
                add({name: "c"}, set())
            elif field.type != "ref" and any(one.name == name for one in self.filters):
                add({name: values[0]}, {row for row in range(3) if values[row] == values[0]})
        return found


def example(field: Field) -> object:
    """Return the example of a field in the OpenAPI description."""
    if field.type in ("str", "text"):
        return field.words.capitalize()[: field.length]
    if field.type == "list":
        return [field.words.removesuffix("s").capitalize()[: field.length]]
    return EXAMPLES.get(field.type, field.values[1])


def literal(value: object) -> str:
    """Return a value as Python source."""
    if isinstance(value, str | list) and len(value) > LONG and len(set(value)) == 1:
        return f"{literal(value[:1])} * {len(value)}"
    if isinstance(value, str) and "\0" not in value:
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _limited(type_name: str, field: Field) -> str:
    return f"Annotated[{type_name}, StringConstraints(max_length={field.length})]"


ENVIRONMENT = Environment(
    loader=PackageLoader(__package__),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - renders Python
)


def render(resource: Resource, package: str, *, has_admin: bool = False) -> dict[str, str]:
    """Return the files of a resource by their path, not yet formatted.

    Args:
        resource: the resource.
        package: of the project.
        has_admin: whether the project has pages for administrators.
    """
    plural = resource.names.plural
    templates = {
        **{f"src/{package}/{plural}/{module}.py": module for module in MODULES},
        f"tests/{plural}/support.py": "support",
        f"tests/{plural}/test_{plural}.py": "test",
    }
    if has_admin:
        templates[f"src/{package}/admin/{plural}.py"] = "admin"
        templates[f"tests/admin/test_admin_{plural}.py"] = "test_admin"
    if resource.cached:
        templates[f"tests/{plural}/test_cached_{plural}.py"] = "test_cached"
    context = {
        "names": resource.names,
        "resource": resource,
        "fields": resource.fields,
        "package": package,
        "postgresql": resource.database == "postgresql",
        "public": resource.public,
        "admin": resource.admin,
        "owned": resource.owned,
        "private": resource.private,
        "shared": resource.shared,
        "restricted": resource.restricted,
        "cached": resource.cached,
        "member": member,
        "literal": literal,
        "caller": resource.caller,
        "creator": resource.creator,
    }
    return {
        path: ENVIRONMENT.get_template(f"{name}.py.j2").render(context)
        for path, name in templates.items()
    }
