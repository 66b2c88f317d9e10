"""Passwords: hashing off the event loop, and the rules for new ones."""

import asyncio
{%- if cookiecutter.use_prometheus %}
import time
{%- endif %}
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Final, TypeVar
from weakref import WeakValueDictionary

import bcrypt
from anyio import CapacityLimiter, to_thread
from pydantic import AfterValidator, Field

from ..exceptions import OverloadedError, UnacceptablePasswordError
{%- if cookiecutter.use_prometheus %}
from ..instruments import PASSWORD_DURATION, PASSWORDS_IN_PROGRESS
{%- endif %}
from ..schemas import Secret
from ..settings import Settings

MIN_LENGTH: Final = 12
MAX_BYTES: Final = 72  # bcrypt ignores the rest
MIN_SCORE: Final = 2  # zxcvbn: at least a million guesses
MAX_SCORED: Final = 24  # characters
# Limits of the passwords in progress or waiting, per thread: of all callers, and of one caller.
MAX_PENDING: Final = 100
MAX_PENDING_PER_CALLER: Final = 25

Result = TypeVar("Result")


def _check_length(value: Secret) -> Secret:
    password = value.get_secret_value()
    if len(password) < MIN_LENGTH:
        raise ValueError(f"must have at least {MIN_LENGTH} characters")
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"must not be longer than {MAX_BYTES} bytes in UTF-8")
    return value


# The schema states what the function checks, as far as a schema can.
NewPassword = Annotated[
    Secret,
    Field(
        json_schema_extra={
            "minLength": MIN_LENGTH,
            "maxLength": MAX_BYTES,
            "pattern": r"^[^\x00]*$",
        }
    ),
    AfterValidator(_check_length),
]


def _score(password: str, email: str) -> int:
    from zxcvbn import zxcvbn  # takes long to import, and most requests do not need it

    # Its time grows fast with the length: 72 characters can take seconds.
    known = (email, email.partition("@")[0])
    user_inputs = [part for text in known for part in (text[:MAX_SCORED], text[-MAX_SCORED:])]
    parts = {password[:MAX_SCORED], password[-MAX_SCORED:]}
    return max(int(zxcvbn(part, user_inputs=user_inputs)["score"]) for part in parts)


class PasswordHasher:
    """Check, hash and verify passwords; hash them with bcrypt.

    A hash takes a core for a quarter of a second. PASSWORD_THREADS of them run at a time, in
    threads, so that logins do not delay other requests. Callers take turns, so that one who sends
    many requests does not keep the others waiting. A caller is an account when the request is
    authenticated, and a client address otherwise. When the queue of one caller or of all is full,
    every method raises OverloadedError.

    Attributes:
        rounds: binary logarithm of the cost of a hash.
        threads: passwords that are hashed at the same time.
    """

    def __init__(self, settings: Settings) -> None:
        self.rounds = settings.bcrypt_rounds
        self.threads = settings.password_threads
        self._limiter = CapacityLimiter(self.threads)
        self._pending: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        # No password has this hash.
        self._unknown_user = bcrypt.gensalt(self.rounds).decode() + "." * 31

    async def hash(self, password: str, caller: str) -> str:
        """Hash a password of at most 72 bytes."""
        salt = bcrypt.gensalt(self.rounds)
        return (await self._run(caller, lambda: bcrypt.hashpw(password.encode(), salt))).decode()

    async def hash_new(self, password: str, email: str, caller: str) -> str:
        """Check and hash a new password. Call this outside of a transaction.

        Raises:
            UnacceptablePasswordError: the password is easy to guess.
        """
        await self.check(password, email, caller)
        return await self.hash(password, caller)

    async def check(self, password: str, email: str, caller: str) -> None:
        """Reject a new password that is easy to guess (NIST SP 800-63B-4 section 3.1.1.2).

        Raises:
            UnacceptablePasswordError: an attacker would guess it among the first million.
        """
        if await self._run(caller, lambda: _score(password, email)) < MIN_SCORE:
            raise UnacceptablePasswordError

    async def verify(self, password: str, password_hash: str | None, caller: str) -> bool:
        """Return whether the hash is that of the password.

        Without a hash (an unknown user), return False after the same time.
        """
        presented = password.encode()
        expected = (password_hash or self._unknown_user).encode()
        matches = await self._run(caller, lambda: bcrypt.checkpw(presented[:MAX_BYTES], expected))
        return matches and len(presented) <= MAX_BYTES and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the cost of the hash differs from `rounds`."""
        return int(password_hash.split("$")[2]) != self.rounds

    async def _run(self, caller: str, function: Callable[[], Result]) -> Result:
        if (
            self._pending.total() >= MAX_PENDING * self.threads
            or self._pending[caller] >= MAX_PENDING_PER_CALLER * self.threads
        ):
            raise OverloadedError(retry_after=5)
        self._pending[caller] += 1
{%- if cookiecutter.use_prometheus %}
        started = time.perf_counter()
        PASSWORDS_IN_PROGRESS.inc()
{%- endif %}
        try:
            # The limiter serves its queue in order, and a caller has few places in it at a time.
            async with self._turns.setdefault(caller, asyncio.Semaphore(self.threads)):
                return await to_thread.run_sync(function, limiter=self._limiter)
        finally:
            # Subtracting also removes the key when the count reaches zero.
            self._pending -= Counter([caller])
{%- if cookiecutter.use_prometheus %}
            PASSWORDS_IN_PROGRESS.dec()
            PASSWORD_DURATION.observe(time.perf_counter() - started)
{%- endif %}
