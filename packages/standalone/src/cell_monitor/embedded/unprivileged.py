"""The account that PostgreSQL runs as when we are root, and the folders which that account can reach.

PostgreSQL refuses to run as root. As root the server therefore runs as ``nobody``. Where that account cannot reach
the data directory or the installed programs (below a home folder of mode 0700, for example), they are kept in
``/var/lib/cell-monitor`` instead.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from cell_monitor.embedded.process import EmbeddedServerError

__all__ = [
    "FALLBACK_HOME",
    "Account",
    "blocking_folder",
    "make_owned_directory",
    "make_traversable",
    "reachable",
    "unprivileged_account",
]

FALLBACK_HOME = Path("/var/lib/cell-monitor")


@dataclass(frozen=True, slots=True)
class Account:
    """A numeric user and group."""

    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Return the account that servers run as if we are root, else None: they run as ourselves.

    Raises:
        EmbeddedServerError: we are root and the machine has no user ``nobody``.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedServerError(
            "PostgreSQL does not run as root and this machine has no user `nobody` to run it as. Run as an ordinary user."
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def blocking_folder(path: Path, account: Account | None) -> Path | None:
    """Return the folder above ``path`` that the account may not pass through, None if it reaches the path."""
    if account is None:
        return None
    for folder in reversed(path.resolve().parents):
        try:
            status = folder.stat()
        except FileNotFoundError:
            continue  # will be made, traversable
        if status.st_uid == account.uid:
            allowed = status.st_mode & stat.S_IXUSR
        elif status.st_gid == account.gid:
            allowed = status.st_mode & stat.S_IXGRP
        else:
            allowed = status.st_mode & stat.S_IXOTH
        if not allowed:
            return folder
    return None


def reachable(path: Path, account: Account | None) -> bool:
    """Return whether the account may pass through every folder above ``path``."""
    return blocking_folder(path, account) is None


def make_owned_directory(path: Path, account: Account | None) -> None:
    """Make a folder of mode 0700 that belongs to the account; folders made above it are traversable."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    if account is not None:
        for folder in missing:
            folder.chmod(0o711)
        os.chown(path, account.uid, account.gid)
    path.chmod(0o700)


def make_traversable(folder: Path, account: Account | None) -> None:
    """Make a folder, and those missing above it, that the account may pass through."""
    if account is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    for part in [*reversed(folder.parents), folder]:
        if not part.exists():
            part.mkdir()
            part.chmod(0o711)
    if not folder.stat().st_mode & 0o001:
        folder.chmod(0o711)
