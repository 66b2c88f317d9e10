"""Client assertions: JSON Web Tokens that a client signs to authenticate (RFC 7523)."""

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ..exceptions import InvalidClientError
from .tokens import LEEWAY, MALFORMED

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# RFC 7518 section 6. The prime factors of an RSA key are as secret as its exponent `d`.
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
MAX_KEYS: Final = 10
MAX_LIFETIME: Final = 3600  # seconds; the default of Authlib


@dataclass(frozen=True)
class VerifiedAssertion:
    """An assertion that may be used once.

    Attributes:
        jti_hash: the hash of the client id and the id of the assertion.
        expires_at: time after which the assertion is rejected as expired.
    """

    jti_hash: str
    expires_at: datetime


def check_public_keys(jwks: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Web Key Set (RFC 7517) whose keys can verify assertions.

    Raises:
        ValueError: the set is malformed or too large, or a key is private or too short.
    """
    try:
        keys = jwks["keys"]
        if not 1 <= len(keys) <= MAX_KEYS or not all(map(_is_usable, keys)):
            raise ValueError
    except (jwt.PyJWTError, *MALFORMED):
        # The libraries' error messages may quote the key.
        raise ValueError(
            f"must be a JSON Web Key Set of 1 to {MAX_KEYS} public keys: RSA of at least 2048 "
            "bits, EC or Ed25519"
        ) from None
    return jwks


def _is_usable(members: dict[str, Any]) -> bool:
    key = jwt.PyJWK(members).key
    if isinstance(key, RSAPublicKey) and key.key_size < 2048:
        return False
    is_public = isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey)
    return is_public and PRIVATE_MEMBERS.isdisjoint(members)


def read_client_id(assertion: str) -> UUID:
    """Return the client id of an assertion, before the assertion is verified.

    Raises:
        InvalidClientError: the assertion is malformed.
    """
    try:
        return UUID(jwt.decode(assertion, options={"verify_signature": False})["sub"])
    except (jwt.PyJWTError, *MALFORMED):
        raise InvalidClientError from None


def verify_assertion(
    assertion: str, jwks: dict[str, Any], client_id: UUID, audiences: list[str]
) -> VerifiedAssertion:
    """Verify the signature and the claims of an assertion (RFC 7523 section 3).

    Args:
        jwks: the public keys of the client. The assertion must be signed with one of them.
        audiences: the names of the service, one of which must be the audience.

    Raises:
        InvalidClientError: the assertion is malformed, expired or valid for more than
            `MAX_LIFETIME`, or a claim or the signature is wrong.
    """
    for key in map(jwt.PyJWK, jwks["keys"]):
        with suppress(jwt.PyJWTError, ArithmeticError, *MALFORMED):
            # The algorithm is the key's, never the assertion's (RFC 8725 section 3.1).
            claims = jwt.decode(
                assertion,
                key.key,
                algorithms=[key.algorithm_name],
                issuer=str(client_id),
                subject=str(client_id),
                audience=audiences,
                leeway=LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp", "jti"]},
            )
            if claims["exp"] <= time.time() + MAX_LIFETIME + LEEWAY:
                jti_hash = hashlib.sha256(f"{client_id}:{claims['jti']}".encode()).hexdigest()
                expires_at = datetime.fromtimestamp(claims["exp"] + LEEWAY, UTC)
                return VerifiedAssertion(jti_hash, expires_at)
    raise InvalidClientError
