"""What a JupyterHub's word means here: whether a token proves its sender, and what groups mean in courses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cell_monitor_api.storage.hub_api import HubGroup, TokenOwner
from cell_monitor_core.auth.roles import Role, highest_by_course
from cell_monitor_core.channels import COURSE_ID_PATTERN

__all__ = [
    "PROPERTY",
    "GroupRules",
    "HubSender",
    "HubVisitor",
    "NotASender",
    "NotAVisitor",
    "sender_of",
    "visitor_of",
]

_MAX_NAME_CHARS: Final = 255
"""Of the Hub's own column."""
_SERVER_SCOPE: Final = "access:servers!server="
PROPERTY: Final = "cell_monitor"
"""Name of the property of a group at the Hub."""
_MAX_LINKS: Final = 20
"""Courses that one group may name."""
_COURSE_ID: Final = re.compile(COURSE_ID_PATTERN)


class NotASender(ValueError):  # noqa: N818 - named for what is the matter
    """The token proves nothing about who sends; the message says why, for the sender."""


@dataclass(frozen=True, slots=True)
class HubSender:
    """A user of the Hub whose server sends.

    Attributes:
        name: exactly as the Hub spells it.
        groups: of the user.
        server: name of the server that the token belongs to, empty for the default one; None where the token does not say.
    """

    name: str
    groups: tuple[str, ...]
    server: str | None


def sender_of(owner: TokenOwner, scope: str) -> HubSender:
    """Return the user whose server holds a token.

    A name alone proves nothing: somebody who visits another person's server leaves an OAuth token of theirs there, which
    carries their name and groups. Such a token never carries a custom scope that its client was not allowed to ask for,
    belongs to a browser's session, and is for the server of another user.

    Args:
        owner: the Hub's answer about the token.
        scope: that the token must carry.

    Raises:
        NotASender: it is not the token of a user's own server.
    """
    if owner.kind != "user" or not 0 < len(owner.name) <= _MAX_NAME_CHARS:
        raise NotASender("the token is not a user's")
    if scope not in owner.scopes:
        raise NotASender(f"the token lacks the scope {scope}")
    if owner.session_id is not None:
        raise NotASender("the token belongs to a browser's session and not to a server")
    servers = {found.removeprefix(_SERVER_SCOPE) for found in owner.scopes if found.startswith(_SERVER_SCOPE)}
    if not servers:
        return HubSender(owner.name, tuple(owner.groups), None)
    own = {name.removeprefix(f"{owner.name}/") for name in servers if name.startswith(f"{owner.name}/")}
    if len(own) != len(servers):
        raise NotASender("the token is for another user's server")
    return HubSender(owner.name, tuple(owner.groups), own.pop() if len(own) == 1 else None)


class NotAVisitor(ValueError):  # noqa: N818 - named for what is the matter
    """The token is not one of a person who signed in to this service; the message says why."""


@dataclass(frozen=True, slots=True)
class HubVisitor:
    """A user of the Hub who signed in to this service with a browser; name and groups as of ``HubSender``.

    Attributes:
        is_admin: whether they are an admin of the Hub, which by itself means nothing here.
    """

    name: str
    groups: tuple[str, ...]
    is_admin: bool


def visitor_of(owner: TokenOwner, scope: str) -> HubVisitor:
    """Return the user who signed in with a browser, as the token that this service got for their code says.

    Args:
        owner: the Hub's answer about the token.
        scope: that allows the user to use this service.

    Raises:
        NotAVisitor: it is no token of a user's sign-in, or the user may not use this service any more.
    """
    if owner.kind != "user" or not 0 < len(owner.name) <= _MAX_NAME_CHARS:
        raise NotAVisitor("the token is not a user's")
    if owner.session_id is None:
        raise NotAVisitor("the token belongs to no browser's session")
    if scope not in owner.scopes:
        raise NotAVisitor(f"the user lacks the scope {scope}")
    return HubVisitor(owner.name, tuple(owner.groups), owner.admin)


class GroupRules:
    """What groups mean by their names.

    Args:
        pattern: regular expression with the groups ``course`` and ``role``, matched with a group's whole name; None for none.
        roles: what the pattern's ``role`` may say, beside the roles themselves and their plurals.
    """

    def __init__(self, pattern: str | None, roles: Mapping[str, Role]) -> None:
        self._pattern = None if pattern is None else re.compile(pattern)
        self._roles = {str(role): role for role in Role} | {f"{role}s": role for role in Role} | dict(roles)

    def links_of(self, group: HubGroup) -> list[tuple[str, str]]:
        """Return the course ids and roles that a group names by its properties; what cannot be used gives nothing.

        ``{"cell_monitor": {"course": "physics", "role": "instructor"}}``, or a list of such objects.
        """
        said = group.properties.get(PROPERTY)
        links = []
        for one in (said if isinstance(said, list) else [said])[:_MAX_LINKS]:
            if not isinstance(one, dict):
                continue
            course_id, role = one.get("course"), one.get("role")
            known = self._roles.get(role) if isinstance(role, str) else None
            if known is not None and isinstance(course_id, str) and _COURSE_ID.fullmatch(course_id):
                links.append((course_id, str(known)))
        return links

    def roles_of_users(
        self, groups: Iterable[HubGroup], links: Mapping[str, Iterable[tuple[str, str]]]
    ) -> dict[str, dict[str, str]]:
        """Return the highest role by course id by the name of each user who is in a group that gives any.

        Args:
            groups: all groups of the Hub.
            links: course ids and roles that groups give by links, by the name of the group.
        """
        given_to: dict[str, list[tuple[str, Role]]] = {}
        for group in groups:
            given = [
                (course_id, Role(role))
                for course_id, role in (*self.roles_of([group.name], {}).items(), *links.get(group.name, ()))
            ]
            for name in group.users if given else ():
                if 0 < len(name) <= _MAX_NAME_CHARS:
                    given_to.setdefault(name, []).extend(given)
        return {
            name: {course_id: str(role) for course_id, role in highest_by_course(given).items()}
            for name, given in given_to.items()
        }

    def roles_of(self, groups: Iterable[str], linked: Mapping[str, str]) -> dict[str, str]:
        """Return the highest role by course id; a group that does not match gives nothing.

        Args:
            groups: names of a user's groups.
            linked: what the links of ``course_links`` give the user.
        """
        given = [(course_id, Role(role)) for course_id, role in linked.items()]
        for group in groups:
            match = self._pattern.fullmatch(group) if self._pattern is not None else None
            if match is None:
                continue
            course_id, role = match["course"] or "", self._roles.get(match["role"] or "")
            if role is not None and _COURSE_ID.fullmatch(course_id):
                given.append((course_id, role))
        return {course_id: str(role) for course_id, role in sorted(highest_by_course(given).items())}
