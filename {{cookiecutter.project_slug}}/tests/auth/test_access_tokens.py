"""Access tokens."""

import json
import time
from datetime import UTC, datetime
from uuid import uuid4

import jwt
import pytest
from fastapi import FastAPI

from {{ cookiecutter.package_name }}.auth.tokens import (
    LEEWAY,
    AccessTokens,
    Claims,
)
from {{ cookiecutter.package_name }}.exceptions import InvalidTokenError

from support import NOWHERE, new_client, settings_for

AUTHENTICATED_AT = datetime.fromtimestamp(1_800_000_000.9, UTC)


@pytest.mark.parametrize(("amr", "acr"), [(["pwd"], "aal1"), (["pwd", "otp", "mfa"], "aal2")])
def test_access_token_has_the_claims_of_rfc_9068(amr: list[str], acr: str) -> None:
    settings, user_id, session_id = settings_for(NOWHERE), uuid4(), uuid4()
    tokens = AccessTokens(settings)

    token = tokens.issue(user_id, session_id, AUTHENTICATED_AT, amr)

    claims = jwt.decode(token, options={"verify_signature": False})
    assert tokens.verify(token) == Claims(user_id, session_id, claims["exp"], scope=None)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert claims["iat"] == pytest.approx(time.time(), abs=60)
    assert claims == {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "client_id": settings.jwt_audience,
        "sub": str(user_id),
        "sid": str(session_id),
        "iat": claims["iat"],
        "exp": claims["iat"] + 15 * 60,
        "jti": claims["jti"],
        "auth_time": 1_800_000_000,
        "amr": amr,
        "acr": acr,
    }


def test_verified_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = AccessTokens(settings_for(NOWHERE))
    token = tokens.issue(uuid4(), uuid4(), AUTHENTICATED_AT, ["pwd"])
    expiry = tokens.verify(token).expires_at

    monkeypatch.setattr(time, "time", lambda: expiry + LEEWAY)

    with pytest.raises(InvalidTokenError):
        tokens.verify(token)


async def test_challenge_has_an_error_only_for_an_invalid_token(app: FastAPI) -> None:
    tokens = app.state.services.auth.tokens
    token = tokens.issue(uuid4(), uuid4(), AUTHENTICATED_AT, ["pwd"])  # of an unknown user
    challenges = []
    async with new_client(app) as client:
        for value in ("", "Basic YTpi", "Bearer opaque", f"Bearer {token}"):
            response = await client.get("/api/v1/users/me", headers={"Authorization": value})
            assert response.status_code == 401
            challenges.append(response.headers["WWW-Authenticate"])

    assert challenges == ["Bearer"] * 2 + ['Bearer error="invalid_token"'] * 2


@pytest.mark.parametrize("keys", ["invalid", '{"keys": []}', '{"keys": [{"kty": "oct"}]}'])
def test_invalid_keys_stop_the_service(keys: str) -> None:
    with pytest.raises(SystemExit, match="JWT_KEYS must be a JSON Web Key Set"):
        AccessTokens(settings_for(NOWHERE, jwt_keys=keys))


@pytest.mark.parametrize("change", [{"typ": "JWT"}, {"kid": "other"}, {"alg": "HS512"}], ids=str)
def test_token_with_another_header_is_rejected(change: dict[str, str]) -> None:
    key = {"kty": "oct", "alg": "HS256", "kid": "current", "k": "k" * 86}
    tokens = AccessTokens(settings_for(NOWHERE, jwt_keys=json.dumps({"keys": [key]})))
    token = tokens.issue(uuid4(), uuid4(), AUTHENTICATED_AT, ["pwd"])
    header = jwt.get_unverified_header(token) | change
    claims = jwt.decode(token, options={"verify_signature": False})

    forged = jwt.encode(claims, jwt.PyJWK(key).key, header["alg"], headers=header)

    with pytest.raises(InvalidTokenError):
        tokens.verify(forged)
