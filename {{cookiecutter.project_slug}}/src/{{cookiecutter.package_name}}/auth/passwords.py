"""Passwords: hashing off the event loop, and the rules for new ones."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Final, TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

import bcrypt
from anyio import CapacityLimiter, to_thread
from pydantic import AfterValidator, Field, SecretStr

from ..errors import FieldError, Problem
from ..schemas import Secret

MIN_LENGTH: Final = 12
MAX_BYTES: Final = 72  # bcrypt reads no more
CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")
# Passwords that may be in progress or waiting, for each core: of all callers, and of one of them.
MAX_PENDING: Final = 100
MAX_PENDING_PER_CALLER: Final = 25

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def _acceptable(value: SecretStr) -> SecretStr:
    password = value.get_secret_value()
    if len(password) < MIN_LENGTH:
        raise ValueError(f"must have at least {MIN_LENGTH} characters")
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"must not be longer than {MAX_BYTES} bytes in UTF-8")
    return value


# The schema says what the function checks, as far as a schema can.
NewPassword = Annotated[
    Secret,
    Field(
        json_schema_extra={
            "minLength": MIN_LENGTH,
            "maxLength": MAX_BYTES,
            "pattern": r"^[^\x00]*$",
        }
    ),
    AfterValidator(_acceptable),
]


class Passwords:
    """Hashes and checks passwords with bcrypt.

    A hash costs a core for a quarter of a second: it runs in a thread, and no more at a time than
    there are cores, so that logins cannot starve other requests. Callers take turns, so that one
    who sends many requests cannot keep the others waiting, and the queue is bounded. A caller is an
    account when the request is authenticated, and a client address otherwise.

    Args:
        rounds: binary logarithm of the cost.

    Attributes:
        at_once: how many passwords are hashed or checked at the same time.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.at_once = _cores()
        self._limiter = CapacityLimiter(self.at_once)
        self._pending: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._unknown = bcrypt.gensalt(rounds).decode() + "." * 31  # no password has this hash

    async def hash(self, password: str, caller: str) -> str:
        """Hash a password of at most 72 bytes.

        Raises:
            Problem: 503 with Retry-After, too many passwords are waiting.
        """
        return (await self._run(caller, self._hash, password.encode())).decode()

    async def verify(self, password: str, hashed: str | None, caller: str) -> bool:
        """Whether the password fits; without a hash (no such user) False after the same time.

        Raises:
            Problem: as `hash`.
        """
        presented = password.encode()
        fits = len(presented) <= MAX_BYTES and b"\0" not in presented
        expected = (self._unknown if hashed is None else hashed).encode()
        matches = await self._run(caller, bcrypt.checkpw, presented if fits else b"", expected)
        return matches and fits and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether the hash was made with another cost than the present setting."""
        return int(hashed.split("$")[2]) != self.rounds

    def _hash(self, password: bytes) -> bytes:
        return bcrypt.hashpw(password, bcrypt.gensalt(self.rounds))

    async def _run(
        self, caller: str, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Result:
        if (
            self._pending.total() >= MAX_PENDING * self.at_once
            or self._pending[caller] >= MAX_PENDING_PER_CALLER * self.at_once
        ):
            raise Problem(
                503,
                "Too many passwords are being checked; try again shortly.",
                headers={"Retry-After": "5"},
            )
        self._pending[caller] += 1
        try:
            # The limiter serves its queue in order, and a caller has few places in it at a time.
            turn = self._turns.setdefault(caller, asyncio.Semaphore(self.at_once))
            async with turn:
                return await to_thread.run_sync(function, *arguments, limiter=self._limiter)
        finally:
            self._pending -= Counter([caller])


def _cores() -> int:
    """The cores of this machine, or as many as its container gets (cgroup v2), at least one."""
    cores = os.cpu_count() or 1
    try:
        quota, period = CPU_MAX.read_text().split()
        return min(cores, max(int(quota) // int(period), 1))
    except (OSError, ValueError):  # another system, or "max": no limit
        return cores


async def check_new_password(password: str, email: str, *, pointer: str) -> None:
    """Refuse passwords that are guessed first (NIST SP 800-63B section 3.1.1.2).

    Args:
        pointer: JSON Pointer of the member that holds the password, for the error.

    Raises:
        Problem: 422, the password is the e-mail address or among the commonest.
    """
    guess = password.casefold()
    if guess in (email.casefold(), email.casefold().partition("@")[0]):
        reason = "must not be the e-mail address"
    elif guess in await to_thread.run_sync(_commonest):
        reason = "is among the most common passwords"
    else:
        return
    raise Problem(
        422, "The request is not valid.", errors=[FieldError(pointer=pointer, detail=reason)]
    )


@cache
def _commonest() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # large, and seldom needed

    return frozenset(FREQUENCY_LISTS["passwords"])
