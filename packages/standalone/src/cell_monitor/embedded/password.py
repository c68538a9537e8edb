"""The password that an embedded server is given where nobody chose one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["kept_password"]


def kept_password(directory: Path) -> str:
    """Return the password in ``<directory>/password`` (mode 0600); generate it the first time."""
    path = directory / "password"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text()
