"""Use a service with unmodified OAuth clients, and print as JSON whether each of them works.

Runs in an environment with these clients: oauth_clients.py URL ACCESS_TOKEN_OF_AN_ADMINISTRATOR
"""

import json
import sys
from typing import Any

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey, RSAKey
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError
from requests_oauthlib import OAuth2Session as OAuthlibSession

URL, ADMIN_TOKEN = sys.argv[1:]
TOKEN, ME = f"{URL}/api/v1/auth/token", f"{URL}/api/v1/users/me"


def create(name: str, **keys: Any) -> dict[str, Any]:
    """Create a service account."""
    response = requests.post(
        f"{URL}/api/v1/service-accounts",
        json={"name": name, "scopes": ["account:read", "users:admin"], **keys},
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        timeout=60,
    )
    response.raise_for_status()
    account: dict[str, Any] = response.json()
    return account


def read_me(session: Any) -> str:
    """Return the id of the account whose token the session has."""
    account: dict[str, Any] = session.get(ME).json()
    return str(account["id"])


def authlib_secret() -> bool:
    """Authenticate Authlib's session with a secret, and let the session renew an expired token."""
    account = create("authlib secret")
    session = OAuth2Session(
        account["id"],
        account["client_secret"],
        scope="account:read",
        token_endpoint=TOKEN,
        grant_type="client_credentials",
    )
    session.fetch_token()
    first: str = session.token["access_token"]
    session.token["expires_at"] = 1
    ids = {read_me(session), read_me(session)}
    return ids == {account["id"]} and first != str(session.token["access_token"])


def authlib_key(key: Any, algorithm: str) -> bool:
    """Authenticate Authlib's session with a private key."""
    jwks = {"keys": [key.as_dict(private=False)]}
    account = create(f"authlib {algorithm}", jwks=jwks)
    session = OAuth2Session(account["id"], key, token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(alg=algorithm))
    session.fetch_token(TOKEN, grant_type="client_credentials")
    return read_me(session) == str(account["id"])


def oauthlib_secret() -> bool:
    """Authenticate oauthlib's client with a secret."""
    account = create("oauthlib secret")
    session = OAuthlibSession(client=BackendApplicationClient(client_id=account["id"]))
    session.fetch_token(TOKEN, client_secret=account["client_secret"])
    return read_me(session) == str(account["id"])


def oauthlib_rejection() -> bool:
    """Let oauthlib's client recognize the error of a wrong secret."""
    account = create("oauthlib rejection")
    session = OAuthlibSession(client=BackendApplicationClient(client_id=account["id"]))
    try:
        session.fetch_token(TOKEN, client_secret="wrong")
    except InvalidClientError as error:
        return bool(error.description)
    return False


print(  # noqa: T201 - the caller reads it
    json.dumps(
        {
            "authlib secret": authlib_secret(),
            "authlib ES256": authlib_key(ECKey.generate_key("P-256"), "ES256"),
            "authlib RS256": authlib_key(RSAKey.generate_key(2048), "RS256"),
            "oauthlib secret": oauthlib_secret(),
            "oauthlib rejection": oauthlib_rejection(),
        }
    )
)
