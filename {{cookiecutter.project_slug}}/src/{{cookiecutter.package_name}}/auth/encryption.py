"""Encryption of secrets that the service must read again, such as those of authenticator apps."""

import hmac
from base64 import urlsafe_b64encode
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ..settings import Settings


class SecretBox:
    """Encrypt secrets of users for the database, with a key derived from SECRET_KEY.

    Values that were encrypted with a key in SECRET_KEY_FALLBACKS can still be decrypted.
    """

    def __init__(self, settings: Settings) -> None:
        secrets = [settings.secret_key.get_secret_value()]
        if settings.secret_key_fallbacks is not None:
            fallbacks = settings.secret_key_fallbacks.get_secret_value().split(",")
            secrets += [stripped for secret in fallbacks if (stripped := secret.strip())]
        fernets = [Fernet(_derive_key(secret)) for secret in secrets]
        self._current, self._all = fernets[0], MultiFernet(fernets)

    def encrypt(self, user_id: UUID, secret: str) -> str:
        """Encrypt a secret together with its user, so that it is of no use in another's row."""
        return self._all.encrypt(f"{user_id}:{secret}".encode()).decode()

    def decrypt(self, user_id: UUID, value: str) -> str:
        """Return the secret.

        Raises:
            ValueError: no key can decrypt the value, or it belongs to another user.
        """
        try:
            owner, _, secret = self._all.decrypt(value).decode().partition(":")
        except InvalidToken:
            raise ValueError("the value cannot be decrypted") from None
        if owner != str(user_id):
            raise ValueError("the value belongs to another user")
        return secret

    def rotate(self, value: str) -> str:
        """Encrypt a value of `encrypt` with SECRET_KEY; keep it if it already is."""
        try:
            self._current.decrypt(value)
        except InvalidToken:
            return self._all.rotate(value).decode()
        return value


def _derive_key(secret: str) -> bytes:
    return urlsafe_b64encode(hmac.digest(secret.encode(), b"encryption", "sha256"))
