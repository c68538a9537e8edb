"""Settings of commands that need only some of a service's: each is read, and checked, when the command starts."""

from __future__ import annotations

import os
from typing import Final

from cell_monitor_core.settings import ENV_PREFIX, SettingsError, missing_secret, read_secret_file
from cell_monitor_core.store_urls import parse_postgres_url

__all__ = ["DATABASE_URL", "database_url", "needed", "secret"]

DATABASE_URL: Final = f"{ENV_PREFIX}DATABASE_URL"


def secret(variable: str) -> str | None:
    """Return the value of a variable, or of the file that ``<variable>_FILE`` names; None where neither is set.

    Raises:
        SettingsError: see ``read_secret_file``.
    """
    path = os.environ.get(f"{variable}_FILE")
    return read_secret_file(variable, path) if path else os.environ.get(variable) or None


def needed(variable: str) -> str:
    """Return the value of a variable; see ``secret``.

    Raises:
        SettingsError: it is not set, or its file cannot be read.
    """
    value = secret(variable)
    if value is None:
        raise SettingsError(missing_secret(variable))
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
