"""Access tokens: forged tokens and signing keys."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from orders.auth.tokens import AccessTokens
from orders.database import utcnow
from orders.exceptions import InvalidTokenError
from support import NOWHERE, NewApp, new_client, settings_for

IDS = (uuid4(), uuid4())  # of the user and the login session
LOGIN = (*IDS, utcnow(), ["pwd"])
NEW_KEY: dict[str, Callable[[], Any]] = {
    "ES256": partial(ec.generate_private_key, ec.SECP256R1()),
    "RS256": partial(rsa.generate_private_key, 65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def jwk(kid: str, algorithm: str, key: object = None) -> dict[str, Any]:
    """Return a JSON Web Key, of a new key pair by default."""
    key = key or NEW_KEY[algorithm]()
    members: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return members | {"kid": kid, "alg": algorithm, "use": "sig"}


def key_set(*keys: object) -> str:
    """Return a JSON Web Key Set."""
    return json.dumps({"keys": keys})


CURRENT, PREVIOUS = jwk("current", "HS256", b"c" * 64), jwk("previous", "HS256", b"p" * 64)
PAIR = jwk("pair", "ES256")
KEYS = key_set(CURRENT, PREVIOUS, PAIR)
decode = partial(jwt.decode, options={"verify_signature": False})


def access_tokens(keys: str = KEYS) -> AccessTokens:
    """Return the access tokens of a service with these keys."""
    return AccessTokens(settings_for(NOWHERE, jwt_keys=keys))


def ids_of(tokens: AccessTokens, token: str) -> tuple[UUID, UUID]:
    """Verify a token, and return the ids of its user and login session."""
    claims = tokens.verify(token)
    return claims.user_id, claims.session_id


def forge(
    key: Any = b"c" * 64, algorithm: str = "HS256", typ: str = "at+jwt", **changes: Any
) -> str:
    """Return a token with other claims or another kid; None removes one."""
    members = {"kid": "current"} | decode(access_tokens().issue(*LOGIN)) | changes
    claims = {name: value for name, value in members.items() if value is not None}
    kid = {"kid": claims.pop("kid")} if "kid" in claims else {}
    return jwt.encode(claims, key, algorithm, headers={"typ": typ, **kid})


FORGERIES: list[dict[str, Any]] = [
    {"key": None, "algorithm": "none"},
    {"key": b"f" * 64},
    {"key": b"p" * 64},
    {"kid": "unknown"},
    {"kid": "pair"},
    {"kid": "pair", "key": PAIR["x"]},
    {"algorithm": "HS512"},
    {"typ": "JWT"},
    *[{name: "another"} for name in ("iss", "aud", "sub")],
    {"exp": 1},
    {"iat": 2**40},
    *[{name: None} for name in ("kid", "iss", "aud", "sub", "iat", "exp", "jti", "sid")],
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=" ".join)
def test_forged_token_is_rejected(forgery: dict[str, Any]) -> None:
    assert ids_of(access_tokens(), forge()) == IDS
    with pytest.raises(InvalidTokenError):
        access_tokens().verify(forge(**forgery))


@pytest.mark.parametrize("header", ["", "opaque", "NQ", "e30", "W1tb" * 3000], ids=len)
def test_malformed_token_is_rejected(header: str) -> None:
    with pytest.raises(InvalidTokenError):
        access_tokens().verify(f"{header}.e30.e30")


@pytest.mark.parametrize("algorithm", NEW_KEY)
async def test_tokens_are_verified_with_the_published_key(new_app: NewApp, algorithm: str) -> None:
    private = jwk("pair", algorithm)
    app = new_app(jwt_keys=key_set(private, PREVIOUS))
    async with new_client(app) as client:
        [published] = (await client.get("/.well-known/jwks.json")).json()["keys"]

    assert published.items() <= private.items()
    assert not published.keys() & {"d", "p", "q", "dp", "dq", "qi"}
    state = app.state.services
    token, audience = state.auth.tokens.issue(*LOGIN), state.settings.jwt_audience
    assert jwt.decode(token, jwt.PyJWK(published), audience=audience)["sub"] == str(IDS[0])
    assert ids_of(state.auth.tokens, token) == IDS


def test_key_rotation_keeps_tokens_valid() -> None:
    before, after = access_tokens(key_set(PAIR, CURRENT)), access_tokens(key_set(PAIR))
    token = access_tokens(key_set(CURRENT)).issue(*LOGIN)

    assert ids_of(before, token) == ids_of(after, before.issue(*LOGIN)) == IDS
    with pytest.raises(InvalidTokenError):
        after.verify(token)


INVALID_KEY_SETS = [
    *["not JSON", "[" * 100_000, "[]", "{}", key_set(), key_set(5), key_set(PAIR, PAIR)],
    *[key_set(PAIR | change) for change in ({"kid": None}, {"y": PAIR["x"]}, {"alg": "none"})],
    key_set({name: value for name, value in PAIR.items() if name != "d"}),
    key_set(PAIR, {"kty": "oct", "k": CURRENT["k"]}),
    key_set(PAIR, jwk("short", "HS256", b"of 31 bytes, which is too short")),
    key_set(CURRENT | {"alg": "HS257"}),
]


@pytest.mark.parametrize("keys", INVALID_KEY_SETS, ids=range(len(INVALID_KEY_SETS)))
def test_invalid_keys_stop_the_service_and_are_not_printed(keys: str) -> None:
    with pytest.raises(SystemExit, match=r"^JWT_KEYS must be [^\n]+$") as stop:
        access_tokens(keys)

    assert PAIR["d"] not in str(stop.value)
    assert CURRENT["k"] not in str(stop.value)
