"""Hazards: one person's event suppresses another's; deleted payloads change the derived state."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.publications import ErrorRef
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import event_rows, help_queries, student_queries
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.partitions import delete_payloads, ensure_event_partitions
from cell_monitor_core.storage.postgres.rebuild import rebuild

ANN, BOB = uuid.UUID(int=7), uuid.UUID(int=8)
NOW = datetime.now(UTC)


def event(
    kind: str, minute: int, *, person: uuid.UUID = ANN, event_id: str | None = None, **fields: Any
) -> StreamRecord:
    at = NOW - timedelta(hours=2) + timedelta(minutes=minute)
    body = {
        "event_id": event_id or new_event_id(),
        "type": kind,
        "schema_version": 1,
        "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid.UUID(int=minute % 10_000)),
        "seq": 1,
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "data": {},
        **fields,
    }
    return StreamRecord(person.bytes, "c1", int(at.timestamp() * 1000), json.dumps(body).encode())


def failing(minute: int, text: str, **fields: Any) -> StreamRecord:
    where = {"id": "a", "source_id": "a", "index": 0, "type": "code"}
    error = {"name": "NameError", "value": text, "traceback": "Traceback"}
    data = {"execution_id": new_event_id(), "status": "error", "code": "secret code", "outputs": [], "error": error}
    return event("cell_executed", minute, cell=where, data=data, **fields)


def id_of(record: StreamRecord) -> str:
    return str(json.loads(record.event)["event_id"])


async def assert_derived(db: Any, keyring: KeyRing) -> None:
    report = await rebuild(db, keyring, check=True)
    assert (report.differences, report.students > 0) == ([], True)


async def make_older(db: Any, days: int) -> datetime:
    """Move all that is stored to the partitions of a moment in the past; return the moment."""
    moment = NOW - timedelta(days=days)
    await db.execute("SELECT event_month_partition($1::timestamptz), payload_week_partition($1::timestamptz)", moment)
    for table in ("event_keys", "events", "event_payloads"):
        await db.execute(f"UPDATE {table} SET stored_at = $1", moment)
    return moment


async def test_two_peoples_events_of_one_id_are_two_events(db: Any, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    mine = failing(1, "mine")
    theirs = failing(2, "theirs", person=BOB, event_id=id_of(mine))
    for _ in range(2):
        applied = await store.apply([mine, theirs])
        shown = {state.student_id: state.last_execution for state in applied.students["c1"]}
        texts = {
            student: run.error.value for student, run in shown.items() if run is not None and run.error is not None
        }
        assert texts == {str(ANN): "mine", str(BOB): "theirs"}
    assert (applied.stored, applied.duplicates) == (0, 2)
    page = await student_queries.student_runs(db, keyring, "c1", BOB)
    assert [run.error.value for run in page.runs if run.error is not None] == ["theirs"]
    await assert_derived(db, keyring)


async def test_requests_of_one_event_id_are_apart_and_a_cancellation_reaches_ones_own(
    db: Any, keyring: KeyRing
) -> None:
    store = PostgresFactStore(db, keyring)
    mine = event("help_requested", 1, data={"message": "mine"})
    theirs = event("help_requested", 2, person=BOB, event_id=id_of(mine), data={"message": "theirs"})
    await store.apply([mine, theirs])
    await store.apply([event("help_cancelled", 3, data={"request_id": id_of(mine)})])
    (waiting,) = await help_queries.list_active(db, keyring, "c1")
    assert (waiting.student_id, waiting.message) == (str(BOB), "theirs")
    assert waiting.request_id == str(help_request_id(BOB, uuid.UUID(id_of(theirs))))
    (notice,) = await help_queries.notices_of_person(db, ANN, changed_within=timedelta(days=1))
    assert (str(notice.event_id), notice.status) == (id_of(mine), "cancelled")
    await assert_derived(db, keyring)


async def test_the_database_and_the_code_make_the_same_request_ids(db: Any) -> None:
    for _ in range(50):
        person, event_id = uuid.uuid4(), uuid.uuid4()
        made = help_request_id(person, event_id)
        assert (made.version, made.variant) == (8, uuid.RFC_4122)
        assert await db.fetchval("SELECT help_request_id($1, $2)", person, event_id) == made
    # sha256 of 31 zero bytes and a one, first 16 bytes, version and variant set (RFC 9562, 5.8).
    assert help_request_id(uuid.UUID(int=0), uuid.UUID(int=1)) == uuid.UUID("ec4916dd-28fc-8c10-978e-287ca5d9cc51")


async def test_a_duplicate_is_known_months_later_in_another_partition(db: Any, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    sent = [failing(minute, "x") for minute in range(5)]
    await store.apply(sent[:3])
    moment = await make_older(db, 70)
    applied = await store.apply(sent)
    assert (applied.stored, applied.duplicates) == (2, 3)
    assert await db.fetchval("SELECT count(*) FROM events WHERE stored_at = $1", moment) == 3
    assert applied.students["c1"][0].runs == 5
    await assert_derived(db, keyring)


@pytest.mark.parametrize("first_bytes", ["00000000-0000", "ffffffff-ffff"])
async def test_no_id_and_no_clock_of_a_sender_chooses_a_partition(db: Any, keyring: KeyRing, first_bytes: str) -> None:
    wrong = event(
        "heartbeat",
        1,
        event_id=f"{first_bytes}-7000-8000-000000000001",
        data={"queued": 0, "dropped": 0, "visible": True},
    )
    old = StreamRecord(wrong.person_id, "c1", 1, event("notebook_saved", -15_000_000).event)
    assert (await PostgresFactStore(db, keyring).apply([wrong, old])).stored == 2
    (where,) = await db.fetch("SELECT DISTINCT tableoid::regclass::text AS name FROM events")
    assert where["name"] == f"events_{NOW:%Y_%m}"


async def test_a_missing_partition_is_an_outage_and_no_fault_of_the_event(db: Any, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    await store.apply([failing(1, "before")])
    part = await db.fetchval("SELECT tableoid::regclass::text FROM event_payloads")
    await db.execute(f"DROP TABLE {part}")
    with pytest.raises(StoreUnavailable, match="no partition of relation"):
        await store.apply([failing(2, "after")])
    assert await db.fetchval("SELECT count(*) FROM event_keys") == 1
    assert await ensure_event_partitions(db) == [part]
    assert (await store.apply([failing(2, "after")])).stored == 1


async def test_the_shown_text_of_an_error_is_stored_encrypted_with_the_state(db: Any, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    applied = await store.apply([failing(1, "password1")])
    run = applied.students["c1"][0].last_execution
    assert run is not None
    assert run.error == ErrorRef("NameError", "password1")
    again = await store.apply([event("notebook_saved", 2)])
    assert again.students["c1"][0].last_execution == run
    for table in ("student_states", "cell_states", "session_states", "events", "help_requests"):
        for row in await db.fetch(f"SELECT t::text AS row FROM {table} t"):
            assert "password1" not in row["row"]
    shown = await student_queries.student(db, keyring, "c1", ANN)
    assert shown == again.students["c1"][0]
    # Another student's text does not open in this row.
    await store.apply([failing(1, "other", person=BOB)])
    await db.execute(
        "UPDATE student_states SET error_text_enc = (SELECT error_text_enc FROM student_states WHERE person_id = $1) "
        "WHERE person_id = $2",
        BOB,
        ANN,
    )
    states = {state.student_id: state for state in await student_queries.course_students(db, keyring, "c1")}
    shown = states[str(ANN)]
    assert shown.last_execution is not None
    assert shown.last_execution.error == ErrorRef("NameError", "")


async def test_a_successful_run_deletes_the_text_and_a_request_reads_it_from_the_payload(
    db: Any, keyring: KeyRing
) -> None:
    store = PostgresFactStore(db, keyring)
    await store.apply([failing(1, "text of the first")])
    data = {"execution_id": new_event_id(), "status": "ok", "code": "x", "outputs": []}
    where = {"id": "a", "source_id": "a", "index": 0, "type": "code"}
    applied = await store.apply([event("cell_executed", 5, cell=where, data=data)])
    assert applied.students["c1"][0].status == "ok"
    assert await db.fetchval("SELECT error_text_enc FROM student_states") is None
    # Received before the run that succeeded, stored after it.
    (request,) = (await store.apply([event("help_requested", 3)])).help["c1"]
    assert request.error == ErrorRef("NameError", "text of the first")
    # A run of the same class but another text comes before the request.
    (request,) = (await store.apply([failing(2, "text of the second")])).help["c1"]
    assert request.error == ErrorRef("NameError", "text of the second")
    await assert_derived(db, keyring)


async def test_an_event_that_waits_for_a_later_release_keeps_its_payload(db: Any, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    waiting, done = event("cell_moved", 1, cell=None, data={"to": 3}), failing(2, "x")
    await store.apply([waiting, done])
    await make_older(db, 30)
    async with db.acquire() as connection:
        assert len(await delete_payloads(connection, NOW - timedelta(days=7))) == 1
    keys = [(ANN, uuid.UUID(id_of(record))) for record in (waiting, done)]
    assert await event_rows.payloads_of(db, keyring, keys) == {keys[0]: waiting.event}
    assert (await store.apply([waiting, done])).duplicates == 2
    await assert_derived(db, keyring)


async def test_payloads_are_deleted_by_the_week_and_everything_derived_stays_exact(db: Any, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    month = -30 * 24 * 60
    old = [failing(month + minute, "old text") for minute in range(3)]
    await store.apply([*old, event("help_requested", month + 4, data={"message": "old message"})])
    moment = await make_older(db, 30)
    new = failing(20, "new text", person=BOB)
    await store.apply([new])
    async with db.acquire() as connection:
        dropped = await delete_payloads(connection, NOW - timedelta(days=7))
        assert dropped == [f"event_payloads_{moment - timedelta(days=moment.weekday()):%Y_%m_%d}"]
        assert await delete_payloads(connection, NOW - timedelta(days=7)) == []
    await assert_derived(db, keyring)
    page = await student_queries.student_runs(db, keyring, "c1", ANN)
    assert [(run.status, run.content, run.code) for run in page.runs] == [("error", "deleted", "")] * 3
    assert [(run.error.name, run.error.value) for run in page.runs if run.error] == [("NameError", "")] * 3
    (request,) = await help_queries.list_active(db, keyring, "c1")
    assert (request.message, request.error) == (None, ErrorRef("NameError", ""))
    page = await student_queries.student_runs(db, keyring, "c1", BOB)
    assert [(run.content, run.code) for run in page.runs] == [("available", "secret code")]
    # What was deleted is not taken for new, and what is shown has no text any more.
    applied = await store.apply([*old, new])
    assert (applied.stored, applied.duplicates) == (0, 4)
    runs = {state.student_id: state.last_execution for state in applied.students["c1"]}
    texts = {student: run.error.value for student, run in runs.items() if run is not None and run.error is not None}
    assert texts == {str(ANN): "", str(BOB): "new text"}
    # A rebuild does not need it either.
    await db.execute("DELETE FROM cell_states; UPDATE student_states SET fold = '{}'")
    assert (await rebuild(db, keyring, check=False)).repaired > 0
    await assert_derived(db, keyring)
