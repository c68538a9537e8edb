"""Over what somebody who makes a change decides."""

from __future__ import annotations

from enum import Enum

__all__ = ["Authority"]


class Authority(Enum):
    """Over what somebody who makes a change decides."""

    SITE = "site"
    """Everything: an admin of the site, an operator at a command."""
    COURSE = "course"
    """One course, without the roles of its staff: its instructors, and API keys."""
