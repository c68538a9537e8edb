"""Bodies of the course routes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cell_monitor_api.models.auth import Username
from cell_monitor_core.channels import COURSE_ID_PATTERN
from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.names import ISSUER_PATTERN, MAX_ISSUER_CHARS, MAX_NAME_CHARS, NAME_PATTERN
from cell_monitor_core.publications import CourseState, HelpState, StudentState
from cell_monitor_core.storage.postgres.identities import LOCAL

__all__ = [
    "CourseAnswer",
    "CourseList",
    "CourseListItem",
    "CourseMember",
    "CourseMembers",
    "CourseRefusals",
    "CourseSnapshot",
    "MemberAnswer",
    "MemberList",
    "NewCourse",
    "NewMember",
    "NewMembers",
    "RefusedPeople",
    "SnapshotCourse",
    "StaffMember",
    "Student",
    "StudentList",
]


class NewCourse(BaseModel):
    """A course to add."""

    model_config = ConfigDict(extra="forbid")

    course_id: Annotated[str, Field(pattern=COURSE_ID_PATTERN, max_length=63)]
    title: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)]


class NewMember(BaseModel):
    """Somebody to add to a course, or to bring up to date."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: Username
    display_name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)] | None = None
    role: Literal["instructor", "assistant", "observer", "student"]

    @model_validator(mode="before")
    @classmethod
    def _refuse_password(cls, value: object) -> object:
        # Releases before let an instructor choose it, and so act as that person later.
        if isinstance(value, dict) and "password" in value:
            raise ValueError(
                "the roster gives no passwords: `cell-monitor sign-in-link USERNAME` prints a link with which the person signs in"
            )
        return value


class NewMembers(BaseModel):
    """Members to add or to bring up to date; others stay as they are."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    members: Annotated[list[NewMember], Field(max_length=500)]
    issuer: Annotated[str, Field(min_length=1, max_length=MAX_ISSUER_CHARS, pattern=ISSUER_PATTERN)] = LOCAL
    """Where these people sign in; one of ``CourseMembers.issuers``."""

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        seen: set[str] = set()
        # By place, not by name: an answer repeats nothing of the request.
        again = [
            str(place)
            for place, member in enumerate(self.members)
            if member.username in seen or seen.add(member.username)  # type: ignore[func-returns-value]
        ]
        if again:
            raise ValueError(f"a user name appears twice: members {', '.join(again)}, counted from 0")
        return self


class MemberAnswer(msgspec.Struct, frozen=True):
    """A member as stored in the roster.

    ``effective_role`` is the one that counts, null for none: it differs from ``role`` where another source, such as a
    Hub, gives a higher one or rules in this course.
    """

    person_id: str
    username: str
    role: str
    effective_role: str | None


class MemberList(msgspec.Struct, frozen=True):
    """The members of the request, in its order."""

    members: list[MemberAnswer]


class CourseMember(msgspec.Struct, frozen=True):
    """Somebody who belongs to a course.

    Attributes:
        role: the one that counts.
        sources: what each source says, by its name; null where it removed them.
        site_admin: whether they are an admin of the whole site, too.
        issuers: where they sign in.
    """

    person_id: str
    username: str
    display_name: str | None
    role: str
    sources: dict[str, str | None]
    site_admin: bool
    issuers: list[str]


class CourseMembers(msgspec.Struct, frozen=True):
    """Everybody who belongs to a course, staff first, then by user name.

    ``issuers`` are those of people who can be added, the one that students use first; ``hub`` is the one of JupyterHub, null
    without a Hub.
    """

    members: list[CourseMember]
    issuers: list[str]
    hub: str | None


class CourseAnswer(msgspec.Struct, frozen=True):
    """A course that was added."""

    course_id: str
    title: str


class CourseListItem(msgspec.Struct, frozen=True):
    """One course, with its students counted by the words of docs/dev/contracts.md at this moment.

    ``role`` is null where an admin is no member. ``help_open`` counts the students' requests that are open or claimed,
    ``need_help`` those of them whose students have not left.
    """

    course_id: str
    title: str
    role: str | None
    students: int
    help_open: int
    active: int
    running: int
    left: int
    need_help: int


class CourseList(msgspec.Struct, frozen=True):
    """The caller's courses."""

    courses: list[CourseListItem]


class Student(StudentState, frozen=True, kw_only=True):
    """One student's row with their name, which publications do not carry, and whether they joined by code."""

    username: str
    display_name: str | None
    joined: bool = False


class StudentList(msgspec.Struct, frozen=True):
    """All students of a course."""

    students: list[Student]


class StaffMember(msgspec.Struct, frozen=True):
    """Somebody of the staff; ``display_name`` is never empty."""

    person_id: str
    display_name: str
    role: str
    username: str


class SnapshotCourse(msgspec.Struct, frozen=True):
    """The course itself."""

    course_id: str
    title: str
    thresholds: Thresholds


class CourseSnapshot(msgspec.Struct, frozen=True):
    """All that the live page shows. Subscribing from ``epoch`` and ``offset`` gives everything that came after."""

    course: SnapshotCourse
    epoch: str
    offset: int
    generated_at: str
    students: list[Student]
    staff: list[StaffMember]
    help: list[HelpState]
    counters: CourseState


class RefusedPeople(msgspec.Struct, frozen=True):
    """People whose events are refused for one reason.

    Attributes:
        reason: a code of ``core/events/reasons.py``, or ``rate_limited``.
        people: how many, 500 at most.
        last_at: when it happened last, RFC 3339.
    """

    reason: str
    people: int
    last_at: str


class CourseRefusals(msgspec.Struct, frozen=True):
    """Whose events were refused within the last ``window_s`` seconds, by reason; most people first."""

    window_s: int
    refusals: list[RefusedPeople]
