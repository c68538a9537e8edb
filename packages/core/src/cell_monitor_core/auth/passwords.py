"""Hashes of passwords of local accounts: argon2id with OWASP's parameters (19 MiB, two passes, parallelism 1).

Which passwords people may choose is in ``password_policy``.
"""

from __future__ import annotations

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

__all__ = ["MAX_PASSWORD_LENGTH", "PasswordHasher", "hash_password", "verify_password"]

MAX_PASSWORD_LENGTH: Final = 256
"""Bound before anything is computed; of passwords chosen in earlier releases, too."""

_argon2 = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=argon2.Type.ID)
# Verified if there is no account, so that the response time does not reveal which names exist.
_NOBODY: Final = "$argon2id$v=19$m=19456,t=2,p=1$Id1BfCIOOu6IDj+ksTxVOA$VzqEvRAaC9qQyYS57fKkSIXeK7QMVeUen+mHAiMMR8M"


def _normalized(password: str) -> str:
    # Keyboards compose letters differently; NFC normalises them (RFC 8265).
    return unicodedata.normalize("NFC", password)


def hash_password(password: str) -> str:
    """Return a password's hash in PHC format. Takes tens of milliseconds: in a service use ``PasswordHasher``.

    Raises:
        ValueError: the password is empty or too long.
    """
    if not 1 <= len(password) <= MAX_PASSWORD_LENGTH:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD_LENGTH} characters")
    return _argon2.hash(_normalized(password))


def verify_password(password_hash: str | None, password: str) -> bool:
    """Return whether a password matches a hash. Without a hash it returns False after the same time."""
    if len(password) > MAX_PASSWORD_LENGTH:
        return False
    try:
        return _argon2.verify(password_hash or _NOBODY, _normalized(password)) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


class PasswordHasher:
    """Hashes and verifies in a few threads: each job needs 19 MiB and a core."""

    def __init__(self, *, concurrency: int = 2) -> None:
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="passwords")

    async def hash(self, password: str) -> str:
        """Return a password's hash; raises as ``hash_password``."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, hash_password, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether a password matches a hash; see ``verify_password``."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, verify_password, password_hash, password)

    @staticmethod
    def needs_rehash(password_hash: str) -> bool:
        """Return whether a hash was made with other parameters than the current ones."""
        return _argon2.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Stop the threads; waiting jobs are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
