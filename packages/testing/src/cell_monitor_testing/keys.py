"""Sample keys for tests; do not use them elsewhere."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

__all__ = ["NEWEST_GENERATION", "SampleSecrets"]

NEWEST_GENERATION: Final = 2**31 - 1
"""Generation of tokens that a test signs itself: they hold whatever the test changes of their person's rights."""


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class SampleSecrets:
    """Keys in the form of the settings.

    Attributes:
        encryption_keys: JSON for ``CELL_MONITOR_ENCRYPTION_KEYS``.
        index_key: base64 for ``CELL_MONITOR_INDEX_KEY``.
        signing_keys: private JWK set for ``CELL_MONITOR_SIGNING_KEYS``.
    """

    encryption_keys: str
    index_key: str
    signing_keys: str

    @classmethod
    def generate(cls) -> SampleSecrets:
        """Generate keys."""
        private = Ed25519PrivateKey.generate()
        jwk = {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": "test-1",
            "x": _b64url(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
            "d": _b64url(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())),
        }
        encryption = {"active": "k1", "keys": {"k1": base64.b64encode(os.urandom(32)).decode()}}
        return cls(
            json.dumps(encryption),
            base64.b64encode(os.urandom(32)).decode(),
            json.dumps({"active": "test-1", "keys": [jwk]}),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The keys as environment variables of a service."""
        return {
            "CELL_MONITOR_ENCRYPTION_KEYS": self.encryption_keys,
            "CELL_MONITOR_INDEX_KEY": self.index_key,
            "CELL_MONITOR_SIGNING_KEYS": self.signing_keys,
        }
