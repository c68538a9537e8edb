"""Bounds of the names that people type: the API's models and the commands check them alike.

The patterns use only what the regular expressions of Python, JSON Schema and Pydantic share.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ISSUER_PATTERN",
    "MAX_GROUP_CHARS",
    "MAX_ISSUER_CHARS",
    "MAX_KEY_NAME_CHARS",
    "MAX_NAME_CHARS",
    "MAX_USERNAME_CHARS",
    "NAME_PATTERN",
    "USERNAME_PATTERN",
]

USERNAME_PATTERN: Final = r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$"
"""A user name: no control characters, no spaces at either end."""
MAX_USERNAME_CHARS: Final = 150
NAME_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
"""Any other name: no control characters."""
MAX_NAME_CHARS: Final = 200
"""Of a person's display name, and of a course's title."""
MAX_KEY_NAME_CHARS: Final = 100
"""Of an API key's name."""
MAX_GROUP_CHARS: Final = 512
"""Of the name of an issuer's group."""
ISSUER_PATTERN: Final = r"^[\x21-\x7e]*$"
"""An issuer of identities and groups: ASCII without spaces, as it is configured."""
MAX_ISSUER_CHARS: Final = 300
"""Of an issuer."""
