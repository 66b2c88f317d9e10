"""The format of personal access tokens, by which secret scanners and logs recognize them."""

import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "{{ cookiecutter.project_slug | replace('-', '_') }}_pat_"
# 256 random bits, and a checksum that distinguishes tokens from similar text.
TOKEN: Final = re.compile(PREFIX + "[0-9a-f]{64}[0-9a-f]{8}")


def new_token() -> str:
    """Return a random token."""
    text = PREFIX + secrets.token_hex(32)
    return text + _checksum(text)


def is_token(text: str) -> bool:
    """Return whether the text has the format of a token, and the right checksum."""
    return TOKEN.fullmatch(text) is not None and text[-8:] == _checksum(text[:-8])


def redact_tokens(text: str) -> str:
    """Replace all tokens in a text."""
    return TOKEN.sub(f"{PREFIX}REDACTED", text)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
