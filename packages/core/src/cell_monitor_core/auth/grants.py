"""What a token allows at most, by the grant that it was made by. What this table does not allow is denied.

A caller needs both: the permission from the token's grant, and from their role in the course (``auth.roles``), from the
site's admin flag, or as a service. Adding a way to get tokens adds a ``Grant`` and its row in ``GRANTS``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.scopes import Audience, Scope

__all__ = ["GRANTS", "Grant", "GrantRule", "allowed_by"]


class Grant(StrEnum):
    """How the holder of a token proved who they are."""

    SESSION = "session"
    """A person signed in with a browser. Their roles decide; scopes do not limit them."""
    API_KEY = "api_key"
    """An API key was exchanged. Without scopes it allows nothing; with scopes, what both these and the roles allow."""
    HUB_SERVER = "hub_server"
    """A JupyterHub said whose server it is. It sends its user's events and does nothing else."""
    JOINED = "joined"
    """A computer that joined a course by its code showed its secret. It sends events in that course and does nothing else."""


@dataclass(frozen=True, slots=True)
class GrantRule:
    """What tokens of one grant may be for.

    Attributes:
        audiences: services that accept such tokens.
        always: permissions of every such token.
        by_scope: permissions that each scope adds.
    """

    audiences: frozenset[Audience]
    always: frozenset[Permission]
    by_scope: Mapping[Scope, frozenset[Permission]]


_KEY_SCOPES: Final = MappingProxyType(
    {
        Scope.EVENTS_WRITE: frozenset({Permission.SEND_EVENTS}),
        Scope.TEST_WRITE: frozenset({Permission.USE_TEST_MODE}),
        # Needed to ask for the token of another person; the token itself allows nothing by it.
        Scope.PEOPLE_ACT_AS: frozenset[Permission](),
        Scope.ROSTER_WRITE: frozenset({Permission.MANAGE_MEMBERS}),
        Scope.COURSES_READ: frozenset({Permission.READ_COURSE}),
        Scope.ADMIN: frozenset(
            {
                Permission.READ_COURSE,
                Permission.ANSWER_HELP,
                Permission.MANAGE_MEMBERS,
                Permission.MANAGE_SETTINGS,
                Permission.READ_AUDIT,
                Permission.ADMINISTER,
            }
        ),
    }
)

GRANTS: Final[Mapping[Grant, GrantRule]] = MappingProxyType(
    {
        Grant.SESSION: GrantRule(
            audiences=frozenset({Audience.API, Audience.GATEWAY}),
            always=frozenset(
                {
                    Permission.READ_COURSE,
                    Permission.ANSWER_HELP,
                    Permission.MANAGE_MEMBERS,
                    Permission.MANAGE_SETTINGS,
                    Permission.READ_AUDIT,
                    Permission.ADMINISTER,
                }
            ),
            by_scope=MappingProxyType({}),
        ),
        Grant.API_KEY: GrantRule(
            audiences=frozenset({Audience.API, Audience.GATEWAY, Audience.INGEST}),
            always=frozenset(),
            by_scope=_KEY_SCOPES,
        ),
        Grant.HUB_SERVER: GrantRule(
            audiences=frozenset({Audience.INGEST}),
            always=frozenset({Permission.SEND_EVENTS}),
            by_scope=MappingProxyType({}),
        ),
        Grant.JOINED: GrantRule(
            audiences=frozenset({Audience.INGEST}),
            always=frozenset({Permission.SEND_EVENTS}),
            by_scope=MappingProxyType({}),
        ),
    }
)


@lru_cache(maxsize=1024)
def _allowed(grant: Grant, scopes: tuple[str, ...]) -> frozenset[Permission]:
    rule = GRANTS[grant]
    return rule.always.union(*(rule.by_scope.get(scope, frozenset()) for scope in scopes))  # type: ignore[call-overload]


def allowed_by(grant: Grant, scopes: Iterable[str]) -> frozenset[Permission]:
    """Return what a token of a grant with these scopes allows at most; a scope that is not known adds nothing."""
    return _allowed(grant, tuple(scopes))
