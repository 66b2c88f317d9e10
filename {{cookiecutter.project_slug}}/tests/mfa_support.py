"""Authenticator apps of the tests."""

import base64
import hmac
import time
from dataclasses import dataclass

from support import Account

FACTORS = "/api/v1/auth/factors"


@dataclass(frozen=True)
class Factor:
    """A second factor that an account has enabled."""

    id: str
    secret: str
    recovery_codes: list[str]


def totp(secret: str, at: float | None = None, digits: int = 6) -> str:
    """Return the code of an authenticator app (RFC 6238 section 4), without a library.

    Args:
        secret: in base32.
        at: Unix time, by default now. A code is accepted once, also by a confirmation, and then
            only those of later steps of 30 seconds are; the service accepts one step ahead.
    """
    step = int(time.time() if at is None else at) // 30
    digest = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15  # RFC 4226 section 5.3
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**digits:0{digits}}"


async def enroll(account: Account, at: float | None = None) -> Factor:
    """Enable an authenticator app for an account that is logged in.

    Args:
        at: the time of the confirmation, by default now.
    """
    created = (await account.client.post(f"{FACTORS}/totp", json={"name": "Phone"})).json()
    url, otp = f"{FACTORS}/{created['id']}/confirmation", totp(created["secret"], at)
    response = await account.client.post(url, json={"otp": otp})
    assert response.status_code == 200, response.text
    return Factor(created["id"], created["secret"], response.json()["recovery_codes"])
