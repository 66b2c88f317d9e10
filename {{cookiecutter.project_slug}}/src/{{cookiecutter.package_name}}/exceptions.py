"""Exceptions that services raise. They are independent of HTTP; errors.py maps each to a status."""

from collections.abc import Mapping
from typing import Any, ClassVar


class ServiceError(Exception):
    """A rule of the service was violated.

    Args:
        message: a sentence for the caller, without internals.

    Attributes:
        type: the problem type (RFC 9457 section 3.1.1) of errors that clients act on.
    """

    type: ClassVar[str] = "about:blank"
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


class InsufficientScopeError(PermissionDeniedError):
    """The credential does not allow the operation (RFC 6750 section 3.1).

    Args:
        scope: the scopes that the operation needs, separated by spaces.
    """

    type = "/problems/insufficient-scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"The credential needs the scope {scope}.")
        self.scope = scope


class InvalidScopeError(ServiceError):
    """A requested scope cannot be granted (RFC 6749 section 5.2)."""

    message = "A requested scope is unknown, or not allowed for this account or token."


class RegistrationClosedError(PermissionDeniedError):
    """REGISTRATION does not allow the registration or invitation."""

    type = "/problems/registration-closed"
    message = "Registration is closed."


class EmailNotVerifiedError(PermissionDeniedError):
    type = "/problems/email-not-verified"
    message = "Verify your email address first."


class IncorrectPasswordError(ServiceError):
    message = "Incorrect password."


class IncorrectCodeError(IncorrectPasswordError):
    """The code of the second factor is wrong, used or expired."""

    message = "Incorrect code."


class MfaRequiredError(ServiceError):
    """The password is correct, and the account also needs the code of a second factor."""

    type = "/problems/mfa-required"
    message = "Repeat the request with a code of your authenticator app, or a recovery code."


class ReauthenticationRequiredError(ServiceError):
    """The last authentication of the session is too old for a sensitive route (RFC 9470).

    Args:
        max_age: seconds for which an authentication counts as recent.
        mfa: whether the account needs a second factor.
    """

    type = "/problems/reauthentication-required"
    message = "Authenticate again, then repeat the request."

    def __init__(self, max_age: int, *, mfa: bool) -> None:
        super().__init__()
        self.max_age = max_age
        self.mfa = mfa


class ProofRequiredError(ServiceError):
    """Verifying an email address needs a proof that the caller owns the account."""

    type = "/problems/proof-required"
    message = "Log in or send your password, or discard the password of the account."


class UnacceptablePasswordError(ServiceError):
    message = "The password is easy to guess."


class IdempotencyKeyReusedError(ServiceError):
    """The Idempotency-Key was sent with another request."""

    type = "/problems/idempotency-key-reused"
    message = "The Idempotency-Key was sent with another request; generate a key for each request."


class InvalidCursorError(ServiceError):
    """The cursor is malformed or was issued for another sort order."""

    message = "Invalid cursor for this sort order."


class InvalidTokenError(ServiceError):
    """A token is malformed, unknown, used, expired or revoked."""

    message = "The token is not valid."


class InvalidAccountTokenError(InvalidTokenError):
    """A token sent by email is unknown, used or expired, or was issued for something else."""

    message = "The token is not valid: it has expired or was used. Request another email."


class InvalidClientError(ServiceError):
    """A client is unknown, or its credentials are wrong or used (RFC 6749 section 5.2)."""

    message = "The client authentication is not valid."


class InactiveClientError(ServiceError):
    message = "The service account is deactivated."


class MailUnavailableError(ServiceError):
    """SMTP_URL is not set in production."""

    type = "/problems/mail-unavailable"
    message = "The service cannot send email."


class RetryableError(ServiceError):
    """The same request may succeed later.

    Args:
        retry_after: seconds to wait.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class IdempotencyKeyInUseError(RetryableError):
    """The first request with the Idempotency-Key may still be running."""

    type = "/problems/idempotency-key-in-use"
    message = "A request with this Idempotency-Key may still be running; try again shortly."


class TooManyAttemptsError(RetryableError):
    message = "Too many attempts; try again later."


class OverloadedError(RetryableError):
    message = "The service is busy; try again shortly."


def validation_message(error: Mapping[str, Any]) -> str:
    """Return the message of one of Pydantic's errors, without the prefix of a ValueError."""
    message: str = error["msg"]
    return message.removeprefix("Value error, ")
