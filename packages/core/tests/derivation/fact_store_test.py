"""PostgresFactStore on a real PostgreSQL: exact under duplicates, shuffles, concurrency and poison."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg
import msgspec
import pytest

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.facts import read_event
from cell_monitor_core.derivation.help import HelpAlreadyClaimed, HelpClosed, help_request_id
from cell_monitor_core.derivation.records import fold_all
from cell_monitor_core.derivation.shown_state import student_state
from cell_monitor_core.publications import CellRef, ErrorRef, StudentState
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import course_counters, help_queries, pool
from cell_monitor_core.storage.postgres.event_rows import PAYLOAD, payload_row
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.help_actions import HelpNotFound, apply_help_action
from cell_monitor_core.storage.postgres.rebuild import rebuild

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Traffic = Callable[..., list[StreamRecord]]
PERSON = uuid.UUID(int=7)
STAFF = uuid.UUID(int=8)
BEAT = {"queued": 0, "dropped": 0, "visible": True}
NOW = int(datetime.now(UTC).timestamp() * 1000)


def record(
    kind: str,
    at: int,
    *,
    person: uuid.UUID = PERSON,
    course: str = "c1",
    test_id: str | None = None,
    received_at: int = NOW,
    **fields: Any,
) -> StreamRecord:
    """An event ``at`` seconds after a fixed moment."""
    moment = NOW - 3_600_000 + at * 1000
    event_id = fields.pop("event_id", None) or event_id_at(at)
    event = {
        "event_id": event_id,
        "type": kind,
        "schema_version": 1,
        "occurred_at": datetime.fromtimestamp(moment / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "session_id": str(uuid.UUID(int=1)),
        "seq": max(at, 1),
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "data": {},
        **fields,
    }
    return StreamRecord(person.bytes, course, received_at, json.dumps(event).encode(), test_id)


def event_id_at(at: int) -> str:
    return f"01a20c76-ce4a-7000-8000-{at:012x}"


def request_at(at: int, person: uuid.UUID = PERSON) -> uuid.UUID:
    """The id that the server gives to a student's request."""
    return help_request_id(person, uuid.UUID(event_id_at(at)))


def run(at: int, status: str, *, cell: str = "a", error: str = "NameError", **fields: Any) -> StreamRecord:
    data: dict[str, Any] = {"execution_id": event_id_at(at), "status": status, "code": "x", "outputs": []}
    if status == "error":
        data["error"] = {"name": error, "value": "", "traceback": ""}
    where = {"id": cell, "source_id": cell, "index": 0, "type": "code"}
    return record("cell_executed", at, cell=where, data=data, **fields)


def batches(records: list[StreamRecord], size: int) -> list[list[StreamRecord]]:
    return [records[start : start + size] for start in range(0, len(records), size)]


def expected_states(records: list[StreamRecord]) -> dict[str, StudentState]:
    """What one sorted pass over each student's facts gives; help comes from elsewhere."""
    facts: dict[uuid.UUID, dict[str, Any]] = {}
    received: dict[uuid.UUID, int] = {}
    for each in records:
        fact = read_event(each.event, each.received_at).fact
        person = uuid.UUID(bytes=each.person_id)
        facts.setdefault(person, {})[fact.id] = fact
        received[person] = max(received.get(person, 0), each.received_at)
    return {
        str(person): student_state(str(person), 0, fold_all(found.values(), last_received_at=received[person]).fold)
        for person, found in facts.items()
    }


async def shown(db: Pool) -> dict[str, StudentState]:
    rows = await db.fetch("SELECT state::text FROM student_states")
    found = [msgspec.json.decode(row["state"], type=StudentState) for row in rows]
    return {state.student_id: msgspec.structs.replace(state, version=0, help=None) for state in found}


async def assert_rebuild_finds_nothing(db: Pool, keyring: KeyRing) -> None:
    report = await rebuild(db, keyring, check=True)
    assert report.differences == []
    assert report.students > 0


async def test_shuffled_and_five_times_sent_is_stored_once_and_derived_exactly(
    db: Pool, keyring: KeyRing, traffic: Traffic
) -> None:
    records = traffic(students=6, events=1500)
    sent = records * 5
    random.Random(3).shuffle(sent)
    store = PostgresFactStore(db, keyring)
    stored = duplicates = 0
    for batch in batches(sent, 311):
        applied = await store.apply(batch)
        assert applied.failed == []
        stored += applied.stored
        duplicates += applied.duplicates
    assert (stored, duplicates) == (len(records), 4 * len(records))
    assert await db.fetchval("SELECT count(*) FROM events") == len(records)
    assert await shown(db) == expected_states(records)
    await assert_rebuild_finds_nothing(db, keyring)


async def test_two_workers_on_the_same_students_at_once_lose_nothing(
    db: Pool, keyring: KeyRing, traffic: Traffic
) -> None:
    records = traffic(students=4, events=1200)
    halves: list[list[StreamRecord]] = []
    for seed in (1, 2, 3):
        some = random.Random(seed).sample(records, len(records))
        halves.append(some)

    async def work(share: list[StreamRecord]) -> int:
        store = PostgresFactStore(db, keyring)
        return sum([(await store.apply(batch)).stored for batch in batches(share, 97)])

    assert sum(await asyncio.gather(*map(work, halves))) == len(records)
    assert await shown(db) == expected_states(records)
    await assert_rebuild_finds_nothing(db, keyring)


async def test_a_duplicate_answers_with_the_state_that_its_first_copy_made(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    asked = record("help_requested", 2, data={"message": "why?"})
    first = await store.apply([run(1, "error"), asked])
    again = await store.apply([run(1, "error"), asked])
    assert (again.stored, again.duplicates) == (0, 2)
    assert again.students == first.students
    assert again.help == first.help
    (version,) = await db.fetchrow("SELECT version FROM student_states")
    assert again.students["c1"][0].version == version


async def test_versions_grow_only_when_what_is_shown_changes(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    first = (await store.apply([record("notebook_saved", 5)])).students["c1"][0].version
    state = (await store.apply([record("heartbeat", 4, data=BEAT)])).students["c1"][0]
    assert (state.version, state.missing) == (first + 1, 3)
    # The next in the sequence, and no activity: only the fold changes.
    state = (await store.apply([record("heartbeat", 6, data=BEAT)])).students["c1"][0]
    assert (state.version, state.missing) == (first + 1, 3)


async def test_heartbeats_keep_a_student_in_sight_at_one_publication_a_minute(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    minute = NOW - NOW % 60_000
    made = [record("session_started", 1, data={"client": {"extension_version": "1"}}, received_at=minute)]
    made += [record("heartbeat", at, data=BEAT, received_at=minute + at * 15_000) for at in range(2, 12)]
    shown = [(await store.apply([each])).students["c1"][0] for each in made]
    assert [state.last_seen_at for state in shown] == [
        datetime.fromtimestamp((minute + step * 60_000) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        for step in (0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
    ]
    assert len({state.version for state in shown}) == 3
    # The browser crashed: nobody ended the session, and nothing comes any more.
    assert shown[-1].sessions_open == 1
    assert shown[-1].last_activity_at != shown[-1].last_seen_at
    await assert_rebuild_finds_nothing(db, keyring)


async def test_a_students_wrong_clock_does_not_say_when_they_were_seen(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    # By the student's clock these are an hour old; what was queued longest comes last.
    await store.apply([record("heartbeat", 2, data=BEAT, received_at=NOW)])
    applied = await store.apply([record("heartbeat", 9, data=BEAT, received_at=NOW - 600_000)])
    seen = datetime.fromisoformat(applied.students["c1"][0].last_seen_at or "").timestamp() * 1000
    assert 0 <= NOW - seen < 60_000
    await assert_rebuild_finds_nothing(db, keyring)


async def test_an_invalid_record_fails_and_the_others_are_stored(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    # A value that PostgreSQL's index cannot hold would need a codec without bounds; a lone surrogate gets as far.
    bad_person = StreamRecord(b"short", "c1", NOW, run(2, "ok").event)
    not_json = StreamRecord(PERSON.bytes, "c1", NOW, b"{")
    no_course = run(3, "ok", course="nowhere")
    good = [run(at, "ok") for at in range(10, 20)]
    applied = await store.apply([*good[:5], bad_person, not_json, no_course, *good[5:]])
    assert (applied.stored, applied.discarded) == (10, 1)
    assert [(bad, reason.partition(":")[0]) for bad, reason in applied.failed] == [
        (bad_person, "invalid_event"),
        (not_json, "invalid_event"),
    ]
    assert applied.students["c1"][0].runs == 10


async def test_a_row_that_postgresql_refuses_is_isolated_by_halving(db: Pool, keyring: KeyRing) -> None:
    await db.execute("ALTER TABLE events ADD CONSTRAINT no_unlucky CHECK (cell_id <> 'unlucky')")
    store = PostgresFactStore(db, keyring)
    records = [run(at, "error", cell="unlucky" if at in {13, 50} else "a") for at in range(1, 101)]
    applied = await store.apply(records)
    assert applied.stored == 98
    assert [reason.partition(":")[0] for _, reason in applied.failed] == ["data_error", "data_error"]
    assert applied.students["c1"][0].error_streak == 98
    await assert_rebuild_finds_nothing(db, keyring)


async def test_escaped_nul_is_stored_and_the_payload_stays_as_sent(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    sent = run(1, "error", error="Na\x00me", notebook={"id": "n\x001", "path": "p\x00"})
    applied = await store.apply([sent])
    assert applied.failed == []
    row = await db.fetchrow(
        "SELECT event_id, error_name, payload_enc FROM events JOIN event_payloads USING (person_id, event_id)"
    )
    assert row is not None
    assert row["error_name"] == "Na\ufffdme"
    key = payload_row(PERSON, row["event_id"])
    assert keyring.decrypt(row["payload_enc"], context=PAYLOAD, row=key) == sent.event
    # Long enough that encrypted bytes do not hold it by chance.
    assert sent.event[:16] not in row["payload_enc"]


async def test_test_events_are_stored_but_count_nowhere(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    applied = await store.apply([run(1, "error", course="", test_id="t1"), run(2, "error", test_id="t1")])
    assert (applied.stored, applied.students, applied.failed) == (2, {}, [])
    assert await db.fetchval("SELECT count(*) FROM events WHERE test_id = 't1'") == 2
    await store.apply([run(3, "error"), run(0, "error")])
    assert (await shown(db))[str(PERSON)].error_streak == 2
    await assert_rebuild_finds_nothing(db, keyring)


async def test_a_batch_takes_as_many_statements_for_fifty_students_as_for_one(
    db: Pool, keyring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = 0

    def counted(name: str) -> None:
        method = getattr(asyncpg.Connection, name)

        async def count(*arguments: Any, **options: Any) -> Any:
            nonlocal statements
            statements += 1
            return await method(*arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, name, count)

    store = PostgresFactStore(db, keyring)
    await store.apply([record("heartbeat", 0, data=BEAT)])
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        counted(name)
    taken = []
    for people in (range(10, 11), range(20, 70)):
        statements = 0
        batch = []
        for person in map(uuid.UUID, (f"{number:032x}" for number in people)):
            batch += [run(at, "error", cell=cell, person=person) for at, cell in ((1, "a"), (2, "b"), (3, "a"))]
            batch += [record("help_requested", 4, person=person), record("heartbeat", 5, person=person, data=BEAT)]
        assert (await store.apply(batch)).stored == len(batch)
        taken.append(statements)
    assert taken[0] == taken[1]


async def test_a_batch_within_itself_repeated_counts_once(db: Pool, keyring: KeyRing) -> None:
    applied = await PostgresFactStore(db, keyring).apply([run(1, "error")] * 7)
    assert (applied.stored, applied.duplicates) == (1, 6)
    assert applied.students["c1"][0].error_streak == 1


async def test_a_course_deleted_and_created_again_accepts_its_events(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    await store.apply([run(1, "ok")])
    await db.execute("DELETE FROM courses WHERE course_id = 'c1'")
    applied = await store.apply([run(2, "ok"), run(3, "ok", course="c2")])
    # Among the failed ones it would outlive the course.
    assert (applied.stored, applied.discarded, applied.failed) == (1, 1, [])
    await db.execute("INSERT INTO courses (course_id, title) VALUES ('c1', 'again')")
    assert (await store.apply([run(2, "ok")])).stored == 1


async def test_nothing_is_stored_of_somebody_who_does_not_exist_any_more(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    await store.apply([run(1, "ok"), run(2, "ok", person=STAFF)])
    await db.execute("DELETE FROM people WHERE person_id = $1", PERSON)
    applied = await store.apply([run(3, "ok"), run(4, "ok", person=STAFF)])
    assert (applied.stored, applied.discarded, applied.failed) == (1, 1, [])
    assert [state.student_id for state in applied.students["c1"]] == [str(STAFF)]
    assert await db.fetchval("SELECT count(*) FROM student_states WHERE person_id = $1", PERSON) == 0


async def test_without_postgresql_nothing_is_said_to_be_stored(db: Pool, keyring: KeyRing, database: str) -> None:
    other = await pool.create_pool(database, application_name="other")
    store = PostgresFactStore(other, keyring)
    await store.apply([run(1, "ok")])
    await other.close()
    with pytest.raises(StoreUnavailable):
        await store.apply([run(2, "ok")])


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        (lambda: run(5, "ok"), {"c1"}),
        (lambda: run(5, "error"), {"c1"}),
        (lambda: run(1, "ok"), set()),
        (lambda: record("heartbeat", 5, data=BEAT), set()),
        (lambda: record("cell_selected", 5, cell={"id": "a", "source_id": "a", "index": 0, "type": "code"}), set()),
        (lambda: record("help_requested", 5), {"c1"}),
    ],
    ids=["run", "failed run", "duplicate", "heartbeat", "selection", "help request"],
)
async def test_a_batch_names_a_course_only_if_a_counter_changed(
    db: Pool, keyring: KeyRing, event: Callable[[], StreamRecord], counted: set[str]
) -> None:
    store = PostgresFactStore(db, keyring)
    assert (await store.apply([run(1, "ok")])).counted == {"c1"}
    assert (await store.apply([event()])).counted == counted


async def test_course_counters_sum_the_enrolled_students(db: Pool, keyring: KeyRing) -> None:
    await db.execute("DELETE FROM memberships")
    for number, role in ((1, "student"), (2, "student"), (3, "instructor")):
        person = uuid.UUID(int=number)
        await db.execute("INSERT INTO memberships VALUES ('c1', $1, $2)", person, role)
    store = PostgresFactStore(db, keyring)
    applied = await store.apply(
        [
            run(1, "error", person=uuid.UUID(int=1)),
            run(2, "ok", person=uuid.UUID(int=3)),
            record("help_requested", 8, person=uuid.UUID(int=1)),
            record("help_requested", 9, person=uuid.UUID(int=4)),
        ]
    )
    # Nobody is shown anything of the instructor's own runs, or of somebody who is not in the course.
    assert [state.student_id for state in applied.students["c1"]] == [str(uuid.UUID(int=1))]
    assert [state.student_id for state in applied.help["c1"]] == [str(uuid.UUID(int=1))]
    async with db.acquire() as connection:
        (course,) = await course_counters.refresh_courses(connection, ["c1"])
    assert (course.students, course.started, course.runs, course.errors, course.help_open) == (2, 1, 1, 1, 1)
    async with db.acquire() as connection:
        (unchanged,) = await course_counters.refresh_courses(connection, ["c1", "unknown"])
    assert unchanged == course
    await store.apply([run(4, "error", person=uuid.UUID(int=2))])
    async with db.acquire() as connection:
        (later,) = await course_counters.refresh_courses(connection, ["c1"])
    assert later == msgspec.structs.replace(course, version=course.version + 1, started=2, runs=2, errors=2)
    assert list(await course_counters.recent_courses(db, 60)) == ["c1"]


class TestHelp:
    """Requests, cancellations and actions in any order."""

    async def test_a_cancellation_may_overtake_its_request(self, db: Pool, keyring: KeyRing) -> None:
        store = PostgresFactStore(db, keyring)
        asked = record("help_requested", 1, data={"message": "why?"})
        cancelled = record("help_cancelled", 2, data={"request_id": event_id_at(1)}, received_at=NOW + 1000)
        assert (await store.apply([cancelled])).help == {}
        applied = await store.apply([asked])
        (request,) = applied.help["c1"]
        assert (request.status, request.message, request.requested_at < (request.closed_at or "")) == (
            "cancelled", "why?", True
        )  # fmt: skip
        assert applied.students["c1"][0].help is None
        await assert_rebuild_finds_nothing(db, keyring)

    async def test_nobody_cancels_a_strangers_request(self, db: Pool, keyring: KeyRing) -> None:
        store = PostgresFactStore(db, keyring)
        stranger = record("help_cancelled", 2, person=uuid.UUID(int=99), data={"request_id": event_id_at(1)})
        early = record("help_cancelled", 3, person=uuid.UUID(int=98), data={"request_id": event_id_at(1)})
        await store.apply([early])
        await store.apply([record("help_requested", 1)])
        applied = await store.apply([stranger])
        assert applied.help == {}
        assert await db.fetchval("SELECT status FROM help_requests") == "open"
        await assert_rebuild_finds_nothing(db, keyring)

    async def test_the_error_shown_is_that_of_the_run_before_even_if_it_arrives_later(
        self, db: Pool, keyring: KeyRing
    ) -> None:
        store = PostgresFactStore(db, keyring)
        first = await store.apply([run(1, "error", error="KeyError"), record("help_requested", 5)])
        (before,) = first.help["c1"]
        assert before.error == ErrorRef("KeyError")
        await store.apply([run(6, "error", error="TooLate")])
        await store.apply([run(4, "error", error="TypeError"), run(2, "aborted")])
        (request,) = (await store.apply([record("help_requested", 5)])).help["c1"]
        assert (request.error, request.version) == (ErrorRef("TypeError"), before.version + 1)
        await assert_rebuild_finds_nothing(db, keyring)

    async def test_a_late_run_reports_the_request_that_it_changed_and_repeats_it(
        self, db: Pool, keyring: KeyRing
    ) -> None:
        store = PostgresFactStore(db, keyring)
        asked = await store.apply([run(1, "error", error="KeyError"), record("help_requested", 5)])
        late = run(4, "error", error="TypeError")
        first = await store.apply([late])
        (request,) = first.help["c1"]
        assert (request.error, request.version) == (ErrorRef("TypeError"), asked.help["c1"][0].version + 1)
        # The worker that committed it may have died before it could publish.
        assert (await store.apply([late])).help == first.help
        # A stranger's cancellation in the same batch does not hide it.
        stranger = record("help_cancelled", 6, person=uuid.UUID(int=99), data={"request_id": event_id_at(5)})
        assert (await store.apply([late, stranger])).help == first.help
        assert (await store.apply([run(7, "error")])).help == {}

    async def test_claim_release_resolve_and_what_they_refuse(self, db: Pool, keyring: KeyRing) -> None:
        store = PostgresFactStore(db, keyring)
        (asked,) = (await store.apply([record("help_requested", 1)])).help["c1"]
        request_id = request_at(1)

        async def act(action: Any, person: uuid.UUID = STAFF, course: str = "c1"):
            return await apply_help_action(
                db, keyring, course_id=course, request_id=request_id, action=action, person_id=person
            )

        request, student = await act("claim")
        assert (request.status, request.claimed_by, request.version) == ("claimed", str(STAFF), asked.version + 1)
        assert student.help is not None
        assert (student.help.status, student.help.claimed_by) == ("claimed", str(STAFF))
        assert await act("claim") == (request, student)
        with pytest.raises(HelpAlreadyClaimed) as caught:
            await act("claim", uuid.UUID(int=9))
        assert caught.value.by == STAFF
        with pytest.raises(HelpNotFound):
            await act("claim", course="c2")
        request, student = await act("release")
        assert (request.status, request.claimed_by) == ("open", None)
        assert await act("release") == (request, student)
        request, student = await act("resolve")
        assert (request.status, request.resolved_by, student.help) == ("resolved", str(STAFF), None)
        assert await act("resolve") == (request, student)
        for action in ("claim", "release"):
            with pytest.raises(HelpClosed):
                await act(action)
        # Help was given, whatever the student clicks afterwards.
        await store.apply([record("help_cancelled", 9, data={"request_id": event_id_at(1)})])
        assert await db.fetchval("SELECT status FROM help_requests") == "resolved"
        await assert_rebuild_finds_nothing(db, keyring)

    async def test_of_two_who_claim_at_once_one_wins(self, db: Pool, keyring: KeyRing) -> None:
        await PostgresFactStore(db, keyring).apply([record("help_requested", 1)])
        answers = await asyncio.gather(
            *(
                apply_help_action(
                    db,
                    keyring,
                    course_id="c1",
                    request_id=request_at(1),
                    action="claim",
                    person_id=uuid.UUID(int=number),
                )
                for number in (1, 2, 3)
            ),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == [
            "HelpAlreadyClaimed", "HelpAlreadyClaimed", "tuple"
        ]  # fmt: skip

    async def test_however_many_requests_a_student_sends_staff_see_one(self, db: Pool, keyring: KeyRing) -> None:
        store = PostgresFactStore(db, keyring)
        (first,) = (await store.apply([record("help_requested", 1)])).help["c1"]
        flood = [record("help_requested", at) for at in range(2, 102)]
        random.Random(5).shuffle(flood)
        applied = await store.apply(flood)
        newest = str(request_at(101))
        (waiting,) = await help_queries.list_active(db, keyring, "c1")
        assert waiting.request_id == newest
        help_ref = applied.students["c1"][0].help
        assert help_ref is not None
        assert help_ref.request_id == newest
        # Only the request that is shown and the one that replaces it are published, not a hundred.
        assert [(each.request_id, each.status) for each in applied.help["c1"]] == [
            (first.request_id, "cancelled"), (newest, "open")
        ]  # fmt: skip
        # The worker that committed them may have died before it could publish.
        again = await store.apply([record("help_requested", 101)])
        assert {each.request_id: each.status for each in again.help["c1"]}[newest] == "open"
        await assert_rebuild_finds_nothing(db, keyring)

    async def test_a_request_that_took_anothers_place_is_the_only_one_to_end(self, db: Pool, keyring: KeyRing) -> None:
        store = PostgresFactStore(db, keyring)
        await store.apply([record("help_requested", 1)])
        await store.apply([record("help_requested", 2)])
        with pytest.raises(HelpClosed):
            await apply_help_action(
                db, keyring, course_id="c1", request_id=request_at(1), action="claim", person_id=STAFF
            )
        applied = await store.apply([record("help_cancelled", 3, data={"request_id": event_id_at(2)})])
        assert applied.students["c1"][0].help is None
        await store.apply([record("help_requested", 4)])
        await store.apply([record("help_requested", 5)])
        _, student = await apply_help_action(
            db, keyring, course_id="c1", request_id=request_at(5), action="resolve", person_id=STAFF
        )
        assert student.help is None
        assert await help_queries.list_active(db, keyring, "c1") == []
        # Help was given: a later request leaves what was resolved as it is.
        await store.apply([record("help_requested", 6)])
        assert await db.fetchval("SELECT status FROM help_requests WHERE request_id = $1", request_at(5)) == "resolved"
        await assert_rebuild_finds_nothing(db, keyring)

    async def test_requests_in_any_order_repetition_and_split_leave_the_same_rows(
        self, db: Pool, keyring: KeyRing
    ) -> None:
        outcomes = set()
        for seed in range(12):
            pick = random.Random(11)
            made = [
                record(
                    "help_requested",
                    at,
                    received_at=NOW + pick.randrange(5) * 1000,
                    person=uuid.UUID(int=at % 2),
                    # Of two computers each: within a session the numbers alone decide.
                    session_id=str(uuid.UUID(int=at)),
                )
                for at in range(1, 17)
            ]
            made += [
                record(
                    "help_cancelled",
                    50 + at,
                    person=uuid.UUID(int=at % 2),
                    data={"request_id": event_id_at(at)},
                    session_id=str(uuid.UUID(int=50 + at)),
                )
                for at in pick.sample(range(1, 17), 5)
            ]
            sent = made + pick.sample(made, 8)
            shuffle = random.Random(seed)
            shuffle.shuffle(sent)
            await db.execute(
                "TRUNCATE event_keys, events, event_payloads, student_states, session_states, help_requests"
            )
            store = PostgresFactStore(db, keyring)
            while sent:
                size = shuffle.randint(1, len(sent))
                await store.apply(sent[:size])
                sent = sent[size:]
            rows = await db.fetch(
                "SELECT request_id, person_id, status, requested_at, cancelled_at FROM help_requests ORDER BY 1"
            )
            outcomes.add(tuple(map(tuple, rows)))
            waiting = [row["person_id"] for row in rows if row["status"] == "open"]
            assert len(waiting) == len(set(waiting))
            await assert_rebuild_finds_nothing(db, keyring)
        assert len(outcomes) == 1

    async def test_a_clock_that_was_ahead_does_not_swallow_the_requests_after_it(
        self, db: Pool, keyring: KeyRing
    ) -> None:
        store = PostgresFactStore(db, keyring)
        ahead = record("help_requested", 40_000, received_at=NOW)
        await store.apply([ahead, record("help_cancelled", 40_001, data={"request_id": event_id_at(40_000)})])
        applied = await store.apply([record("help_requested", 1, received_at=NOW + 60_000)])
        help_ref = applied.students["c1"][0].help
        assert help_ref is not None
        assert help_ref.request_id == str(request_at(1))
        await assert_rebuild_finds_nothing(db, keyring)


async def test_a_death_of_the_kernel_that_arrives_late_counts_for_its_cell(db: Pool, keyring: KeyRing) -> None:
    cell = {"id": "a", "source_id": "a", "index": 0, "type": "code"}

    def death(at: int) -> StreamRecord:
        return record("kernel_restarted", at, cell=cell, data={"reason": "auto", "running": True})

    store = PostgresFactStore(db, keyring)
    await store.apply([run(1, "ok"), run(3, "aborted"), death(4), run(5, "aborted"), death(6)])
    # The first of three arrives last; a restart by the student, who was in the same cell, is none.
    await store.apply([death(2), record("kernel_restarted", 7, cell=cell, data={"reason": "user"})])
    [state] = (await shown(db)).values()
    assert state.kernel_deaths is not None
    assert (state.kernel_deaths.count, state.kernel_deaths.cell) == (3, CellRef("a", 0))
    await assert_rebuild_finds_nothing(db, keyring)
    # And one that is older than a run that ended by itself counts no more.
    await store.apply([run(9, "error")])
    await store.apply([death(8)])
    assert (await shown(db))[state.student_id].kernel_deaths is None
    await assert_rebuild_finds_nothing(db, keyring)


async def test_rebuild_finds_and_corrects_every_changed_state(db: Pool, keyring: KeyRing, traffic: Traffic) -> None:
    store = PostgresFactStore(db, keyring)
    records = traffic(students=3, events=400)
    await store.apply(records)
    await store.apply([record("help_requested", 1, data={"message": "why?"})])
    before = await shown(db)
    for damage in (
        "UPDATE student_states SET state = state || '{\"runs\": 1}' WHERE person_id = (SELECT min(person_id::text)::uuid FROM student_states)",
        "UPDATE student_states SET fold = fold || '{\"missing\": 3}'",
        "UPDATE student_states SET fold = '{\"runs\": \"none\"}', state = '{}'",
        "DELETE FROM cell_states WHERE cell_id = 'exercise-1'",
        "INSERT INTO cell_states SELECT course_id, person_id, 'n', 'stray', fold FROM cell_states LIMIT 1",
        "UPDATE session_states SET fold = '{\"stored\": 1}'",
        "UPDATE help_requests SET status = 'resolved'",
        "DELETE FROM student_states",
    ):
        await db.execute(damage)
        found = await rebuild(db, keyring, check=True)
        assert found.difference_count > 0, damage
        assert found.repaired == 0
        progress: list[tuple[int, int]] = []

        def note(done: int, total: int, seen: list[tuple[int, int]] = progress) -> None:
            seen.append((done, total))

        corrected = await rebuild(db, keyring, check=False, course_id="c1", on_progress=note)
        assert corrected.repaired > 0, damage
        assert progress[-1][0] == progress[-1][1]
        await assert_rebuild_finds_nothing(db, keyring)
        assert await shown(db) == before
    versions = await db.fetch("SELECT version, state->>'version' AS shown FROM student_states")
    assert all(str(row["version"]) == row["shown"] for row in versions)
