"""Roles in a course and what each allows. What the tables do not allow is denied."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

__all__ = [
    "ADMIN_PERMISSIONS",
    "PERMISSIONS",
    "SERVICE_PERMISSIONS",
    "STAFF_ROLES",
    "Permission",
    "Role",
    "highest_by_course",
    "may",
    "may_in_course",
    "rank_of",
]


class Role(StrEnum):
    """A member's role in one course, from the highest to the lowest."""

    INSTRUCTOR = "instructor"
    ASSISTANT = "assistant"
    OBSERVER = "observer"
    STUDENT = "student"


class Permission(StrEnum):
    """Something that can be done: the first six in a course, by role; the others in the whole installation."""

    SEND_EVENTS = "send_events"
    READ_COURSE = "read_course"
    ANSWER_HELP = "answer_help"
    MANAGE_MEMBERS = "manage_members"
    MANAGE_SETTINGS = "manage_settings"
    READ_AUDIT = "read_audit"
    USE_TEST_MODE = "use_test_mode"
    ADMINISTER = "administer"


PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.INSTRUCTOR: frozenset(
        {
            Permission.SEND_EVENTS,
            Permission.READ_COURSE,
            Permission.ANSWER_HELP,
            Permission.MANAGE_MEMBERS,
            Permission.MANAGE_SETTINGS,
            Permission.READ_AUDIT,
        }
    ),
    Role.ASSISTANT: frozenset({Permission.SEND_EVENTS, Permission.READ_COURSE, Permission.ANSWER_HELP}),
    Role.OBSERVER: frozenset({Permission.SEND_EVENTS, Permission.READ_COURSE}),
    Role.STUDENT: frozenset({Permission.SEND_EVENTS}),
}
ADMIN_PERMISSIONS: Final = frozenset(
    {
        Permission.READ_COURSE,
        Permission.ANSWER_HELP,
        Permission.MANAGE_MEMBERS,
        Permission.MANAGE_SETTINGS,
        Permission.READ_AUDIT,
    }
)
"""What an admin of the site may do in every course, a member or not. Events are sent by members only."""
SERVICE_PERMISSIONS: Final = frozenset(
    {Permission.READ_COURSE, Permission.MANAGE_MEMBERS, Permission.MANAGE_SETTINGS, Permission.READ_AUDIT}
)
"""What an API key that belongs to nobody may do in every course. It answers no help: nobody would be named as helper."""
STAFF_ROLES: Final = frozenset({Role.INSTRUCTOR, Role.ASSISTANT, Role.OBSERVER})
"""The roles that see a course's students."""


_RANK: Final[dict[str, int]] = {role: position for position, role in enumerate(Role)}


def rank_of(role: str) -> int:
    """Return the place of a role in the order of roles, 0 for the highest."""
    return _RANK[role]


def highest_by_course(roles: Iterable[tuple[str, Role]]) -> dict[str, Role]:
    """Return the highest role by course id, of pairs of a course id and a role."""
    highest: dict[str, Role] = {}
    for course_id, role in roles:
        highest[course_id] = min(highest.get(course_id, role), role, key=rank_of)
    return highest


def may(role: str | None, permission: Permission) -> bool:
    """Return whether a role, or none, allows something; an unknown role allows nothing."""
    return role is not None and permission in PERMISSIONS.get(role, frozenset())  # type: ignore[call-overload]


def may_in_course(role: str | None, permission: Permission, *, admin: bool, service: bool) -> bool:
    """Return whether a caller may do something in a course, as far as the token's grant allows it at all.

    Args:
        role: in the course, None for no member.
        permission: what is to be done.
        admin: whether the caller is an admin of the site.
        service: whether the caller is an API key that belongs to nobody; then the other two do not count.
    """
    if service:
        return permission in SERVICE_PERMISSIONS
    return (admin and permission in ADMIN_PERMISSIONS) or may(role, permission)
