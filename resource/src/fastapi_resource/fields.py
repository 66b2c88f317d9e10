"""Parse the fields of a resource, and choose values for its tests."""

import builtins
import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import click

from .names import NAME, RESERVED_FIELDS, RESERVED_PREFIXES, USED_CLASSES, Names, camel_case

NAME_LENGTH = 40
LENGTHS = {"str": 200, "text": 2000, "list": 50}
MAX_LENGTHS = {"str": 200, "text": 100_000, "list": 200}
MAX_DIGITS = 18  # SQLite stores decimals as integers of 64 bits
MAX_DEFAULT_LENGTH = 60  # of a line
UNIQUE = ("str", "int", "uuid", "email", "url")
MIN_UNIQUE_LENGTH = 8  # of the random values of tests
ENUM_VALUE = re.compile(r"[a-z][a-z0-9_-]{0,19}")
SECRET = re.compile(r"(^|[_-])(pas+wo?r?d|pass(phrase)?|pwd|token|secrete?)($|[_-])")  # Ruff's S105
INSECURE = re.compile(r"0\.0\.0\.0$|/(tmp|var/tmp|dev/shm)")  # Ruff's S104 and S108
ORDERED = ("int", "float", "decimal", "date", "datetime")
ON_DELETE = {"restrict": None, "cascade": "CASCADE", "set-null": "SET NULL"}

# The grammar of each type, and the pattern of what follows its name.
LENGTH = r"(?::(\d{1,6}))?"
TYPES = {
    "str": ("str[:LENGTH]", LENGTH),
    "text": ("text[:LENGTH]", LENGTH),
    "int": ("int", ""),
    "float": ("float", ""),
    "decimal": ("decimal[:DIGITS,PLACES]", r"(?::(\d\d?),(\d\d?))?"),
    "bool": ("bool", ""),
    "date": ("date", ""),
    "datetime": ("datetime", ""),
    "uuid": ("uuid", ""),
    "email": ("email", ""),
    "url": ("url", ""),
    "json": ("json", ""),
    "enum": ("enum:VALUE,VALUE", ":(.+)"),
    "list": ("list:str[:LENGTH]", f":str{LENGTH}"),
    "ref": ("ref:RESOURCE[:cascade|:set-null]", f":({NAME.pattern})(?::({'|'.join(ON_DELETE)}))?"),
}
# Each type: three values as JSON, which ascend if lists sort by them, and an invalid one.
SAMPLES: dict[str, tuple[list[Any], Any]] = {
    "int": ([-3, 5, 9_007_199_254_740_991], "x"),
    "float": ([-0.25, 1.5, 1e100], "x"),
    "bool": ([False, True, False], "x"),
    "date": (["0001-01-01", "2026-11-30", "9999-12-31"], "2026-02-30"),
    "datetime": (
        ["0001-01-02T00:00:00Z", "2026-11-30T12:00:00.123456Z", "9999-12-31T23:59:59Z"],
        "2026-11-30T12:00:00",
    ),
    "uuid": ([f"01a2283f-b4a5-77ef-9207-a1da85aa14b{digit}" for digit in "def"], "x"),
    "email": ([f"{letter}@example.com" for letter in "abc"], "x"),
    "url": ([f"https://example.com/{letter}" for letter in "abc"], "ftp://example.com"),
    "json": ([{"a": [1, None]}, {"b": {"c": "ä"}}, {}], {"a": "\0"}),
    "list": ([["a", "b"], ["b"], []], ["a"] * 21),
    "ref": ([], "x"),
}


@dataclass(frozen=True)
class Field:
    """A field of a resource.

    Attributes:
        args: the arguments of the type: the length, precision and scale, or the values of an enum.
        ref: the plural of the resource that the field refers to.
        on_delete: a key of ON_DELETE.
    """

    name: str
    type: str
    args: tuple[str, ...] = ()
    nullable: bool = False
    unique: bool = False
    default: Any = None
    has_default: bool = False
    ref: str = ""
    on_delete: str = "restrict"

    @property
    def attr(self) -> str:
        """The name of the column, such as customer_id for a reference."""
        return f"{self.name.removesuffix('_id')}_id" if self.type == "ref" else self.name

    @property
    def words(self) -> str:
        """The name in a sentence, such as "due date"."""
        return self.name.replace("_", " ")

    @property
    def alias(self) -> str:
        """The name of a type of the schemas, such as UnitPrice."""
        alias = camel_case(self.name)
        return f"{alias}Value" if alias in USED_CLASSES or hasattr(builtins, alias) else alias

    @property
    def required(self) -> bool:
        """Whether a new resource must have a value."""
        return not self.nullable and not self.has_default

    @property
    def length(self) -> int:
        """The maximum length of the text, or of each text of a list."""
        return int(self.args[0]) if self.args else LENGTHS[self.type]

    @property
    def digits(self) -> tuple[int, int]:
        """The number of digits before and after the decimal point."""
        precision, scale = map(int, self.args)
        return precision - scale, scale

    @property
    def values(self) -> list[Any]:
        """Three valid values as JSON, in ascending order if lists sort by them."""
        match self.type:
            case "str" | "text":
                return [letter * min(self.length, 5) for letter in "abc"]
            case "decimal":
                whole, places = self.digits
                largest = f"{'9' * whole}.{'9' * places}"
                return [f"-{largest}", f"0.{1:0{places}}", largest]
            case "enum":
                return [self.args[0], self.args[-1], self.args[0]]
        return SAMPLES[self.type][0]

    @property
    def invalid(self) -> object:
        """A value that is rejected."""
        match self.type:
            case "str" | "text":
                return "a" * (self.length + 1)
            case "decimal":
                return f"1{'0' * self.digits[0]}"
            case "enum":
                return "unknown value"
        return SAMPLES[self.type][1]


def member(value: str) -> str:
    """Return the name of an enum's member."""
    return value.upper().replace("-", "_")


def parse(text: str) -> Field:
    """Return the field that `name:type?:modifier` describes.

    Raises:
        click.UsageError: the text does not describe a field, or the field cannot work.
    """
    declaration, separator, default = text.partition(":default=")
    name, *parts = declaration.split(":")
    try:
        return _parse(name, parts, default if separator else None)
    except ValueError as error:
        raise click.UsageError(f"{text!r}: {error}") from None


def parse_all(texts: Iterable[str], names: Names) -> list[Field]:
    """Return the fields of a resource.

    Raises:
        click.UsageError: a field cannot work, or not together with another one.
    """
    owners = {names.cls + suffix: names.plural for suffix in ("Create", "Update", "Query", "Read")}
    fields = [parse(text) for text in texts]
    for field in fields:
        for name in _generated_names(field, names):
            if owners.get(name) == field.name:
                raise click.UsageError(f"{field.name!r} is given twice.")
            if name in owners or name in USED_CLASSES:
                raise click.UsageError(
                    f"{field.name!r} would generate {name!r}, as {owners.get(name, 'an import')!r}"
                    " does: choose another name."
                )
            owners[name] = field.name
    return fields


def _generated_names(field: Field, names: Names) -> Iterable[str]:
    """Yield the names of the column, of its filters and of its type."""
    yield field.attr
    if field.type in ORDERED:
        yield from (f"{field.attr}_min", f"{field.attr}_max")
    if field.type == "enum":
        yield names.cls + field.alias
    elif field.type in ("str", "text", "decimal", "list"):
        yield field.alias


def _parse(name: str, parts: list[str], default: str | None) -> Field:
    if not NAME.fullmatch(name):
        raise ValueError("begin with a name of lowercase words, such as 'due_date:date'.")
    words = [part.removesuffix("?") for part in parts]
    modifiers = {"optional", "unique"}.intersection(words)
    kind, *arguments = [word for word in words if word not in modifiers] or [""]
    if kind not in TYPES:
        raise ValueError(f"choose a type: {', '.join(TYPES)}.")
    args = _arguments(kind, arguments, f"{name}:{TYPES[kind][0]}")
    field = Field(
        name,
        kind,
        args if kind != "ref" else (),
        nullable="optional" in modifiers or words != parts,
        unique="unique" in modifiers,
        ref=args[0] if kind == "ref" else "",
        on_delete=args[1] if kind == "ref" else "restrict",
    )
    _check(field)
    if default is None:
        return field
    _check_default(field, default)
    return replace(field, default=_default(field, default), has_default=True)


def _arguments(kind: str, arguments: list[str], grammar: str) -> tuple[str, ...]:
    """Return the arguments of a type."""
    text = "".join(f":{argument}" for argument in arguments)
    match = re.fullmatch(TYPES[kind][1], text, re.ASCII)
    if match is None:
        raise ValueError(f"write '{grammar}', then ':optional', ':unique' or ':default=VALUE'.")
    args = tuple(group for group in match.groups() if group)
    if kind in LENGTHS and args and not 0 < int(args[0]) <= MAX_LENGTHS[kind]:
        raise ValueError(f"use a length from 1 to {MAX_LENGTHS[kind]}.")
    match kind:
        case "decimal":
            digits, places = map(int, args or (12, 2))
            if not 0 < places < digits <= MAX_DIGITS:
                raise ValueError(
                    f"use at most {MAX_DIGITS} digits, and fewer of them after the point, such as"
                    " 'decimal:12,2'."
                )
            return str(digits), str(places)
        case "enum":
            values = args[0].split(",")
            members = set(map(member, values))
            if len(members) < len(values) or not all(map(ENUM_VALUE.fullmatch, values)):
                raise ValueError(
                    "list different values of at most 20 lowercase letters, such as 'open,paid'."
                )
            if any(map(SECRET.search, values)):
                raise ValueError("choose values that linters do not take for a password.")
            return tuple(values)
        case "ref":
            return (*args, "restrict")[:2]
    return tuple(str(int(arg)) for arg in args)


def _check(field: Field) -> None:
    """Raise ValueError if the name or the modifiers of a field cannot work."""
    if len(field.attr) > NAME_LENGTH:
        raise ValueError(f"use a name of at most {NAME_LENGTH} characters.")
    if reason := RESERVED_FIELDS.get(field.attr):
        raise ValueError(f"choose another name, because {reason}.")
    if field.attr.startswith(RESERVED_PREFIXES):
        prefixes = " or ".join(map(repr, RESERVED_PREFIXES))
        raise ValueError(f"choose a name that does not begin with {prefixes}.")
    if keyword.iskeyword(field.attr):
        raise ValueError("choose another name, because this one is a keyword of Python.")
    if field.on_delete == "set-null" and not field.nullable:
        raise ValueError("set-null needs an optional field: add ':optional'.")
    if field.unique and field.type not in UNIQUE:
        raise ValueError(f"only fields of these types can be unique: {', '.join(UNIQUE)}.")
    if field.unique and field.type == "str" and field.length < MIN_UNIQUE_LENGTH:
        raise ValueError(f"a unique text needs a length of at least {MIN_UNIQUE_LENGTH}.")


def _check_default(field: Field, value: str) -> None:
    """Raise ValueError if a field cannot have a default, or not this one."""
    if any(f":{modifier}" in value for modifier in ("optional", "unique", "default=")):
        raise ValueError("put ':default=' last, because everything after it is the default.")
    if field.unique:
        raise ValueError("a unique field cannot have a default, which only one row could have.")
    if field.type == "str" and INSECURE.match(value):
        raise ValueError("choose a default that linters accept: not an open address or /tmp.")


def _default(field: Field, value: str) -> object:
    """Return the default value of a field."""
    match field.type:
        case "str" if not SECRET.search(field.name):
            length = min(field.length, MAX_DEFAULT_LENGTH)
            if value.isprintable() and value == value.strip() and 0 < len(value) <= length:
                return value
        case "int" if re.fullmatch(r"-?\d{1,15}", value, re.ASCII):
            return int(value)
        case "float" if re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", value, re.ASCII):
            return float(value)
        case "decimal":
            whole, places = field.digits
            if re.fullmatch(rf"-?\d{{1,{whole}}}(\.\d{{1,{places}}})?", value, re.ASCII):
                return f"{Decimal(value) + 0:.{places}f}"
        case "bool" if value in ("true", "false"):
            return value == "true"
        case "enum" if value in field.args:
            return value
    raise ValueError(f"{value!r} cannot be the default of this type.")
