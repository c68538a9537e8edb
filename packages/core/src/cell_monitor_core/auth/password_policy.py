"""Which passwords people may choose (OWASP ASVS 4.0.3, 2.1; NIST SP 800-63B, 5.1.1.2).

Long enough, bounded above before anything is computed, not a common one; which kinds of characters it has does not matter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from cell_monitor_core.auth.common_passwords import is_common

__all__ = ["MAX_NEW_PASSWORD_CHARS", "MIN_NEW_PASSWORD_CHARS", "PasswordFault", "fault_of"]

MIN_NEW_PASSWORD_CHARS: Final = 12
MAX_NEW_PASSWORD_CHARS: Final = 128


class PasswordFault(StrEnum):
    """Why a password cannot be chosen."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    COMMON = "common"


def fault_of(password: str, names: Iterable[str] = ()) -> PasswordFault | None:
    """Return why somebody cannot choose a password, None if they can.

    Args:
        password: as typed; characters are counted as they are stored, composed.
        names: of the person, which make no good password.
    """
    if len(password) > 4 * MAX_NEW_PASSWORD_CHARS:
        return PasswordFault.TOO_LONG
    composed = unicodedata.normalize("NFC", password)
    if len(composed) > MAX_NEW_PASSWORD_CHARS:
        return PasswordFault.TOO_LONG
    if len(composed) < MIN_NEW_PASSWORD_CHARS:
        return PasswordFault.TOO_SHORT
    return PasswordFault.COMMON if is_common(composed, names) else None
