"""The keys that sign access tokens: Ed25519, as a private JWK set (RFC 7517, RFC 8037) with the kid that signs now.

PEM files are read, too, as ``openssl genpkey -algorithm ed25519`` and cert-manager write them: PKCS #8 (RFC 5958), one or
more blocks, of which the first signs. PEM has no kid; the JWK thumbprint (RFC 7638) is taken.

To rotate, add a key and make it active (``with_new_key``); drop the old one once its last token has expired.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

__all__ = ["SigningKeys", "SigningKeysError", "decode_public_jwks"]

_MAX_FILE_BYTES: Final = 64 * 1024
_MAX_PEM_KEYS: Final = 16
_PEM_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----")


class SigningKeysError(ValueError):
    """A JWK set that cannot be used; the message never holds key material."""


class _Jwk(msgspec.Struct, omit_defaults=True):
    kty: str
    crv: str
    x: str
    kid: str
    alg: str | None = None
    use: str | None = None
    d: str | None = None


class _PrivateSet(msgspec.Struct):
    active: str
    keys: list[_Jwk]


class _PublicSet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SigningKeysError(f"{what} is not base64url") from None


def _public_key(jwk: _Jwk) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(_decode(jwk.x, f"key {jwk.kid!r}: x"))
    except ValueError as error:
        raise SigningKeysError(f"key {jwk.kid!r}: {error}") from None


def _thumbprint(key: Ed25519PublicKey) -> str:
    """Return the thumbprint of a key's JWK: SHA-256 of its required members, in lexical order (RFC 7638 section 3)."""
    required = {"crv": "Ed25519", "kty": "OKP", "x": _encode(key.public_bytes_raw())}
    return _encode(hashlib.sha256(msgspec.json.encode(required)).digest())


def decode_public_jwks(document: bytes) -> dict[str, Ed25519PublicKey]:
    """Read a public JWK set; keys of other kinds are passed over (RFC 7517 section 5).

    Raises:
        SigningKeysError: it is no JWK set, or one of its Ed25519 keys is damaged.
    """
    try:
        entries = msgspec.json.decode(document, type=_PublicSet).keys
        jwks = [
            msgspec.convert(entry, _Jwk)
            for entry in entries
            if entry.get("kty") == "OKP" and entry.get("crv") == "Ed25519" and entry.get("use", "sig") == "sig"
        ]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SigningKeysError(f"not a JWK set: {error}") from None
    return {jwk.kid: _public_key(jwk) for jwk in jwks}


class SigningKeys:
    """Private keys by kid, one of them active. Also a source of keys to verify with, for who signs and verifies."""

    generation: int = 0
    """A source of keys counts its changes here; these never change."""

    def __init__(self, keys: Mapping[str, Ed25519PrivateKey], active: str) -> None:
        if active not in keys:
            raise SigningKeysError(f"the active signing key {active!r} is not among the keys")
        self._keys = dict(keys)
        self.active = active
        self._public = {kid: key.public_key() for kid, key in keys.items()}

    @classmethod
    def generate(cls) -> Self:
        """Return a set with one fresh key."""
        kid = secrets.token_hex(8)
        return cls({kid: Ed25519PrivateKey.generate()}, kid)

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Read ``{"active": kid, "keys": [private JWKs]}`` or PEM, from a file's path or the text itself.

        Raises:
            SigningKeysError: it cannot be read or is malformed.
        """
        if isinstance(source, str) and source.lstrip().startswith(("{", "-----BEGIN ")):
            return cls._parse(source.encode())
        try:
            with Path(source).open("rb") as file:
                return cls._parse(file.read(_MAX_FILE_BYTES))
        except OSError as error:
            raise SigningKeysError(f"cannot read the signing keys: {error.strerror}") from error

    @classmethod
    def _parse(cls, document: bytes) -> Self:
        return cls._parse_pem(document) if b"-----BEGIN " in document else cls._parse_jwks(document)

    @classmethod
    def _parse_pem(cls, document: bytes) -> Self:
        blocks = [block for block in _PEM_BLOCK.finditer(document) if block[1] == b"PRIVATE KEY"]
        if not 0 < len(blocks) <= _MAX_PEM_KEYS:
            raise SigningKeysError(
                f"PEM must hold 1 to {_MAX_PEM_KEYS} blocks PRIVATE KEY, not encrypted: "
                "openssl genpkey -algorithm ed25519"
            )
        keys = {}
        for number, block in enumerate(blocks, start=1):
            try:
                key = load_pem_private_key(block[0], password=None)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                raise SigningKeysError(f"block {number} of the PEM is no private key") from None
            if not isinstance(key, Ed25519PrivateKey):
                raise SigningKeysError(
                    f"block {number} of the PEM is no Ed25519 key: openssl genpkey -algorithm ed25519"
                )
            keys[_thumbprint(key.public_key())] = key
        return cls(keys, next(iter(keys)))

    @classmethod
    def _parse_jwks(cls, document: bytes) -> Self:
        try:
            private_set = msgspec.json.decode(document, type=_PrivateSet)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise SigningKeysError(
                'signing keys must be JSON, {"active": kid, "keys": [private JWKs]}, or PEM'
            ) from None
        keys = {}
        for jwk in private_set.keys:
            if jwk.kty != "OKP" or jwk.crv != "Ed25519" or jwk.d is None:
                raise SigningKeysError(f"key {jwk.kid!r} is no private Ed25519 key")
            if not 0 < len(jwk.kid) <= 64 or jwk.kid in keys:
                raise SigningKeysError("each signing key needs a kid of its own, 1 to 64 characters")
            try:
                key = Ed25519PrivateKey.from_private_bytes(_decode(jwk.d, f"key {jwk.kid!r}: d"))
            except ValueError:
                raise SigningKeysError(f"key {jwk.kid!r}: d is no private key of 32 bytes") from None
            if key.public_key().public_bytes_raw() != _decode(jwk.x, f"key {jwk.kid!r}: x"):
                raise SigningKeysError(f"key {jwk.kid!r}: x and d do not belong together")
            keys[jwk.kid] = key
        return cls(keys, private_set.active)

    def with_new_key(self, *, keep: int = 1) -> Self:
        """Return a set with a fresh active key and the ``keep`` newest of the old ones, to verify with."""
        kid = secrets.token_hex(8)
        kept = [self.active, *(old for old in reversed(self._keys) if old != self.active)][:keep]
        return type(self)({**{old: self._keys[old] for old in reversed(kept)}, kid: Ed25519PrivateKey.generate()}, kid)

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The key that signs now."""
        return self._keys[self.active]

    def get(self, kid: str) -> Ed25519PublicKey | None:
        """Return the public key of a kid."""
        return self._public.get(kid)

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public JWK set, active key first."""
        kids = sorted(self._keys, key=lambda kid: kid != self.active)
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": _encode(self._public[kid].public_bytes_raw()),
                    "kid": kid,
                    "alg": "EdDSA",
                    "use": "sig",
                }
                for kid in kids
            ]
        }

    def to_json(self) -> str:
        """Return the private set as ``load`` reads it. A secret: write it to a file that only its service reads."""
        public = {jwk["kid"]: jwk for jwk in self.public_jwks()["keys"]}
        keys = [public[kid] | {"d": _encode(key.private_bytes_raw())} for kid, key in self._keys.items()]
        return msgspec.json.encode({"active": self.active, "keys": keys}).decode()
