"""Answers of the audit log."""

from __future__ import annotations

import msgspec

__all__ = ["AuditEntryAnswer", "AuditList", "AuditPerson"]


class AuditPerson(msgspec.Struct, frozen=True):
    """A person whom an entry names, as they are called now; all null where they have been erased."""

    person_id: str | None
    username: str | None
    display_name: str | None


class AuditEntryAnswer(msgspec.Struct, frozen=True):
    """One entry: who (``actor``) did what (``action``), when, and whom or what it concerns.

    ``actor_kind`` says who acted: `person`, `key`, `operator`, `hub`, `oidc`, `system` or `nobody`; only for `person` is there an
    ``actor``. ``key_id`` is the API key that the act concerns, ``actor_key_id`` the one that it was done with. Of refused
    sign-ins ``count`` says how often, from ``address``; of replayed failed events ``queued`` says how many, ``unreadable`` how many
    stay as they are, ``reason`` which were chosen. ``setting_from`` and ``setting_to`` are the titles of a course, its
    ruling sources (null: none) or the thresholds that differ; ``group`` is one whose members get a role. ``way`` is how
    somebody signed in or tried to: a link that was refused is `link_used`, `link_ended`, `link_expired`, or `link` where it
    is not known; ``cause`` is the act that ended a link. What an action does not need is null.
    """

    entry_id: str
    at: str
    action: str
    actor_kind: str
    actor: AuditPerson | None
    actor_key_id: str | None
    subject: AuditPerson | None
    course_id: str | None
    key_id: str | None
    key_name: str | None
    role_from: str | None
    role_to: str | None
    setting_from: str | dict[str, int] | None
    setting_to: str | dict[str, int] | None
    group: str | None
    source: str | None
    way: str | None
    cause: str | None
    scopes: list[str] | None
    address: str | None
    count: int
    queued: int | None
    unreadable: int | None
    reason: str | None


class AuditList(msgspec.Struct, frozen=True):
    """Entries, newest first; ``next_before`` asks for the page after this one."""

    entries: list[AuditEntryAnswer]
    next_before: str | None
