"""Service accounts, and the access tokens that they get with client credentials."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import (
    Role,
    ServiceAccount,
    User,
)
from {{ cookiecutter.package_name }}.database import Database

from support import (
    PASSWORD,
    Account,
    NewApp,
    assert_throttled,
    log_in,
    new_account,
    new_client,
    pointers,
    request_client_token,
)

ACCOUNTS, TOKEN, ME = "/api/v1/service-accounts", "/api/v1/auth/token", "/api/v1/users/me"
AUDIENCE = "https://test/api/v1/auth/token"
CHALLENGE = 'Basic realm="clients", charset="UTF-8"'
KEYS: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any) -> dict[str, Any]:
    """Return a key in the form of a JSON Web Key."""
    kinds = (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)
    if isinstance(key, kinds):
        return ECAlgorithm.to_jwk(key, as_dict=True)
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return RSAAlgorithm.to_jwk(key, as_dict=True)
    return OKPAlgorithm.to_jwk(key, as_dict=True)


def key_set(*keys: Any) -> dict[str, Any]:
    """Return the public keys of private keys as a JSON Web Key Set."""
    return {"keys": [jwk(key.public_key()) for key in keys]}


async def create(admin: Account, **changes: object) -> dict[str, Any]:
    """Create a service account."""
    body = {"name": uuid4().hex, "scopes": ["account:read"]} | changes
    response = await admin.client.post(ACCOUNTS, json=body)
    assert response.status_code == 201, response.text
    account: dict[str, Any] = response.json()
    return account


async def request_token(
    client: AsyncClient, account: dict[str, Any], **parameters: str
) -> Response:
    """Request a token with the client secret."""
    credentials = account["id"], account["client_secret"]
    return await request_client_token(client, *credentials, **parameters)


def in_seconds(seconds: int) -> int:
    """Return the time of a claim, from now."""
    return int(time.time()) + seconds


def claims_of(account: dict[str, Any], **changes: object) -> dict[str, Any]:
    """Return the claims of an assertion."""
    return {
        "iss": account["id"],
        "sub": account["id"],
        "aud": AUDIENCE,
        "exp": in_seconds(60),
        "jti": uuid4().hex,
    } | changes


def sign(account: dict[str, Any], key: Any = KEYS["ES256"], **changes: object) -> str:
    """Return an assertion."""
    return jwt.encode(claims_of(account, **changes), key, jwt.PyJWK(jwk(key)).algorithm_name)


def assertion_parameters(assertion: str) -> dict[str, str]:
    """Return the parameters of `private_key_jwt`."""
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }


async def send_assertion(client: AsyncClient, assertion: str, **changes: str) -> Response:
    """Request a token with an assertion."""
    form = {"grant_type": "client_credentials"} | assertion_parameters(assertion) | changes
    return await client.post(TOKEN, data=form)


async def log_in_program(app: FastAPI, account: dict[str, Any]) -> AsyncClient:
    """Return a client with an access token of the service account."""
    response = await request_token(new_client(app), account)
    return new_client(app, response.json()["access_token"])


def assert_invalid_client(response: Response) -> None:
    """Check the error of a client whose authentication failed."""
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert response.headers["WWW-Authenticate"] == CHALLENGE
    assert response.headers["Cache-Control"] == "no-store"


async def test_program_gets_an_access_token_with_its_secret(
    app: FastAPI, client: AsyncClient, admin: Account
) -> None:
    account = await create(admin, scopes=["users:admin", "account:read"])

    response = await request_token(client, account)
    tokens = response.json()
    me = await new_client(app, tokens["access_token"]).get(ME)

    assert response.headers["Cache-Control"] == "no-store"
    assert tokens.pop("access_token")
    assert tokens == {
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "account:read users:admin",
    }
    assert (me.json()["id"], me.json()["role"]) == (account["id"], "service")


async def test_access_token_names_the_program_as_its_client(
    client: AsyncClient, admin: Account
) -> None:
    account = await create(admin)

    token = (await request_token(client, account)).json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})

    assert (claims["sub"], claims["client_id"]) == (account["id"], account["id"])
    assert claims["scope"] == "account:read"
    assert not claims.keys() & {"auth_time", "amr", "acr"}


async def test_secret_is_shown_once_and_stored_as_its_hash(
    admin: Account, session: AsyncSession
) -> None:
    account = await create(admin)

    secret = account.pop("client_secret")
    read = await admin.client.get(f"{ACCOUNTS}/{account['id']}")
    listed = await admin.client.get(ACCOUNTS)
    stored = (await session.scalars(select(ServiceAccount))).one()

    assert read.json() == account
    assert listed.json()["items"] == [account]
    assert secret not in str(vars(stored))
    assert stored.secret_hash


async def test_credentials_of_the_basic_header_are_form_decoded(
    client: AsyncClient, admin: Account
) -> None:
    account = await create(admin)

    encoded = {
        name: "".join(f"%{ord(character):02X}" for character in account[name])
        for name in ("id", "client_secret")
    }

    assert (await request_token(client, account | encoded)).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic =", "Basic YTpi", "Basic /w==", "Bearer token", "basic \N{POUND SIGN}"],
)
async def test_malformed_credentials_are_rejected(client: AsyncClient, authorization: str) -> None:
    form = {"grant_type": "client_credentials"}
    headers = {b"Authorization": authorization.encode("latin-1")}

    assert_invalid_client(await client.post(TOKEN, data=form, headers=headers))


async def test_wrong_secret_and_unknown_client_are_rejected(
    client: AsyncClient, admin: Account
) -> None:
    account, other = await create(admin), await create(admin)
    keys = await create(admin, jwks=key_set(OTHER_KEY))

    for wrong in (
        account | {"client_secret": other["client_secret"]},
        account | {"client_secret": ""},
        account | {"id": str(uuid4())},
        account | {"id": str(admin.id), "client_secret": PASSWORD},
        keys | {"client_secret": ""},
    ):
        assert_invalid_client(await request_token(client, wrong))


async def test_secret_in_the_form_is_rejected(client: AsyncClient, admin: Account) -> None:
    account = await create(admin)
    form = {
        "grant_type": "client_credentials",
        "client_id": account["id"],
        "client_secret": account["client_secret"],
    }

    assert_invalid_client(await client.post(TOKEN, data=form))


async def test_client_id_of_the_form_must_be_that_of_the_credentials(
    client: AsyncClient, admin: Account
) -> None:
    account = await create(admin)
    keys = await create(admin, jwks=key_set(KEYS["ES256"]))

    for client_id, status in ((account["id"], 200), (keys["id"], 401), ("other", 401)):
        response = await request_token(client, account, client_id=client_id)
        assert response.status_code == status
    assert (await send_assertion(client, sign(keys), client_id=keys["id"])).status_code == 200
    assert_invalid_client(await send_assertion(client, sign(keys), client_id=account["id"]))


async def test_two_ways_to_authenticate_in_one_request_are_rejected(
    client: AsyncClient, admin: Account
) -> None:
    account = await create(admin)
    keys = await create(admin, jwks=key_set(KEYS["ES256"]))

    response = await request_token(client, account, **assertion_parameters(sign(keys)))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_program_gets_an_access_token_with_its_key(
    app: FastAPI, client: AsyncClient, admin: Account, key: Any
) -> None:
    account = await create(admin, jwks=key_set(key))
    issuer = app.state.services.settings.jwt_issuer

    responses = [
        await send_assertion(client, sign(account, key)),
        await send_assertion(client, sign(account, key, aud=[AUDIENCE, "other"])),
        await send_assertion(client, sign(account, key, aud=issuer)),
    ]

    assert account["client_secret"] is None
    assert account["auth_method"] == "private_key_jwt"
    for response in responses:
        token = response.json()["access_token"]
        assert (await new_client(app, token).get(ME)).json()["id"] == account["id"]


async def test_keys_are_rotated_without_interruption(client: AsyncClient, admin: Account) -> None:
    old, new = KEYS["ES256"], KEYS["RS256"]
    account = await create(admin, jwks=key_set(old))

    async def replace(*keys: Any) -> list[int]:
        body = {"jwks": key_set(*keys)}
        response = await admin.client.patch(f"{ACCOUNTS}/{account['id']}", json=body)
        assert response.json()["jwks"] == body["jwks"]
        sent = [await send_assertion(client, sign(account, key)) for key in (old, new)]
        return [response.status_code for response in sent]

    assert await replace(old, new) == [200, 200]
    assert await replace(new) == [401, 200]


def none(account: dict[str, Any]) -> str:
    """Return an assertion that is not signed."""
    return jwt.encode(claims_of(account), "", "none")


def public_key_as_secret(account: dict[str, Any]) -> str:
    """Return an assertion that is signed with the text of the public key."""
    public = KEYS["ES256"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    payload = jwt.utils.base64url_encode(json.dumps(claims_of(account)).encode())
    message = header + b"." + payload
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return (message + b"." + jwt.utils.base64url_encode(hmac.sign(message, pem))).decode()


def without(name: str) -> Callable[[dict[str, Any]], str]:
    """Return a function that signs an assertion without a claim."""

    def sign_without(account: dict[str, Any]) -> str:
        claims = claims_of(account)
        del claims[name]
        return jwt.encode(claims, KEYS["ES256"], "ES256")

    return sign_without


def with_claims(**changes: object) -> Callable[[dict[str, Any]], str]:
    """Return a function that signs an assertion with other claims."""
    return lambda account: sign(account, **changes)


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg-none": none,
    "public-key-as-secret": public_key_as_secret,
    "other-key": lambda account: sign(account, OTHER_KEY),
    "other-algorithm": lambda account: sign(account, KEYS["RS256"]),
    "tampered": lambda account: sign(account)[:-4] + "AAAA",
    "other-audience": with_claims(aud="https://other.example/token"),
    "other-issuer": with_claims(iss=str(uuid4())),
    "expired": lambda account: sign(account, exp=in_seconds(-60)),
    "far-expiry": lambda account: sign(account, exp=in_seconds(2 * 3600)),
    "infinite-expiry": with_claims(exp=float("inf")),
    "text-expiry": lambda account: sign(account, exp=str(in_seconds(60))),
    "not-yet-valid": lambda account: sign(account, nbf=in_seconds(600)),
    "surrogate": with_claims(jti="\ud800"),
    **{f"no-{name}": without(name) for name in ("iss", "sub", "aud", "exp", "jti")},
    "not-a-token": lambda _: "a.b.c",
    "nested": lambda _: f"{jwt.utils.base64url_encode(b'[' * 6000).decode()}..",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_forged_assertion_is_rejected(
    client: AsyncClient, admin: Account, forge: Callable[[dict[str, Any]], str]
) -> None:
    account = await create(admin, jwks=key_set(KEYS["ES256"]))

    assert_invalid_client(await send_assertion(client, forge(account)))
    assert (await send_assertion(client, sign(account))).status_code == 200


async def test_algorithm_is_that_of_the_key(client: AsyncClient, admin: Account) -> None:
    account = await create(admin, jwks=key_set(KEYS["RS256"]))

    for algorithm, status in (("RS256", 200), ("PS256", 401), ("RS512", 401)):
        assertion = jwt.encode(claims_of(account), KEYS["RS256"], algorithm)
        assert (await send_assertion(client, assertion)).status_code == status


async def test_key_of_another_account_is_rejected(client: AsyncClient, admin: Account) -> None:
    account = await create(admin, jwks=key_set(KEYS["ES256"]))
    other = await create(admin, jwks=key_set(OTHER_KEY))
    by_secret = await create(admin)

    assert_invalid_client(await send_assertion(client, sign(account, OTHER_KEY)))
    assert_invalid_client(await send_assertion(client, sign(by_secret, OTHER_KEY)))
    assert (await send_assertion(client, sign(other, OTHER_KEY))).status_code == 200


async def test_assertion_can_be_used_once(client: AsyncClient, admin: Account) -> None:
    jwks = key_set(KEYS["ES256"])
    account, other = await create(admin, jwks=jwks), await create(admin, jwks=jwks)
    jti = uuid4().hex
    assertion = sign(account, jti=jti)

    first = await send_assertion(client, assertion)
    second = await send_assertion(client, assertion)
    longer = await send_assertion(client, sign(account, jti=jti, exp=in_seconds(600)))
    of_other = await send_assertion(client, sign(other, jti=jti))

    assert (first.status_code, of_other.status_code) == (200, 200)
    assert_invalid_client(second)
    assert_invalid_client(longer)


async def test_one_of_concurrent_requests_can_use_an_assertion(live_app: FastAPI) -> None:
    admin, client = await new_account(live_app, role=Role.ADMIN), new_client(live_app)
    assertion = sign(await create(admin, jwks=key_set(KEYS["ES256"])))

    responses = await asyncio.gather(*(send_assertion(client, assertion) for _ in range(10)))

    assert sorted(response.status_code for response in responses) == [200] + [401] * 9


@pytest.mark.parametrize("kind", ["", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"])
async def test_assertion_of_another_type_is_rejected(
    client: AsyncClient, admin: Account, kind: str
) -> None:
    account = await create(admin, jwks=key_set(KEYS["ES256"]))

    response = await send_assertion(client, sign(account), client_assertion_type=kind)

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        {"keys": []},
        {"keys": "keys"},
        {"keys": [None]},
        {"keys": [{"kty": "oct", "k": "a" * 43}]},
        {"keys": [{**jwk(OTHER_KEY.public_key()), "alg": "none"}]},
        {"keys": [{**jwk(KEYS["RS256"].public_key()), "alg": "HS256"}]},
        {"keys": [jwk(OTHER_KEY)]},
        {"keys": [jwk(KEYS["EdDSA"])]},
        {"keys": [jwk(KEYS["RS256"])]},
        {"keys": [{**jwk(KEYS["RS256"].public_key()), "p": jwk(KEYS["RS256"])["p"]}]},
        {"keys": [jwk(rsa.generate_private_key(65537, 1024).public_key())]},  # noqa: S505
        key_set(*[OTHER_KEY] * 11),
    ],
    ids=[
        "no-member",
        "empty",
        "text",
        "null",
        "symmetric",
        "alg-none",
        "alg-of-another-kind",
        "private-ec",
        "private-ed25519",
        "private-rsa",
        "factor-of-rsa",
        "short-rsa",
        "many",
    ],
)
async def test_unusable_keys_are_rejected(admin: Account, jwks: dict[str, Any]) -> None:
    body = {"name": "Report", "scopes": ["account:read"], "jwks": jwks}

    response = await admin.client.post(ACCOUNTS, json=body)

    assert (response.status_code, pointers(response)) == (422, ["/body/jwks"])
    assert "public keys" in response.json()["errors"][0]["detail"]


async def test_token_has_the_requested_scopes(
    app: FastAPI, client: AsyncClient, admin: Account
) -> None:
    account = await create(admin, scopes=["account:read", "users:admin"])

    response = await request_token(client, account, scope="users:admin")
    program = new_client(app, response.json()["access_token"])

    assert response.json()["scope"] == "users:admin"
    assert (await program.get("/api/v1/users")).status_code == 200
    assert (await program.get(ME)).status_code == 403


@pytest.mark.parametrize("scope", ["users:admin", "unknown", "account:read account:write"])
async def test_scope_that_the_account_does_not_have_is_rejected(
    client: AsyncClient, admin: Account, scope: str
) -> None:
    response = await request_token(client, await create(admin), scope=scope)

    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("scopes", "pointer"),
    [
        (["account:write"], "/body/scopes"),
        (["account:read", "unknown"], "/body/scopes"),
        ([""], "/body/scopes/0"),
        (["account:read users:admin"], "/body/scopes/0"),
    ],
)
async def test_scopes_that_no_program_can_have_are_rejected(
    admin: Account, scopes: list[str], pointer: str
) -> None:
    body = {"name": "Report", "scopes": scopes}

    response = await admin.client.post(ACCOUNTS, json=body)

    assert (response.status_code, pointers(response)) == (422, [pointer])


async def test_removing_a_scope_revokes_the_tokens(app: FastAPI, admin: Account) -> None:
    account = await create(admin, scopes=["account:read", "users:admin"])
    program, url = await log_in_program(app, account), f"{ACCOUNTS}/{account['id']}"

    await admin.client.patch(url, json={"scopes": ["account:read", "users:admin", "audit:read"]})
    added = await program.get("/api/v1/users")
    await admin.client.patch(url, json={"scopes": ["account:read"]})
    removed = await program.get("/api/v1/users")
    again = await request_token(new_client(app), account)

    assert (added.status_code, removed.status_code) == (200, 401)
    assert again.json()["scope"] == "account:read"


async def test_deactivated_account_can_do_nothing(app: FastAPI, admin: Account) -> None:
    account = await create(admin)
    program, url = await log_in_program(app, account), f"{ACCOUNTS}/{account['id']}"

    response = await admin.client.patch(url, json={"is_active": False})
    rejected = await request_token(new_client(app), account)
    before = await program.get(ME)
    await admin.client.patch(url, json={"is_active": True})
    after = await program.get(ME)

    assert response.json()["is_active"] is False
    assert (rejected.status_code, rejected.json()["error"]) == (400, "unauthorized_client")
    assert (before.status_code, after.status_code) == (401, 401)
    assert (await request_token(new_client(app), account)).status_code == 200


async def test_deleted_account_can_do_nothing(app: FastAPI, admin: Account) -> None:
    account = await create(admin)
    program, url = await log_in_program(app, account), f"{ACCOUNTS}/{account['id']}"

    response = await admin.client.delete(url)

    assert response.status_code == 204
    assert (await program.get(ME)).status_code == 401
    assert_invalid_client(await request_token(new_client(app), account))
    assert (await admin.client.get(url)).status_code == 404
    assert (await admin.client.delete(url)).status_code == 404


async def test_new_secret_replaces_the_credentials_and_revokes_the_tokens(
    app: FastAPI, client: AsyncClient, admin: Account
) -> None:
    account = await create(admin)
    program, url = await log_in_program(app, account), f"{ACCOUNTS}/{account['id']}"

    rotated = (await admin.client.post(f"{url}/secret")).json()

    assert (await program.get(ME)).status_code == 401
    assert_invalid_client(await request_token(client, account))
    assert (await request_token(client, account | rotated)).status_code == 200

    await admin.client.patch(url, json={"jwks": key_set(KEYS["ES256"])})
    assert_invalid_client(await request_token(client, account | rotated))
    assert (await send_assertion(client, sign(account))).status_code == 200

    again = (await admin.client.post(f"{url}/secret")).json()
    assert_invalid_client(await send_assertion(client, sign(account)))
    assert (await request_token(client, account | again)).status_code == 200


async def test_secret_that_is_replaced_during_the_request_is_rejected(
    client: AsyncClient, admin: Account, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, write_session = await create(admin), database.write_session

    @asynccontextmanager
    async def replace_before() -> AsyncIterator[AsyncSession]:
        async with write_session() as session:
            await session.execute(update(ServiceAccount).values(secret_hash="0" * 64))
        async with write_session() as session:
            yield session

    monkeypatch.setattr(database, "write_session", replace_before)

    assert_invalid_client(await request_token(client, account))


async def test_name_is_unique(admin: Account) -> None:
    first, second = await create(admin), await create(admin)
    body = {"name": first["name"], "scopes": ["account:read"]}

    created = await admin.client.post(ACCOUNTS, json=body)
    renamed = await admin.client.patch(f"{ACCOUNTS}/{second['id']}", json={"name": first["name"]})

    assert (created.status_code, renamed.status_code) == (409, 409)


async def test_token_of_a_program_can_be_revoked(app: FastAPI, admin: Account) -> None:
    account = await create(admin)
    token = (await request_token(new_client(app), account)).json()["access_token"]

    response = await new_client(app).post("/api/v1/auth/revoke", data={"token": token})

    assert response.status_code == 200
    assert (await new_client(app, token).get(ME)).status_code == 401


async def test_program_cannot_make_changes_that_need_a_recent_login(
    app: FastAPI, admin: Account, member: Account
) -> None:
    account = await create(admin, scopes=["users:admin"])
    program = await log_in_program(app, account)

    responses = [
        await program.patch(f"/api/v1/users/{member.id}", json={"role": "admin"}),
        await program.post(ACCOUNTS, json={"name": "Report", "scopes": ["users:admin"]}),
        await program.post(f"{ACCOUNTS}/{account['id']}/secret"),
        await program.delete(f"{ACCOUNTS}/{account['id']}"),
    ]

    assert [response.status_code for response in responses] == [403] * 4
    assert (await program.get(ACCOUNTS)).status_code == 200


async def test_service_account_is_no_account_of_a_person(
    client: AsyncClient, admin: Account, session: AsyncSession
) -> None:
    account = await create(admin)
    url = f"/api/v1/users/{account['id']}"
    email = await session.scalar(select(User.email).where(User.role == Role.SERVICE))
    assert email is not None

    listed = (await admin.client.get("/api/v1/users")).json()["items"]
    reset = await client.post("/api/v1/auth/password-reset", json={"email": email})

    assert [user["id"] for user in listed] == [str(admin.id)]
    assert (await admin.client.get(url)).status_code == 404
    assert (await admin.client.patch(url, json={"role": "admin"})).status_code == 404
    assert (await admin.client.delete(f"{url}/factors")).status_code == 404
    assert (await log_in(client, email, "")).json()["error"] == "invalid_request"
    assert (await log_in(client, email)).json()["error"] == "invalid_grant"
    assert (reset.status_code, pointers(reset)) == (422, ["/body/email"])


async def test_role_of_service_accounts_cannot_be_given(admin: Account, member: Account) -> None:
    invitation = {"email": "new@example.com", "role": "service"}

    responses = [
        await admin.client.patch(f"/api/v1/users/{member.id}", json={"role": "service"}),
        await admin.client.post("/api/v1/users/invitations", json=invitation),
        await admin.client.get("/api/v1/users", params={"role": "service"}),
    ]

    assert [response.status_code for response in responses] == [422] * 3


async def test_failed_authentication_is_limited_per_address(
    new_app: NewApp, admin: Account
) -> None:
    app = new_app(login_attempts_per_address=3)
    account = await create(admin)
    wrong = account | {"client_secret": "wrong"}
    client, other = new_client(app), new_client(app, address="192.0.2.1")

    for _ in range(2):
        assert [(await request_token(client, wrong)).status_code for _ in range(2)] == [401] * 2
        assert (await request_token(client, account)).status_code == 200
    for _ in range(3):
        assert_invalid_client(await request_token(client, wrong))

    assert_throttled(await request_token(client, account))
    assert (await request_token(other, account)).status_code == 200
