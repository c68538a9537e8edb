"""Settings of commands that need only some of a service's: each is read, and checked, when the command starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cell_monitor_core.settings import ENV_PREFIX, SettingsError
from cell_monitor_core.store_urls import parse_postgres_url

__all__ = ["DATABASE_URL", "database_url", "needed", "secret"]

DATABASE_URL: Final = f"{ENV_PREFIX}DATABASE_URL"


def secret(variable: str) -> str | None:
    """Return the value of a variable, or of the file that ``<variable>_FILE`` names; None where neither is set.

    Raises:
        SettingsError: the file cannot be read.
    """
    path = os.environ.get(f"{variable}_FILE")
    if not path:
        return os.environ.get(variable) or None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{variable}_FILE: cannot read {path}: {reason}") from None


def needed(variable: str) -> str:
    """Return the value of a variable; see ``secret``.

    Raises:
        SettingsError: it is not set, or its file cannot be read.
    """
    value = secret(variable)
    if value is None:
        raise SettingsError(f"{variable} or {variable}_FILE is needed")
    return value


def database_url(given: str | None = None) -> str:
    """Return the address of PostgreSQL: the one on the command line, else that of the environment.

    Raises:
        SettingsError: there is none, or it has a mistake; the message contains no part of it.
    """
    url = given or needed(DATABASE_URL)
    try:
        parse_postgres_url(url)
    except ValueError as error:
        raise SettingsError(f"{'the address' if given else DATABASE_URL}: {error}") from None
    return url
