"""Scopes of API keys and audiences of tokens."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["Audience", "Scope", "ScopeError", "parse_scopes"]


class Audience(StrEnum):
    """The service that a token is for."""

    API = "api"
    GATEWAY = "gateway"
    INGEST = "ingest"


class Scope(StrEnum):
    """What an API key may do."""

    EVENTS_WRITE = "events:write"
    """Send events."""
    TEST_WRITE = "test:write"
    """Use test mode: send test events and watch their channels."""
    PEOPLE_ACT_AS = "people:act_as"
    """Get a token of another person, for sending events only: a Jupyter server acts for its student."""
    ROSTER_WRITE = "roster:write"
    """Write a course's students; roles of the staff need `admin`."""
    COURSES_READ = "courses:read"
    """Read courses and what happens in them."""
    ADMIN = "admin"
    """Everything that an administrator may do."""


class ScopeError(ValueError):
    """A scope that there is not."""


def parse_scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    """Return the scopes of these names, each once, sorted.

    Raises:
        ScopeError: one of them does not exist; the message lists those that do.
    """
    found = set()
    for name in names:
        try:
            found.add(Scope(name))
        except ValueError:
            raise ScopeError(f"there is no scope {name[:40]!r}; there are {', '.join(Scope)}") from None
    return tuple(sorted(found))
