"""Roles in a course and what each may do. What the table does not allow is denied."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["PERMISSIONS", "STAFF_ROLES", "Permission", "Role", "may"]


class Role(StrEnum):
    """A member's role in one course."""

    INSTRUCTOR = "instructor"
    ASSISTANT = "assistant"
    OBSERVER = "observer"
    STUDENT = "student"


class Permission(StrEnum):
    """Something that can be done in a course."""

    SEND_EVENTS = "send_events"
    READ_COURSE = "read_course"
    ANSWER_HELP = "answer_help"
    MANAGE_MEMBERS = "manage_members"


PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.INSTRUCTOR: frozenset(Permission),
    Role.ASSISTANT: frozenset({Permission.SEND_EVENTS, Permission.READ_COURSE, Permission.ANSWER_HELP}),
    Role.OBSERVER: frozenset({Permission.SEND_EVENTS, Permission.READ_COURSE}),
    Role.STUDENT: frozenset({Permission.SEND_EVENTS}),
}
STAFF_ROLES: Final = frozenset({Role.INSTRUCTOR, Role.ASSISTANT, Role.OBSERVER})
"""The roles that see a course's students."""


def may(role: str | None, permission: Permission) -> bool:
    """Tell whether a role, or none, allows something; an unknown role allows nothing."""
    return role is not None and permission in PERMISSIONS.get(role, frozenset())  # type: ignore[call-overload]
