"""Every place that holds something of a person or of a course. A test compares it with the schema and with ``keys``.

A table or key that is added must be named here, with how it is erased or why there is nothing to erase.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["KEYS", "TABLES", "Table"]


@dataclass(frozen=True, slots=True)
class Table:
    """A table, with all its columns.

    Attributes:
        person: columns that say whose a row is; rows of an erased person are deleted.
        staff: columns that name somebody who acted for another; there the nil UUID, or in the audit log NULL, takes the place
            of an erased person.
        course: columns that say of which course a row is; rows of a deleted course are deleted.
        other: all other columns. They go with their row, or hold nothing of a person or course (``note``).
        note: why nothing is to be erased, or by what else it is.
    """

    person: tuple[str, ...] = ()
    staff: tuple[str, ...] = ()
    course: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    note: str = ""


TABLES: Final[dict[str, Table]] = {
    "api_keys": Table(
        person=("person_id",),
        other=("key_id", "key_hash", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at"),
    ),
    "audit_entries": Table(
        staff=("actor_id", "subject_id"),
        course=("course_id",),
        other=(
            "entry_id", "acted_at", "action", "actor_kind", "actor_key_id", "concerns_person", "key_id", "details",
            "address_enc", "count", "once",
        ),
        note="of an erased person the act stays; that a course was deleted stays, too",
    ),
    "cell_states": Table(
        person=("person_id",), course=("course_id",), other=("notebook_id", "cell_id", "fold")
    ),
    "course_links": Table(
        course=("course_id",), other=("issuer", "group_name", "role"), note="names of groups, not of people"
    ),
    "course_versions": Table(course=("course_id",), other=("version", "counters")),
    "courses": Table(course=("course_id",), other=("title", "thresholds", "ruling_source", "created_at")),
    "derivation_keys": Table(other=("name", "key_enc"), note="keys of the installation"),
    "erasures": Table(
        person=("person_id",), other=("course_ids", "begun_at"), note="the erasing itself; deleted as its last step"
    ),
    "event_keys": Table(
        person=("person_id",), other=("event_id", "stored_at"), note="of a course: deleted with its events"
    ),
    "event_payloads": Table(
        person=("person_id",),
        other=("stored_at", "event_id", "payload_enc"),
        note="of a course: deleted with its events",
    ),
    "events": Table(
        person=("person_id",),
        course=("course_id",),
        other=(
            "stored_at", "event_id", "type", "session_id", "seq", "happened_at", "received_at", "notebook_id", "cell_id",
            "status", "error_name", "duration_ms", "execution_count", "fact", "test_id",
        ),
    ),
    "failed_events": Table(
        person=("person_id",),
        course=("course_id",),
        other=(
            "failed_id", "consumer_group", "partition", "entry_id", "record_index", "event_id", "reason", "detail",
            "record_enc", "failed_at", "replayed_at",
        ),
        note="rows without a person, entries that could not be taken apart, are decrypted and searched",
    ),
    "group_properties": Table(
        course=("course_id",), other=("issuer", "group_name", "role"), note="names of groups, not of people"
    ),
    "group_readings": Table(other=("issuer", "due_at"), note="of the installation"),
    "help_actions": Table(
        staff=("person_id",),
        course=("course_id",),
        other=("action_id", "request_id", "action", "acted_at", "seen_at"),
        note="of a student: deleted with the student's requests",
    ),
    "help_outbox": Table(
        course=("course_id",), other=("action_id", "request_id"), note="of a student: deleted with the student's requests"
    ),
    "help_requests": Table(
        person=("person_id",),
        staff=("claimed_by", "resolved_by"),
        course=("course_id",),
        other=(
            "request_id", "event_id", "version", "status", "requested_at", "cancelled_at", "claimed_at", "resolved_at",
            "expired_at", "notebook_id", "cell_id", "context", "message_enc", "error_text_enc", "received_at",
        ),
    ),
    "hub_sessions": Table(
        person=("person_id",), other=("cookie_hash", "token_enc", "used_at", "answered_at", "due_at")
    ),
    "identities": Table(
        person=("person_id",), other=("identity_id", "issuer", "subject_hash", "subject_enc", "created_at")
    ),
    "join_codes": Table(
        course=("course_id",), other=("locator", "nonce", "opened_at", "expires_at", "people"), note="a count of people only"
    ),
    "joined_computers": Table(
        person=("person_id",),
        course=("course_id",),
        other=("computer_id", "secret_hash", "created_at", "revoked_at"),
    ),
    "local_accounts": Table(person=("person_id",), other=("password_hash", "updated_at", "by_installation")),
    "memberships": Table(person=("person_id",), course=("course_id",), other=("role", "source", "changed_at")),
    "opaque_outbox": Table(person=("person_id",), course=("course_id",), other=("consumer_group", "event_id")),
    "people": Table(
        person=("person_id",),
        other=(
            "username_hash",
            "username_enc",
            "display_name_enc",
            "email_enc",
            "token_generation",
            "sign_in_generation",
            "is_admin",
            "admin_by_hub",
            "created_at",
            "identity_pending",
        ),
    ),
    "schema_version": Table(other=("version", "name", "checksum", "applied_at"), note="of the installation"),
    "session_states": Table(person=("person_id",), course=("course_id",), other=("session_id", "fold")),
    "revocations": Table(
        other=("revocation_id", "subject", "generation", "created_at", "delivered_at"),
        note="the rows of an erased person are deleted; others, among them a hash of the person's id, 12 minutes after delivery",
    ),
    "sign_in_links": Table(
        person=("person_id",), other=("link_id", "secret_hash", "created_at", "expires_at", "used_at", "ended_at", "end_cause")
    ),
    "sign_ins": Table(
        person=("person_id",), other=("cookie_hash", "created_at", "expires_at", "by_link", "used_at")
    ),
    "student_states": Table(
        person=("person_id",),
        course=("course_id",),
        other=("version", "fold", "state", "updated_at", "error_text_enc"),
        note="a student's row names who of the staff claimed the open request: derived again where that was the person",
    ),
    "time_series": Table(
        person=("person_id",),
        course=("course_id",),
        other=("event_id", "at", "type", "notebook_id", "cell_id", "status", "error_name", "duration_ms"),
        note="erased by the store of the time series, as InfluxDB's measurements are",
    ),
}  # fmt: skip
"""The tables of PostgreSQL; partitions are their parent's."""

KEYS: Final[dict[str, str]] = {
    "events_stream": "records are taken out of the entries that hold them, queued or pending",
    "followed_channels": "names of courses that are followed now, for a minute; deleted with its course",
    "history_stream": "the channels of the person's courses, and the test channels that the person used, begin again",
    "presence_zset": "random ids of connections, for a minute; deleted with its course",
    "publication_channel": "Pub/Sub keeps nothing",
    "publication_meta": "with history_stream",
    "publication_versions": "with history_stream",
    "refused_courses": "ids of courses; ends after 150 seconds",
    "refused_senders": "8 bytes of keyed BLAKE2b over an id, from which no id can be read; ends after 150 seconds",
    "revocations": "entries with an erased person's id are deleted; a hash from which no id can be read ends after 12 minutes",
    "seen_set": "16 bytes of BLAKE2b over ids, from which no id can be read; ends after 11 minutes",
    "sign_in_attempts": "keyed hashes of the user name, the address and the first part of a join code; ends with its window, after an hour at most unless set longer",
    "test_progress": "deleted: the key holds the person's id",
    "watermark_channel": "Pub/Sub keeps nothing",
    "watermark_lease": "a random token",
    "watermark_newest": "the id of a stream entry that holds no event",
}
"""The functions of ``keys`` that name something in Redis, and what becomes of it."""
