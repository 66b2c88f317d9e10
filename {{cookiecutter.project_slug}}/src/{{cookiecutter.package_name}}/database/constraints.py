"""Translate constraint violations into errors for clients."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from ..exceptions import ConflictError


@contextmanager
def explain_conflict(messages: Mapping[str, str]) -> Iterator[None]:
    """Raise ConflictError with a message when the block violates one of these constraints.

    Other violations are raised again: errors.py answers races with 409, and defects with 500.

    Args:
{%- if cookiecutter.database == "postgresql" %}
        messages: by name of the constraint, such as "uq_users_email".
{%- else %}
        messages: by the columns of a unique constraint, such as "users.email", or by the name of a
            check constraint.
{%- endif %}
    """
    try:
        yield
    except IntegrityError as error:
        message = messages.get(_violated_constraint(error))
        if message is None:
            raise
        raise ConflictError(message) from error


def _violated_constraint(error: IntegrityError) -> str:
{%- if cookiecutter.database == "postgresql" %}
    cause = error.orig and error.orig.__cause__
    return getattr(cause, "constraint_name", None) or ""
{%- else %}
    return str(error.orig).partition(" constraint failed: ")[2]
{%- endif %}
