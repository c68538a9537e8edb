"""Changes that are refused: nothing was changed. The API answers them by its codes, the commands print them."""

# ruff: noqa: N818 - each is named for what is the matter

from __future__ import annotations

from collections.abc import Sequence

from cell_monitor_core.foreign_text import readable

__all__ = [
    "CourseIdTaken",
    "ManagedBySource",
    "NotPermitted",
    "ProtectedMember",
    "Refusal",
    "Unknown",
    "UnknownCourse",
    "Unusable",
    "refuse_all",
    "require_readable",
]


class Refusal(Exception):
    """A change that is refused.

    Args:
        msg: what is wrong and what to do, for people.
        field: where it is wrong in what was given, such as ``("members", 3, "role")``; empty for the whole.

    Attributes:
        further: what else of the same change is refused, so that all of it can be corrected at once.
    """

    def __init__(self, msg: str, *, field: Sequence[str | int] = ()) -> None:
        super().__init__(msg)
        self.msg = msg
        self.field = tuple(field)
        self.further: tuple[Refusal, ...] = ()


def refuse_all(refused: Sequence[Refusal]) -> None:
    """Raise the first of these refusals with the others as its ``further``; with none there is nothing to do."""
    if refused:
        first, *others = refused
        first.further = tuple(others)
        raise first


class CourseIdTaken(Refusal):
    """A course of that id is there already."""


class ManagedBySource(Refusal):
    """Another source than this installation decides on it: it must be changed there."""


class NotPermitted(Refusal):
    """Who asks for it may change other things here, but not this."""


class ProtectedMember(NotPermitted):
    """A role that the course's own staff cannot end: an instructor's, the asker's own, or that of an admin of the site."""


class Unknown(Refusal):
    """There is no such thing."""


class UnknownCourse(Unknown):
    """There is no such course.

    Args:
        course_id: the one that was asked for.
    """

    def __init__(self, course_id: str) -> None:
        super().__init__("there is no such course")
        self.course_id = course_id


class Unusable(Refusal):
    """A value is well formed, but cannot be used here."""


def require_readable(text: str, *, field: str) -> None:
    """Refuse a name that nobody could read on a page, as of spaces or invisible characters only.

    Raises:
        Unusable: it has no letter, digit or picture.
    """
    if not readable(text):
        raise Unusable("it has nothing that can be read: use letters or digits", field=[field])
