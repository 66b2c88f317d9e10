"""Exceptions that services raise. They are independent of HTTP; errors.py maps each to a status."""

from collections.abc import Mapping
from typing import Any


class ServiceError(Exception):
    """A rule of the service was violated.

    Args:
        message: a sentence for the caller, without internals.
    """

    message = "The request cannot be carried out."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class NotFoundError(ServiceError):
    """The resource does not exist, or is not visible to the caller."""

    message = "Not found."


class ConflictError(ServiceError):
    """The change contradicts the current state of the resource."""


class PermissionDeniedError(ServiceError):
    message = "Only administrators may do this."


class IncorrectPasswordError(ServiceError):
    message = "Incorrect password."


class UnacceptablePasswordError(ServiceError):
    message = "The password is easy to guess."


class InvalidCursorError(ServiceError):
    """The cursor is malformed or was issued for another sort order."""

    message = "Invalid cursor for this sort order."


class InvalidTokenError(ServiceError):
    """A token is malformed, unknown, used, expired or revoked."""

    message = "The token is not valid."


class RetryableError(ServiceError):
    """The same request may succeed later.

    Args:
        retry_after: seconds to wait.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class TooManyAttemptsError(RetryableError):
    message = "Too many attempts; try again later."


class OverloadedError(RetryableError):
    message = "The service is busy; try again shortly."


def validation_message(error: Mapping[str, Any]) -> str:
    """Return the message of one of Pydantic's errors, without the prefix of a ValueError."""
    message: str = error["msg"]
    return message.removeprefix("Value error, ")
