"""Access tokens: what they say, when they are refused, and the keys that sign them."""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import FastAPI

from {{ cookiecutter.package_name }}.auth.tokens import AccessTokens, Claims
from {{ cookiecutter.package_name }}.exceptions import InvalidTokenError
from {{ cookiecutter.package_name }}.state import get_state

from support import NOWHERE, NewApp, new_client, settings_for

WHO = (uuid4(), uuid4())  # user and login
MAKE_KEY: dict[str, Callable[[], Any]] = {
    "ES256": partial(ec.generate_private_key, ec.SECP256R1()),
    "RS256": partial(rsa.generate_private_key, 65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def jwk(kid: str, algorithm: str, key: object = None) -> dict[str, Any]:
    """A JSON Web Key; a fresh pair of keys without one."""
    key = key or MAKE_KEY[algorithm]()
    members: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return members | {"kid": kid, "alg": algorithm, "use": "sig"}


def key_set(*keys: object) -> str:
    return json.dumps({"keys": keys})


CURRENT, PREVIOUS = jwk("current", "HS256", b"c" * 64), jwk("previous", "HS256", b"p" * 64)
PAIR = jwk("pair", "ES256")
KEYS = key_set(CURRENT, PREVIOUS, PAIR)
decode = partial(jwt.decode, options={"verify_signature": False})


def access_tokens(keys: str = KEYS) -> AccessTokens:
    """The access tokens of a service that has these keys."""
    return AccessTokens(settings_for(NOWHERE, jwt_keys=keys))


def forge(
    key: Any = b"c" * 64, algorithm: str = "HS256", typ: str = "at+jwt", **changes: Any
) -> str:
    """Make a token as ours are, but for some claims or the kid; None leaves one out."""
    members = {"kid": "current"} | decode(access_tokens().issue(*WHO)) | changes
    claims = {name: value for name, value in members.items() if value is not None}
    kid = {"kid": claims.pop("kid")} if "kid" in claims else {}
    return jwt.encode(claims, key, algorithm, headers={"typ": typ, **kid})


def test_access_token_follows_its_profile() -> None:
    tokens, settings = access_tokens(), settings_for(NOWHERE)

    token, another = tokens.issue(*WHO), tokens.issue(*WHO)

    header = jwt.get_unverified_header(token)
    assert header == {"typ": "at+jwt", "alg": "HS256", "kid": "current"}
    claims = decode(token)
    assert claims["iat"] == pytest.approx(time.time(), abs=60)
    assert claims["jti"] != decode(another)["jti"]
    assert claims == {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "client_id": settings.jwt_audience,
        "sub": str(WHO[0]),
        "sid": str(WHO[1]),
        "iat": claims["iat"],
        "exp": claims["iat"] + 15 * 60,
        "jti": claims["jti"],
    }


FAULTS: list[dict[str, Any]] = [
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


@pytest.mark.parametrize("fault", FAULTS, ids=" ".join)
def test_forged_token_is_refused(fault: dict[str, Any]) -> None:
    assert access_tokens().verify(forge()) == Claims(*WHO)
    with pytest.raises(InvalidTokenError):
        access_tokens().verify(forge(**fault))


@pytest.mark.parametrize("header", ["", "opaque", "NQ", "e30", "W1tb" * 3000], ids=len)
def test_what_is_no_token_is_refused(header: str) -> None:
    with pytest.raises(InvalidTokenError):
        access_tokens().verify(f"{header}.e30.e30")


async def test_challenge_names_an_error_only_if_there_was_a_token(app: FastAPI) -> None:
    challenges, of_nobody = [], app.state.services.auth.tokens.issue(*WHO)
    async with new_client(app) as client:
        for value in ("", "Basic YTpi", "Bearer opaque", f"Bearer {of_nobody}"):
            response = await client.get("/api/v1/users/me", headers={"Authorization": value})
            assert response.status_code == 401
            assert response.headers["Content-Type"] == "application/problem+json"
            challenges.append(response.headers["WWW-Authenticate"])

    assert challenges == ["Bearer"] * 2 + ['Bearer error="invalid_token"'] * 2


@pytest.mark.parametrize("algorithm", MAKE_KEY)
async def test_others_check_tokens_by_the_published_key(new_app: NewApp, algorithm: str) -> None:
    private = jwk("pair", algorithm)
    app = new_app(jwt_keys=key_set(private, PREVIOUS))
    async with new_client(app) as client:
        [published] = (await client.get("/.well-known/jwks.json")).json()["keys"]

    assert published.items() <= private.items()
    assert not published.keys() & {"d", "p", "q", "dp", "dq", "qi"}
    state = get_state(app)
    token, audience = state.auth.tokens.issue(*WHO), state.settings.jwt_audience
    assert jwt.decode(token, jwt.PyJWK(published), audience=audience)["sub"] == str(WHO[0])
    assert state.auth.tokens.verify(token) == Claims(*WHO)


def test_keys_are_replaced_without_logging_anybody_out() -> None:
    before, after = access_tokens(key_set(PAIR, CURRENT)), access_tokens(key_set(PAIR))
    token = access_tokens(key_set(CURRENT)).issue(*WHO)

    assert before.verify(token) == after.verify(before.issue(*WHO)) == Claims(*WHO)
    with pytest.raises(InvalidTokenError):
        after.verify(token)


UNUSABLE = [
    *["not JSON", "[" * 100_000, "[]", "{}", key_set(), key_set(5), key_set(PAIR, PAIR)],
    *[key_set(PAIR | change) for change in ({"kid": None}, {"y": PAIR["x"]}, {"alg": "none"})],
    key_set({name: value for name, value in PAIR.items() if name != "d"}),
    key_set(PAIR, {"kty": "oct", "k": CURRENT["k"]}),
    key_set(PAIR, jwk("short", "HS256", b"of 31 bytes, which is too short")),
    key_set(CURRENT | {"alg": "HS257"}),
]


@pytest.mark.parametrize("keys", UNUSABLE, ids=range(len(UNUSABLE)))
def test_unusable_keys_stop_the_service_and_stay_secret(keys: str) -> None:
    with pytest.raises(SystemExit, match=r"^JWT_KEYS must be [^\n]+$") as stop:
        access_tokens(keys)

    assert PAIR["d"] not in str(stop.value)
    assert CURRENT["k"] not in str(stop.value)
