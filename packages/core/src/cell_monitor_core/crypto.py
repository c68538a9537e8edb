"""Encryption of personal data in columns, and keyed hashes to find a row again without reading it.

A ciphertext is ``0x01``, the length of the key's id, the key's id, a nonce of 12 bytes and AES-256-GCM's output. The
header and the column's name are authenticated with it, so that a value cannot be moved to another column.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Mapping
from typing import Final, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cell_monitor_core.settings import ENV_PREFIX, CoreSettings, SettingsError

__all__ = ["BlindIndex", "DecryptionError", "KeyRing", "generate_key"]

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_KEY_ID: Final = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")


class DecryptionError(Exception):
    """A ciphertext cannot be read: unknown key, another column's value, or damaged bytes."""


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    active: str
    keys: dict[str, str]


def generate_key() -> str:
    """Return a fresh key of 32 bytes as base64, for a key ring or a blind index."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _decode_key(text: str, what: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(f"{what} is not base64") from None
    if len(key) != _KEY_BYTES:
        raise SettingsError(f"{what} has {len(key)} bytes, it needs {_KEY_BYTES}")
    return key


class KeyRing:
    """Encrypts with the active key and decrypts with whichever key a value names."""

    def __init__(self, keys: Mapping[str, bytes], active: str) -> None:
        if active not in keys:
            raise SettingsError(f"the active encryption key {active!r} is not among the keys")
        for key_id, key in keys.items():
            if not _KEY_ID.match(key_id):
                raise SettingsError("an encryption key's id must be 1 to 64 letters, digits, '_', '.' or '-'")
            if len(key) != _KEY_BYTES:
                raise SettingsError(f"encryption key {key_id!r} has {len(key)} bytes, it needs {_KEY_BYTES}")
        self.active = active
        self._ciphers = {key_id.encode(): AESGCM(key) for key_id, key in keys.items()}
        self._header = self._header_of(active.encode())

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read ``{"active": "k1", "keys": {"k1": "<base64 of 32 bytes>"}}``.

        Raises:
            SettingsError: not of that form; the message never holds key material.
        """
        try:
            document = msgspec.json.decode(text, type=_KeyFile)
        except msgspec.DecodeError:
            raise SettingsError('encryption keys must be JSON: {"active": "k1", "keys": {"k1": "<base64>"}}') from None
        keys = {key_id: _decode_key(key, f"encryption key {key_id!r}") for key_id, key in document.keys.items()}
        return cls(keys, document.active)

    @classmethod
    def from_settings(cls, settings: CoreSettings) -> Self:
        """Read the ring from ``CELL_MONITOR_ENCRYPTION_KEYS``.

        Raises:
            SettingsError: it is missing or malformed.
        """
        if settings.encryption_keys is None:
            raise SettingsError(f"{ENV_PREFIX}ENCRYPTION_KEYS or {ENV_PREFIX}ENCRYPTION_KEYS_FILE is not set")
        return cls.from_json(settings.encryption_keys.get_secret_value())

    @staticmethod
    def _header_of(key_id: bytes) -> bytes:
        return _VERSION + bytes((len(key_id),)) + key_id

    def encrypt(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt for one column; ``context`` is its name, such as ``people.username``."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self.active.encode()]
        return self._header + nonce + cipher.encrypt(nonce, plaintext, self._header + context.encode())

    def decrypt(self, blob: bytes, *, context: str) -> bytes:
        """Decrypt a column's value.

        Raises:
            DecryptionError: unknown key, another context or damaged.
        """
        if len(blob) < 2 or blob[:1] != _VERSION:
            raise DecryptionError(f"{context}: not a ciphertext of version 1")
        end = 2 + blob[1]
        key_id = blob[2:end]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            name = key_id.decode(errors="replace")
            raise DecryptionError(f"{context}: encrypted with the key {name!r}, which the key ring does not have")
        nonce = blob[end : end + _NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, blob[end + _NONCE_BYTES :], blob[:end] + context.encode())
        except (InvalidTag, ValueError):
            raise DecryptionError(f"{context}: the value is damaged or belongs to another column") from None

    def encrypt_text(self, text: str, *, context: str) -> bytes:
        """Encrypt UTF-8 text."""
        return self.encrypt(text.encode(), context=context)

    def decrypt_text(self, blob: bytes, *, context: str) -> str:
        """Decrypt UTF-8 text; raises as ``decrypt``."""
        return self.decrypt(blob, context=context).decode()

    @property
    def active_header(self) -> bytes:
        """What every value begins with that is encrypted with the active key; rotation looks for those that do not."""
        return self._header


class BlindIndex:
    """Keyed hashes of personal values: equal values meet, nobody without the key can guess them."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise SettingsError(f"the index key has {len(key)} bytes, it needs {_KEY_BYTES}")
        self._key = key

    @classmethod
    def from_settings(cls, settings: CoreSettings) -> Self:
        """Read the key from ``CELL_MONITOR_INDEX_KEY``.

        Raises:
            SettingsError: it is missing or malformed.
        """
        if settings.index_key is None:
            raise SettingsError(f"{ENV_PREFIX}INDEX_KEY or {ENV_PREFIX}INDEX_KEY_FILE is not set")
        return cls(_decode_key(settings.index_key.get_secret_value(), f"{ENV_PREFIX}INDEX_KEY"))

    def digest(self, kind: str, value: str) -> bytes:
        """Return HMAC-SHA256 (32 bytes) of a value; case and Unicode compatibility forms do not matter."""
        # Casefolding may undo NFKC (U+0345 and others), so the form is taken again: idempotent, Unicode §3.13 D146.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
        return hmac.new(self._key, kind.encode() + b"\0" + folded.encode(), hashlib.sha256).digest()
