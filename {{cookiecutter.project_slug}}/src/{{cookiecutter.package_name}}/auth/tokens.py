"""Access tokens: JSON Web Tokens as RFC 9068 profiles them, checked as RFC 8725 advises."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID, uuid4

import jwt

from ..database import utcnow
from ..exceptions import InvalidTokenError
from ..settings import Settings

TYPE: Final = "at+jwt"
LEEWAY: Final = 10  # seconds by which the clocks of replicas may differ
MAX_REMEMBERED: Final = 10_000  # tokens, of about 500 bytes each
PUBLIC_MEMBERS: Final = ("kty", "use", "alg", "kid", "n", "e", "crv", "x", "y")

# Exceptions that a malformed key set raises.
MALFORMED: Final = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Claims:
    """The claims of an access token that the service uses.

    Attributes:
        session_id: the login session.
        expires_at: Unix time, in seconds.
        scope: the granted scopes, separated by spaces. None: all scopes of the session.
    """

    user_id: UUID
    session_id: UUID
    expires_at: int
    scope: str | None


class AccessTokens:
    """Issue and verify access tokens with the keys of the settings.

    Args:
        settings: JWT_KEYS or SECRET_KEY, issuer, audience and lifetime of a token.

    Raises:
        SystemExit: JWT_KEYS is not a usable JSON Web Key Set.
    """

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self.ttl = min(settings.access_token_ttl, settings.session_ttl)
        # Clients send the same token many times, and checking it takes a tenth of a short request.
        self._remembered = lru_cache(MAX_REMEMBERED)(self._decode)
        try:
            self._jwks = _read_keys(settings)
            self._signing = jwt.PyJWK(self._jwks[0])
            self._keys = {key["kid"]: jwt.PyJWK(_verifying(key)) for key in self._jwks}
            if len(self._keys) < len(self._jwks):
                raise ValueError
            for key in self._jwks:
                _check_key_length(key, self._keys[key["kid"]].algorithm_name)
            self.verify(self.issue(uuid4(), uuid4(), utcnow(), []))
        except (InvalidTokenError, jwt.PyJWTError, *MALFORMED):
            # The libraries' error messages may quote the key.
            raise SystemExit(
                "JWT_KEYS must be a JSON Web Key Set (RFC 7517): the first key private or "
                "symmetric, each with a kid of its own and as long as its algorithm demands"
            ) from None

    def issue(
        self,
        user_id: UUID,
        session_id: UUID,
        authenticated_at: datetime | None,
        amr: Sequence[str],
        scope: str | None = None,
    ) -> str:
        """Sign a token for a user and a login session.

        Args:
            authenticated_at: time of the last authentication of the user in the session. None: the
                user is a service account, which is its own client.
            amr: methods of that authentication (RFC 8176).
            scope: the granted scopes, separated by spaces, if the client asked for some (RFC 9068
                section 2.2.3).
        """
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "client_id": self._audience if authenticated_at else str(user_id),
            "sid": str(session_id),
            "iat": now,
            "exp": now + self.ttl,
            "jti": uuid4().hex,
        }
        if authenticated_at is not None:
            claims |= {
                "auth_time": int(authenticated_at.timestamp()),
                "amr": amr,
                # The authenticator assurance levels of NIST SP 800-63B.
                "acr": "aal2" if "mfa" in amr else "aal1",
            }
        if scope is not None:
            claims["scope"] = scope
        headers = {"typ": TYPE, "kid": self._signing.key_id}
        return jwt.encode(claims, self._signing.key, self._signing.algorithm_name, headers=headers)

    def verify(self, token: str) -> Claims:
        """Check signature, type, issuer, audience and lifetime of a token, and return its claims.

        Raises:
            InvalidTokenError: the token is malformed or expired, or a claim or the signature is
                wrong.
        """
        claims = self._remembered(token)
        if claims.expires_at + LEEWAY <= time.time():
            raise InvalidTokenError
        return claims

    def _decode(self, token: str) -> Claims:
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys[header["kid"]]
            if str(header.get("typ")).lower() != TYPE:
                raise InvalidTokenError
            # The algorithm is the key's, never the token's (RFC 8725 section 3.1).
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "sub", "iat", "exp", "jti"]},
            )
            return Claims(
                user_id=UUID(claims["sub"]),
                session_id=UUID(claims["sid"]),
                expires_at=int(claims["exp"]),
                scope=claims.get("scope"),
            )
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, AttributeError):
            raise InvalidTokenError from None

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys (RFC 7517) with which other services verify the tokens."""
        return {"keys": [_verifying(key) for key in self._jwks if key["kty"] != "oct"]}


def _verifying(key: dict[str, Any]) -> dict[str, Any]:
    if key["kty"] == "oct":
        return key
    return {name: key[name] for name in PUBLIC_MEMBERS if name in key}


def _check_key_length(key: dict[str, Any], algorithm: str) -> None:
    # RFC 7518 sections 3.2 and 3.3. Other kinds of key have the size of their curve.
    if key["kty"] in {"oct", "RSA"}:
        value = key["k"] if key["kty"] == "oct" else key["n"]
        bits = 8 * len(urlsafe_b64decode(value + "=="))
        if bits < (int(algorithm[-3:]) if key["kty"] == "oct" else 2048):
            raise ValueError


def _read_keys(settings: Settings) -> list[dict[str, Any]]:
    if settings.jwt_keys is not None:
        keys: list[dict[str, Any]] = json.loads(settings.jwt_keys.get_secret_value())["keys"]
        return keys
    secret = settings.secret_key.get_secret_value().encode()
    derived = hmac.digest(secret, b"access tokens", "sha256")
    return [
        {
            "kty": "oct",
            "alg": "HS256",
            "kid": hashlib.sha256(derived).hexdigest()[:16],
            "k": urlsafe_b64encode(derived).rstrip(b"=").decode(),
        }
    ]
