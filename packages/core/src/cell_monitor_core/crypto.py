"""Encryption of personal data in columns, and keyed hashes to find a row again without reading it.

A ciphertext is a version byte, the length of the key's id, the key's id, a nonce of 12 bytes and AES-256-GCM's output
(NIST SP 800-38D). Version 2 authenticates the header, the column's name and the row's key with it, so that a value that
was moved to another column or another row cannot be read there. Version 1, written before schema 0006, authenticates the
column only: it is still read, and ``storage.postgres.rotation`` rewrites it.
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

from cell_monitor_core.settings import ENV_PREFIX, CoreSettings, SettingsError, missing_secret

__all__ = ["BlindIndex", "DecryptionError", "KeyRing", "check_keys", "generate_key"]

_COLUMN_BOUND: Final = b"\x01"
_ROW_BOUND: Final = b"\x02"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_RING: Final = f"{ENV_PREFIX}ENCRYPTION_KEYS"
_MAX_SHOWN: Final = 32
_KEY_ID: Final = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")


class DecryptionError(Exception):
    """A ciphertext cannot be read: unknown key, another column's or row's value, or damaged bytes."""


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


def _called(key_id: str) -> str:
    """Return what a message calls a key; a key that was written where its id belongs is not repeated."""
    return f"key {key_id!r}" if len(key_id) <= _MAX_SHOWN and _KEY_ID.match(key_id) else "key"


class KeyRing:
    """Encrypts with the active key and decrypts with whichever key a value names."""

    def __init__(self, keys: Mapping[str, bytes], active: str) -> None:
        if active not in keys:
            raise SettingsError(f"{_RING}: the active {_called(active)} is not among the keys")
        for key_id, key in keys.items():
            if not _KEY_ID.match(key_id):
                raise SettingsError(f"{_RING}: a key's id must be 1 to 64 letters, digits, '_', '.' or '-'")
            if len(key) != _KEY_BYTES:
                raise SettingsError(f"{_RING}: {_called(key_id)} has {len(key)} bytes, it needs {_KEY_BYTES}")
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
            raise SettingsError(f'{_RING}: must be JSON: {{"active": "k1", "keys": {{"k1": "<base64>"}}}}') from None
        keys = {key_id: _decode_key(key, f"{_RING}: {_called(key_id)}") for key_id, key in document.keys.items()}
        return cls(keys, document.active)

    @classmethod
    def from_settings(cls, settings: CoreSettings) -> Self:
        """Read the ring from ``CELL_MONITOR_ENCRYPTION_KEYS``.

        Raises:
            SettingsError: it is missing or malformed.
        """
        if settings.encryption_keys is None:
            raise SettingsError(missing_secret(_RING))
        return cls.from_json(settings.encryption_keys.get_secret_value())

    @staticmethod
    def _header_of(key_id: bytes) -> bytes:
        return _ROW_BOUND + bytes((len(key_id),)) + key_id

    def encrypt(self, plaintext: bytes, *, context: str, row: bytes) -> bytes:
        """Encrypt for one column of one row.

        Args:
            plaintext: the value.
            context: the column's name, such as ``people.username``.
            row: the row's key, encoded so that no two rows of the table have the same bytes.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self.active.encode()]
        return self._header + nonce + cipher.encrypt(nonce, plaintext, self._header + _place(context, row))

    def decrypt(self, blob: bytes, *, context: str, row: bytes) -> bytes:
        """Decrypt the value of one column of one row; arguments as for ``encrypt``.

        Raises:
            DecryptionError: unknown key, another context or row, or damaged.
        """
        version = blob[:1]
        if len(blob) < 2 or version not in {_COLUMN_BOUND, _ROW_BOUND}:
            raise DecryptionError(f"{context}: not a ciphertext of version 1 or 2")
        end = 2 + blob[1]
        key_id = blob[2:end]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            name = key_id.decode(errors="replace")
            raise DecryptionError(f"{context}: encrypted with the key {name!r}, which the key ring does not have")
        nonce = blob[end : end + _NONCE_BYTES]
        try:
            place = _place(context, row) if version == _ROW_BOUND else context.encode()
            return cipher.decrypt(nonce, blob[end + _NONCE_BYTES :], blob[:end] + place)
        except (InvalidTag, ValueError):
            raise DecryptionError(f"{context}: the value is damaged or belongs to another column or row") from None

    def encrypt_text(self, text: str, *, context: str, row: bytes) -> bytes:
        """Encrypt UTF-8 text; see ``encrypt``."""
        return self.encrypt(text.encode(), context=context, row=row)

    def decrypt_text(self, blob: bytes, *, context: str, row: bytes) -> str:
        """Decrypt UTF-8 text; see ``decrypt``."""
        return self.decrypt(blob, context=context, row=row).decode()

    @property
    def active_header(self) -> bytes:
        """First bytes of every version 2 value under the active key; rotation rewrites the values that lack them."""
        return self._header


def _place(context: str, row: bytes) -> bytes:
    """Return a column's name and a row's key as one text that no other pair gives."""
    name = context.encode()
    return len(name).to_bytes(2, "big") + name + row


class BlindIndex:
    """Keyed hashes of personal values: equal values meet, nobody without the key can guess them."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise SettingsError(f"{ENV_PREFIX}INDEX_KEY: the key has {len(key)} bytes, it needs {_KEY_BYTES}")
        self._key = key

    @classmethod
    def from_settings(cls, settings: CoreSettings) -> Self:
        """Read the key from ``CELL_MONITOR_INDEX_KEY``.

        Raises:
            SettingsError: it is missing or malformed.
        """
        if settings.index_key is None:
            raise SettingsError(missing_secret(f"{ENV_PREFIX}INDEX_KEY"))
        return cls.from_text(settings.index_key.get_secret_value())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the key as base64 of 32 bytes.

        Raises:
            SettingsError: not of that form; the message never holds key material.
        """
        return cls(_decode_key(text, f"{ENV_PREFIX}INDEX_KEY"))

    def digest(self, kind: str, value: str) -> bytes:
        """Return HMAC-SHA256 (32 bytes) of a value whose case and Unicode compatibility forms do not matter.

        For search and for counting only: two different names may have the same digest. To distinguish people use
        ``exact``.
        """
        # Casefolding may undo NFKC (U+0345 and others), so the form is taken again: idempotent, Unicode §3.13 D146.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
        return hmac.new(self._key, kind.encode() + b"\0" + folded.encode(), hashlib.sha256).digest()

    def exact(self, kind: str, *values: str) -> bytes:
        """Return HMAC-SHA256 (32 bytes) of values, byte for byte in UTF-8: nothing is folded or trimmed.

        Each part is preceded by its length, so that different lists have different digests. None can equal a
        ``digest``, whose text does not begin with a zero byte.

        Raises:
            UnicodeEncodeError: a value has half of a surrogate pair.
        """
        parts = [part.encode() for part in (kind, *values)]
        text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.new(self._key, b"\0exact" + text, hashlib.sha256).digest()


def check_keys(settings: CoreSettings) -> None:
    """Check the keys that are set.

    Raises:
        SettingsError: one is malformed.
    """
    if settings.encryption_keys is not None:
        KeyRing.from_settings(settings)
    if settings.index_key is not None:
        BlindIndex.from_settings(settings)
