"""Derive the names of a resource, and reject those that cannot work."""

import builtins
import keyword
import re
from dataclasses import dataclass
from importlib.util import find_spec

import click

NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
NAME_LENGTH = 25  # of a resource, so that import lines are short enough for every package
IDENTIFIER_LIMIT = 63  # bytes of a name in PostgreSQL
# Words that begin with the sound of a vowel.
AN = re.compile(r"(?!eu|one(_|$)|u(ni|ri|rl|sa|se|su|til|uid))[aeiou]|ho(ur|nor|nest)|heir")

# Words whose plural does not follow the endings below.
IRREGULAR = {
    **{f"{word}s": word for word in ("cache", "cookie", "menu", "movie", "shoe", "tie")},
    **{f"{word}es": word for word in ("alias", "atlas", "bias", "canvas", "gas", "lens")},
    "axes": "axis",
    "children": "child",
    "criteria": "criterion",
    "indices": "index",
    "lives": "life",
    "matrices": "matrix",
    "news": "news",
    "quizzes": "quiz",
    "series": "series",
    "vertices": "vertex",
}
# Endings of plurals and of their singulars, of which the first one that matches applies.
ENDINGS = {
    "people": "person",
    "men": "man",
    "mice": "mouse",
    **{f"{word[:-1]}ves": word for word in ("calf", "half", "leaf", "loaf", "shelf", "wolf")},
    **{f"{word[:-2]}ves": word for word in ("knife", "wife")},
    **{f"{ending}es": f"{ending}is" for ending in ("analys", "cris", "diagnos", "thes")},
    **{f"{ending}es": f"{ending}e" for ending in ("aus", "ous")},
    "ies": "y",
    "oes": "o",
    "uses": "us",
    **{f"{ending}es": ending for ending in ("ss", "sh", "ch", "x", "zz")},
    **{ending: ending for ending in ("ss", "us", "sis")},
    "s": "",
}

# Names in the scopes of the generated modules. tests/test_resource_names.py derives them.
USED_CLASSES = frozenset(
    """
    APIRouter Account AdminTransaction AdminView Annotated Any AsyncClient AsyncSession Base BigInt
    BigInteger CacheDep DatabaseDep DbSession Decimal DecimalString Email Field FiniteFloat Float
    ForeignKey Idempotent IdempotentRoute IfMatch Index Integer IsoDate JsonObject Literal Mapped
    NewApp NotFoundError Numeric Page PageQuery PermissionDeniedError Principal Query ReadModel
    ReadSession Reader ReaderId Register RequestModel Response ResponseModel Role RowPage
    ScaledDecimal Security SingleLineStr Statements StrEnum StrictBool String StringConstraints Text
    Timestamp TimestampMixin UniqueConstraint Url User UuidKeyMixin Writer
    """.split()
)
USED_VARIABLES = frozenset(
    """
    account admin app before begin bindparam body browser cache_namespace chain change changed
    changes check_if_match count created current_principal current_user data date datetime
    define_scopes delete_account delete_row deleted descending details enum_column etag etag_of
    executed existing explain_conflict exported for_update func get_current_principal
    get_current_user_id if_match invalidate json_response key listed load mapped_column member
    method missing models name new_app other owner owner_id page pages paginate path pointers
    principal problem_responses pytest read read_pages register replica response router row select
    service session set_etag sort statement statements support tx unknown url uuid4 value values
    """.split()
)
# Names of fields that cannot work, and why.
RESERVED_FIELDS = {
    **dict.fromkeys(
        ["id", "owner_id", "version", "created_at", "updated_at"], "every resource has this field"
    ),
    **dict.fromkeys(["q", "sort", "limit", "cursor"], "lists have a parameter of this name"),
    **dict.fromkeys(
        ["metadata", "registry", "type_annotation_map"], "models have an attribute of this name"
    ),
    **dict.fromkeys(
        """
        construct copy dict from_orm json model_computed_fields model_config model_construct
        model_copy model_dump model_dump_json model_extra model_fields model_fields_set
        model_json_schema model_parametrized_name model_post_init model_rebuild model_validate
        model_validate_json model_validate_strings mro parse_file parse_obj parse_raw register
        schema schema_json update_forward_refs validate
        """.split(),
        "bodies have an attribute of this name",
    ),
    **dict.fromkeys(["t", "tuple"], "the rows of a list have an attribute of this name"),
    **dict.fromkeys(
        "bool date datetime enum_column float int list mapped_column self str".split(),
        "the generated modules use this name",
    ),
}

# Pydantic warns about fields whose names begin like this.
RESERVED_PREFIXES = ("model_dump", "model_validate")


@dataclass(frozen=True)
class Names:
    """The names of a resource.

    Attributes:
        plural: such as `order_lines`: the package, the table and the suffix of `list_order_lines`.
        singular: such as `order_line`: variables and the suffix of functions.
    """

    plural: str
    singular: str

    @property
    def cls(self) -> str:
        """The class of the model, such as OrderLine."""
        return camel_case(self.singular)

    @property
    def url(self) -> str:
        """The last part of the path of the routes, such as order-lines."""
        return self.plural.replace("_", "-")

    @property
    def words(self) -> str:
        """The plural in a sentence, such as "order lines"."""
        return self.plural.replace("_", " ")

    @property
    def word(self) -> str:
        """The singular in a sentence, such as "order line"."""
        return self.singular.replace("_", " ")

    @property
    def a(self) -> str:
        """The singular with its article, such as "an order line"."""
        return f"{'an' if AN.match(self.singular) else 'a'} {self.word}"


def camel_case(name: str) -> str:
    """Return a name in snake case as the name of a class."""
    return "".join(word.capitalize() for word in name.split("_"))


def singular_of(plural: str) -> str:
    """Return the singular of a plural in snake case, as far as the usual endings show it."""
    head, separator, word = plural.rpartition("_")
    if word in IRREGULAR:
        return head + separator + IRREGULAR[word]
    for ending, singular in ENDINGS.items():
        if word.endswith(ending):
            return plural.removesuffix(ending) + singular
    return plural


def resource_names(plural: str, singular: str | None) -> Names:
    """Return the names of a resource.

    Args:
        plural: the name of the resource.
        singular: its singular, if the usual endings do not show it.

    Raises:
        click.UsageError: one of the names cannot work.
    """
    names = Names(plural, singular or singular_of(plural))
    for name in (plural, names.singular):
        if not NAME.fullmatch(name):
            raise click.UsageError(
                f"{name!r}: use lowercase words with underscores, such as 'order_lines'."
            )
        if len(name) > NAME_LENGTH:
            raise click.UsageError(f"{name!r}: use at most {NAME_LENGTH} characters.")
    if plural == names.singular:
        raise click.UsageError(
            f"{plural!r} has the same plural and singular: choose a singular with --singular,"
            f" such as '--singular {plural}_entry'."
        )
    spec = find_spec(plural)
    if plural == "tests" or _is_used(plural) or (spec and spec.origin):
        raise click.UsageError(
            f"{plural!r} is a name that Python, a dependency or generated code uses:"
            " choose another name."
        )
    if _is_used(names.singular) or _is_used(names.cls):
        raise click.UsageError(
            f"{names.singular!r} or {names.cls!r} is a name that Python or generated code uses:"
            f" add another singular, such as '--singular {names.singular}_entry'."
        )
    return names


def _is_used(name: str) -> bool:
    is_generated = name in USED_VARIABLES or name in USED_CLASSES
    return is_generated or keyword.iskeyword(name) or hasattr(builtins, name)
