"""Who may follow a channel."""

from __future__ import annotations

from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.tokens import Claims
from cell_monitor_core.channels import parse_channel

__all__ = ["may_watch"]


def may_watch(claims: Claims, channel: str) -> bool:
    """Return whether a caller may follow a channel: staff of the course, a service that reads, or a caller that tests.

    Of an API key's token the scopes decide as well; see docs/adr/0009.

    Raises:
        ValueError: not the name of a channel.
    """
    kind, ident = parse_channel(channel)
    match kind:
        case "course":
            return claims.may(ident, Permission.READ_COURSE)
        case "test":
            return claims.administers or claims.allows(Permission.USE_TEST_MODE)
        case _:
            return False
