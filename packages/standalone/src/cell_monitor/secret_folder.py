"""A folder of generated secrets, one a file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

__all__ = ["SecretFolder", "write_whole"]


class SecretFolder:
    """Makes each secret once and hands it out ever after.

    Args:
        path: an existing folder.
        mode: permissions of the files.
    """

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self.path = path
        self._mode = mode

    def has(self, name: str) -> bool:
        """Tell whether a secret was made."""
        return (self.path / name).is_file()

    def get(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
        """Return a secret by its file name; made on first use."""
        if not self.has(name):
            self.put(name, make())
        return (self.path / name).read_text(encoding="utf-8").strip()

    def put(self, name: str, value: str) -> Path:
        """Store a secret, whole or not at all; return its file."""
        return write_whole(self.path / name, value, mode=self._mode)


def write_whole(path: Path, value: str, *, mode: int = 0o600) -> Path:
    """Write a file so that it is never seen half written, nor for a moment with other permissions."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return path
