"""Bodies of the routes of a course's settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from cell_monitor_core.administration.course_settings import RULING_SOURCES, UNCHANGED, GroupIssuer, SettingsChange
from cell_monitor_core.derivation import Thresholds, threshold_bounds
from cell_monitor_core.names import (
    ISSUER_PATTERN,
    MAX_GROUP_CHARS,
    MAX_ISSUER_CHARS,
    MAX_NAME_CHARS,
    NAME_PATTERN,
)
from cell_monitor_core.storage.postgres.course_links import CourseLink
from cell_monitor_core.storage.postgres.courses import Course

__all__ = [
    "ChangedSettings",
    "ChangedThresholds",
    "GroupLink",
    "GroupRule",
    "LinkedGroup",
    "SettingsAnswer",
    "ThresholdBounds",
]

_RulingSource: TypeAlias = Literal["roster", "hub", "lti", "oidc"]
_Role: TypeAlias = Literal["instructor", "assistant", "observer", "student"]


def _threshold(name: str) -> Any:
    lowest, highest = threshold_bounds(name)
    return Field(default=None, ge=lowest, le=highest)


class ChangedThresholds(BaseModel):
    """The thresholds to change; others stay as they are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    stuck_errors: int | None = _threshold("stuck_errors")
    kernel_deaths: int | None = _threshold("kernel_deaths")
    long_run_s: int | None = _threshold("long_run_s")
    idle_s: int | None = _threshold("idle_s")
    offline_s: int | None = _threshold("offline_s")


class ChangedSettings(BaseModel):
    """The settings to change; what is left out stays as it is. A ``ruling_source`` of null: none rules."""

    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)] | None = None
    thresholds: ChangedThresholds = Field(default_factory=ChangedThresholds)
    ruling_source: _RulingSource | None = None

    def change(self) -> SettingsChange:
        """Return what is to change."""
        return SettingsChange(
            title=self.title,
            thresholds=self.thresholds.model_dump(exclude_none=True),
            ruling_source=self.ruling_source if "ruling_source" in self.model_fields_set else UNCHANGED,
        )


class GroupLink(BaseModel):
    """The members of a group of an issuer have a role in the course."""

    model_config = ConfigDict(extra="forbid")

    issuer: Annotated[str, Field(min_length=1, max_length=MAX_ISSUER_CHARS, pattern=ISSUER_PATTERN)]
    group: Annotated[str, Field(min_length=1, max_length=MAX_GROUP_CHARS, pattern=NAME_PATTERN)]
    role: _Role

    def of_course(self, course_id: str) -> CourseLink:
        """Return it as a link of a course."""
        return CourseLink(self.issuer, self.group, self.role, course_id)


class LinkedGroup(msgspec.Struct, frozen=True):
    """The members of a group of an issuer have a role in the course."""

    issuer: str
    group: str
    role: str


class GroupRule(msgspec.Struct, frozen=True):
    """By which of its own words a group of an issuer gives roles, in every course.

    Attributes:
        pattern: regular expression for the whole name of a group, with the groups ``course`` and ``role``; null: a name
            alone gives nothing.
        roles: what ``role`` may say beside the roles and their plurals, and the role that it means.
        property: the property of a group that names courses and roles; null: none is read.
    """

    issuer: str
    pattern: str | None
    roles: dict[str, str]
    property: str | None


class ThresholdBounds(msgspec.Struct, frozen=True):
    """The lowest and the highest value that a threshold may have."""

    lowest: int
    highest: int


class SettingsAnswer(msgspec.Struct, frozen=True):
    """The settings of a course.

    Attributes:
        thresholds: those in force; ``defaults`` and ``bounds`` are the same in every course.
        ruling_source: the source of memberships that alone decides about those of whom it has spoken; null: none rules.
        ruling_sources: those that may be chosen.
        links: which groups give which roles, by issuer and group.
        issuers: those that are configured here and have groups.
        staff_only_issuers: those of them whose groups give the roles of staff only.
        rules: of the issuers, beside the links.
        properties: which groups give which roles by their properties at the issuer, as last read.
    """

    course_id: str
    title: str
    thresholds: Thresholds
    defaults: Thresholds
    bounds: dict[str, ThresholdBounds]
    ruling_source: str | None
    ruling_sources: list[str]
    links: list[LinkedGroup]
    issuers: list[str]
    staff_only_issuers: list[str]
    rules: list[GroupRule]
    properties: list[LinkedGroup]

    @classmethod
    def of(
        cls,
        course: Course,
        links: list[CourseLink],
        *,
        issuers: list[GroupIssuer],
        rules: list[GroupRule],
        properties: list[CourseLink],
    ) -> SettingsAnswer:
        """Return the answer about a course."""
        return cls(
            course_id=course.course_id,
            title=course.title,
            thresholds=course.thresholds,
            defaults=Thresholds(),
            bounds={name: ThresholdBounds(*threshold_bounds(name)) for name in Thresholds.__struct_fields__},
            ruling_source=course.ruling_source,
            ruling_sources=[str(source) for source in RULING_SOURCES],
            links=_linked(links),
            issuers=[issuer.name for issuer in issuers],
            staff_only_issuers=[issuer.name for issuer in issuers if issuer.staff_only],
            rules=rules,
            properties=_linked(properties),
        )


def _linked(links: list[CourseLink]) -> list[LinkedGroup]:
    return [LinkedGroup(link.issuer, link.group, link.role) for link in links]
