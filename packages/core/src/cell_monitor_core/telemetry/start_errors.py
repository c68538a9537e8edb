"""What keeps a process from starting, said as its log says everything: one JSON object a line, on standard error."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Final

import msgspec

__all__ = ["BAD_SETTINGS", "report_settings"]

BAD_SETTINGS: Final = 2
"""Exit status of a process that its settings do not allow to start: to start again does not help."""


def report_settings(error: Exception | str, service: str) -> int:
    """Write a line for each mistake in the settings; return the exit status.

    Logging is not configured yet: its format is a setting, too.

    Args:
        error: a ``SettingsError``, whose message has one line for each mistake and no part of a secret.
        service: written into each line.
    """
    for reason in str(error).splitlines():
        line = {
            "reason": reason,
            "event": "settings_invalid",
            "level": "critical",
            "at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "service": service,
        }
        sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
    sys.stderr.flush()
    return BAD_SETTINGS
