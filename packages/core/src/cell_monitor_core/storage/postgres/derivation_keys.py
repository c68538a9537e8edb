"""Keys of the keyed hashes that derivation makes, encrypted in the database.

They must outlive every rotation of the key ring, or equal errors would no longer be equal; and no service but the worker
needs them.
"""

from __future__ import annotations

import secrets
from typing import Final

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["KEY", "error_signature_key", "key_row"]

KEY: Final = "derivation_keys.key"
"""What a key's ciphertext is bound to, with ``key_row``."""

_ERROR_SIGNATURE: Final = "error_signature"
_KEY_BYTES: Final = 32


def key_row(name: str) -> bytes:
    """Return the key that a derivation key's ciphertext is bound to."""
    return name.encode()


async def error_signature_key(executor: Executor, keyring: KeyRing) -> bytes:
    """Return the key of error signatures, made by the first caller.

    Raises:
        DecryptionError: the key ring does not open it.
    """
    row = key_row(_ERROR_SIGNATURE)
    fresh = keyring.encrypt(secrets.token_bytes(_KEY_BYTES), context=KEY, row=row)
    await executor.execute(
        "INSERT INTO derivation_keys (name, key_enc) VALUES ($1, $2) ON CONFLICT DO NOTHING", _ERROR_SIGNATURE, fresh
    )
    stored = await executor.fetchval("SELECT key_enc FROM derivation_keys WHERE name = $1", _ERROR_SIGNATURE)
    return keyring.decrypt(stored, context=KEY, row=row)
