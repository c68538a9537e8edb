"""A folder of generated secrets, one per file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

__all__ = ["SecretFolder", "write_whole"]


class SecretFolder:
    """Generates each secret at its first use and returns the same one afterwards.

    Args:
        path: an existing folder.
        mode: permissions of the files.
    """

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self.path = path
        self._mode = mode

    def has(self, name: str) -> bool:
        """Return whether a secret exists."""
        return (self.path / name).is_file()

    def get(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
        """Return the secret in a file; create it with ``make`` if it does not exist."""
        if not self.has(name):
            self.put(name, make())
        return (self.path / name).read_text(encoding="utf-8").strip()

    def put(self, name: str, value: str) -> Path:
        """Store a secret atomically; return the path of its file."""
        return write_whole(self.path / name, value, mode=self._mode)


def write_whole(path: Path, value: str, *, mode: int = 0o600) -> Path:
    """Write a file atomically and with its final permissions; return its path."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return path
