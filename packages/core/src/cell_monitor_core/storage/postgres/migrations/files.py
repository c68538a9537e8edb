"""The numbered SQL files of this package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

__all__ = ["Migration", "MigrationError", "load_migrations", "parse_migrations"]

_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")


class MigrationError(RuntimeError):
    """A migration cannot be applied; the message names it and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``0001_initial.sql`` has version 1 and name ``initial``; ``checksum`` is SHA-256 in hex."""

    version: int
    name: str
    sql: str
    checksum: str


def parse_migrations(files: Iterable[tuple[str, str]]) -> list[Migration]:
    """Order (file name, text) pairs by version.

    Raises:
        MigrationError: a name is not of the form ``0001_name.sql``, or the numbers are not 1, 2, 3, …
    """
    found = []
    for file_name, sql in sorted(files):
        match = _NAME.match(file_name)
        if match is None:
            raise MigrationError(f"migration {file_name!r} is not named like 0001_name.sql")
        # Line ends differ between checkouts; the meaning does not.
        checksum = hashlib.sha256(sql.replace("\r\n", "\n").encode()).hexdigest()
        found.append(Migration(int(match[1]), match[2], sql, checksum))
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations must be numbered 1, 2, 3, … without gaps, found {versions}")
    return found


def load_migrations() -> list[Migration]:
    """Read the package's own migrations, oldest first."""
    folder = resources.files(__package__)
    return parse_migrations(
        (entry.name, entry.read_text(encoding="utf-8")) for entry in folder.iterdir() if entry.name.endswith(".sql")
    )
