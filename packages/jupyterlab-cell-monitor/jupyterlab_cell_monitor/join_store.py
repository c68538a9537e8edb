"""What this computer keeps of the class that it joined: in a file that its user alone can read, and nowhere else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

__all__ = ["JOINED_SPOOLS", "JoinStore", "Joined", "new_secret"]

JOINED_SPOOLS: Final = "joined-"
"""Beginning of the names of the folders in which events wait that a joined computer sends."""

_MAX_BYTES: Final = 16 * 1024
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, repr=False)
class Joined:
    """A class that this computer joined, or tried to.

    Attributes:
        address: of the instructor's machine, such as `http://192.168.7.5:8900`.
        secret: that proves this computer to it; 256 random bits.
        name: as the class's staff sees it; empty of an attempt.
        title: of the course.
    """

    address: str
    secret: str
    name: str = ""
    title: str = ""

    @property
    def folder(self) -> str:
        """Name of the folder in which this student's events wait; nothing can be read from it."""
        return JOINED_SPOOLS + hashlib.sha256(b"spool\0" + self.secret.encode()).hexdigest()[:16]


def new_secret() -> str:
    """Returns 32 random bytes in base64url."""
    return secrets.token_urlsafe(32)


class JoinStore:
    """The file, of mode 0600 in a folder of mode 0700.

    Args:
        path: where it is; the folder is made with the first write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Joined | None:
        """Returns what is stored; None if nothing is, or nothing that can be used."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MAX_BYTES + 1)
            value = json.loads(text) if len(text) <= _MAX_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None
        names = ("address", "secret", "name", "title")
        if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in names):
            return None
        joined = Joined(**{name: value[name] for name in names})
        return joined if _SECRET.fullmatch(joined.secret) else None

    def clear(self) -> None:
        """Deletes what is stored."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def write(self, joined: Joined) -> None:
        """Stores it in the place of what was there.

        Raises:
            OSError: the folder cannot be written to.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        # The mode counts from the beginning: at no moment can somebody else read it.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(joined), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
