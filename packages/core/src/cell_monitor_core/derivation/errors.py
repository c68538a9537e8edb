"""What two errors have in common: a keyed hash of an error without what differs from one occurrence to the next.

A fact keeps this hash instead of the error's message, so that equal errors can be counted after the messages, which hold
what a student typed, have been deleted. The key keeps a message from being guessed and compared.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from functools import lru_cache
from typing import Final

__all__ = ["ErrorSigner", "normalise_error"]

_SIGNATURE_BYTES: Final = 16
_REMEMBERED: Final = 2048
"""Errors whose signatures are remembered: a class makes the same ones again and again."""

_QUOTED: Final = re.compile(
    r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|`[^`\n]*`|\u201c[^\u201d\n]*\u201d|\u2018[^\u2019\n]*\u2019|「[^」\n]*」"
)
_ADDRESS: Final = re.compile(r"\b0[xX][0-9a-fA-F]+\b")
_NUMBER: Final = re.compile(r"\d+(?:[.,_]\d+)*(?:[eE][+-]?\d+)?")


def normalise_error(name: str, value: str) -> str:
    """Return an error's class and message without names, values and numbers.

    In this order: the message is brought to Unicode form NFC; text in quotation marks becomes ``''``; a hexadecimal
    address or number, and any other number, becomes ``0``; runs of white space become one space. The class is kept as it
    is and precedes the message, separated by a line feed.
    """
    text = value if value.isascii() else unicodedata.normalize("NFC", value)
    text = _QUOTED.sub("''", text)
    text = _ADDRESS.sub("0", text)
    text = _NUMBER.sub("0", text)
    return f"{name}\n{' '.join(text.split())}"


class ErrorSigner:
    """Makes signatures of errors.

    Args:
        key: 32 random bytes; with another key all signatures differ.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._sign)

    def sign(self, name: str, value: str) -> str:
        """Return the first 128 bits of HMAC-SHA256 (RFC 2104) of the normalised error, as 32 hexadecimal digits."""
        return self._remembered(name, value)

    def _sign(self, name: str, value: str) -> str:
        digest = hmac.digest(self._key, normalise_error(name, value).encode(), hashlib.sha256)
        return digest[:_SIGNATURE_BYTES].hex()
