"""Scopes: what a credential allows (RFC 6749 section 3.3). A role is a set of scopes."""

from collections.abc import Collection
from typing import Final, NamedTuple

from ..exceptions import InvalidScopeError
from .models import Role

EVERYONE: Final = frozenset(Role)
PEOPLE: Final = frozenset({Role.USER, Role.ADMIN})
# A service account has such a scope only if an administrator grants it.
ADMINISTRATORS: Final = frozenset({Role.ADMIN, Role.SERVICE})


class Scope(NamedTuple):
    """A scope: its description, for OpenAPI, and the roles that include it."""

    description: str
    roles: frozenset[Role]


SCOPES: Final[dict[str, Scope]] = {}


def define_scope(name: str, description: str, roles: Collection[Role] = EVERYONE) -> str:
    """Add a scope such as `account:read` to `SCOPES` when a module is imported. Returns the name.

    Raises:
        ValueError: the scope is already defined.
    """
    if name in SCOPES:
        message = f"the scope {name} is already defined"
        raise ValueError(message)
    SCOPES[name] = Scope(description, frozenset(roles))
    return name


def define_scopes(
    resource: str,
    *,
    read_roles: Collection[Role] = EVERYONE,
    write_roles: Collection[Role] = EVERYONE,
) -> tuple[str, str]:
    """Define the scopes that allow reading and changing a resource. Returns their names."""
    rows = resource.replace("-", " ")
    return (
        define_scope(f"{resource}:read", f"Read {rows}.", read_roles),
        define_scope(f"{resource}:write", f"Create, change and delete {rows}.", write_roles),
    )


ACCOUNT_READ: Final = define_scope("account:read", "Read the account and its sessions.")
# No credential for machines has this scope, because it suffices to take over the account.
ACCOUNT_WRITE: Final = define_scope("account:write", "Change the account and its logins.", PEOPLE)
USERS_ADMIN: Final = define_scope(
    "users:admin", "Read all accounts; change them after a recent login.", ADMINISTRATORS
)
AUDIT_READ: Final = define_scope("audit:read", "Read the events of all accounts.", ADMINISTRATORS)


def effective_scopes(role: Role, *grants: str | None) -> frozenset[str]:
    """Return the scopes of a role that all grants include.

    Args:
        role: the current role of the account, which may have changed since a grant.
        grants: scopes separated by spaces. None: the grant has no limit.
    """
    scopes = frozenset(name for name, scope in SCOPES.items() if role in scope.roles)
    return scopes.intersection(*(grant.split() for grant in grants if grant is not None))


def grant_scope(allowed: frozenset[str], requested: str | None) -> str:
    """Return the requested scopes, sorted and separated by spaces (RFC 6749 section 3.3).

    Args:
        allowed: the scopes that may be granted.
        requested: scopes separated by spaces. None: all that are allowed.

    Raises:
        InvalidScopeError: a requested scope is unknown or not allowed, or there is none to grant.
    """
    scopes = allowed if requested is None else set(requested.split(" "))
    if not scopes or not allowed.issuperset(scopes):
        raise InvalidScopeError
    return " ".join(sorted(scopes))
