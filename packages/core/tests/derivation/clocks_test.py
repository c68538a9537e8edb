"""Hazard: a student's clock decides what staff see. On a real PostgreSQL, from the stream's records to the shown state."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.events.waits import MAX_WAIT_MS
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import help_queries, student_states
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.rebuild import rebuild

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
ANN, BOB = uuid.UUID(int=7), uuid.UUID(int=9)
NOW = int(datetime.now(UTC).timestamp() * 1000)
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CLOCKS = (0, 10 * HOUR, -10 * HOUR, 2 * DAY, -2000 * DAY, -(NOW + 5 * DAY), 7000 * 365 * DAY)
"""How far a computer's clock is ahead: right, hours and days off, before 1970, and in the year 9,000."""
CLOCK_NAMES = ("right", "ahead-10-h", "behind-10-h", "ahead-2-days", "behind-2000-days", "before-1970", "in-9000")


@dataclass
class Session:
    """One notebook's session on a computer with a clock of its own, which the test may set."""

    person: uuid.UUID = ANN
    clock: int = 0
    seq: int = 0

    def __post_init__(self) -> None:
        self.id = str(uuid.uuid4())

    def event(self, kind: str, received: int, *, waited: int = 0, **fields: Any) -> StreamRecord:
        self.seq += 1
        occurred = datetime(1970, 1, 1) + timedelta(milliseconds=received - waited + self.clock)  # noqa: DTZ001 - any year
        event = {
            "event_id": new_event_id(),
            "type": kind,
            "schema_version": 1,
            "occurred_at": occurred.isoformat(timespec="milliseconds") + "Z",
            "session_id": self.id,
            "seq": self.seq,
            "notebook": {"id": "n1", "path": "n1.ipynb"},
            "data": {},
            **fields,
        }
        return StreamRecord(self.person.bytes, "c1", received, json.dumps(event).encode(), waited_ms=waited)

    def run(self, status: str, received: int, **fields: Any) -> list[StreamRecord]:
        execution = str(uuid.uuid4())
        cell = {"id": "a", "source_id": "a", "index": 0, "type": "code"}
        data: dict[str, Any] = {"execution_id": execution, "status": status, "code": "x", "outputs": []}
        if status == "error":
            data["error"] = {"name": "NameError", "value": "v", "traceback": ""}
        return [
            self.event("cell_execution_started", received, cell=cell, data={"execution_id": execution}, **fields),
            self.event("cell_executed", received, cell=cell, data=data, **fields),
        ]


async def shown(db: Pool, keyring: KeyRing, person: uuid.UUID = ANN) -> StudentState:
    rows = await db.fetch(
        "SELECT state::text AS state, version, person_id, course_id, error_text_enc FROM student_states"
    )
    (row,) = [row for row in rows if row["person_id"] == person]
    return student_states.shown_state(keyring, row)


async def assert_rebuild_finds_nothing(db: Pool, keyring: KeyRing) -> None:
    assert (await rebuild(db, keyring, check=True)).differences == []


def ms(text: str | None) -> int:
    assert text is not None
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize("clock", CLOCKS, ids=CLOCK_NAMES)
async def test_runs_after_a_clock_was_set_right_are_the_newest(db: Pool, keyring: KeyRing, clock: int) -> None:
    store = PostgresFactStore(db, keyring)
    wrong, right = Session(clock=clock), Session()
    for minute in range(3):
        await store.apply(wrong.run("error", NOW + minute * MINUTE))
    assert (await shown(db, keyring)).error_streak == 3
    applied = await store.apply([*right.run("ok", NOW + 3 * MINUTE), *right.run("ok", NOW + 4 * MINUTE)])
    assert applied.failed == []
    state = await shown(db, keyring)
    assert (state.status, state.error_streak, state.runs) == ("ok", 0, 5)
    assert state.last_execution is not None
    assert (ms(state.last_execution.at), ms(state.last_activity_at)) == (NOW + 4 * MINUTE, NOW + 4 * MINUTE)
    await assert_rebuild_finds_nothing(db, keyring)


async def test_a_clock_that_jumps_back_and_forth_in_a_session_changes_nothing(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    session = Session()
    statuses = ["error", "ok", "error", "error", "ok", "error", "error"]
    for minute, (clock, status) in enumerate(zip(CLOCKS, statuses, strict=True)):
        # Set between two runs, by hand, by a time server or for the summer.
        session.clock = clock
        await store.apply(session.run(status, NOW + minute * MINUTE))
    state = await shown(db, keyring)
    assert (state.status, state.error_streak, state.missing) == ("error", 2, 0)
    assert ms(state.streak_since) == NOW + 5 * MINUTE
    await assert_rebuild_finds_nothing(db, keyring)


async def test_an_event_that_comes_after_later_ones_of_its_session_does_not_become_the_newest(
    db: Pool, keyring: KeyRing
) -> None:
    store = PostgresFactStore(db, keyring)
    session = Session()
    early, lost, late = (session.run(status, NOW) for status in ("error", "error", "ok"))
    await store.apply(early)
    await store.apply(late)
    again = [record.__class__(record.person_id, "c1", NOW + HOUR, record.event) for record in lost]
    await store.apply(again)
    state = await shown(db, keyring)
    assert (state.status, state.error_streak, state.errors) == ("ok", 0, 2)
    assert ms(state.last_activity_at) <= NOW
    await assert_rebuild_finds_nothing(db, keyring)


async def test_the_queue_is_in_the_order_of_receipt_and_no_wait_is_longer_than_the_session(
    db: Pool, keyring: KeyRing
) -> None:
    store = PostgresFactStore(db, keyring)
    honest, claiming = Session(ANN), Session(BOB, clock=-20 * MINUTE)
    await store.apply([honest.event("session_started", NOW - HOUR, data={"client": {"extension_version": "1"}})])
    await store.apply([honest.event("help_requested", NOW, waited=20 * MINUTE)])
    await store.apply([claiming.event("help_requested", NOW + MINUTE, waited=MAX_WAIT_MS)])
    first, second = await help_queries.list_active(db, keyring, "c1")
    assert [first.student_id, second.student_id] == [str(ANN), str(BOB)]
    # It waited in a spool while the API was unavailable, and does not read as new.
    assert (ms(first.requested_at), ms(first.received_at)) == (NOW - 20 * MINUTE, NOW)
    assert (ms(second.requested_at), ms(second.received_at)) == (NOW + MINUTE, NOW + MINUTE)
    await assert_rebuild_finds_nothing(db, keyring)


async def test_a_claimed_wait_does_not_jump_the_queue(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    claiming = Session(BOB)
    await store.apply([claiming.event("session_started", NOW - HOUR, data={"client": {"extension_version": "1"}})])
    await store.apply([Session(ANN).event("help_requested", NOW)])
    await store.apply([claiming.event("help_requested", NOW + MINUTE, waited=50 * MINUTE)])
    queue: list[HelpState] = await help_queries.list_active(db, keyring, "c1")
    assert [request.student_id for request in queue] == [str(ANN), str(BOB)]
    assert ms(queue[1].requested_at) < ms(queue[0].requested_at)


async def test_a_later_request_replaces_the_one_before_whatever_the_clocks_say(db: Pool, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    session = Session(clock=10 * HOUR)
    await store.apply([session.event("help_requested", NOW)])
    session.clock = -10 * HOUR
    await store.apply([session.event("help_requested", NOW + MINUTE)])
    (request,) = await help_queries.list_active(db, keyring, "c1")
    assert ms(request.requested_at) == NOW + MINUTE
    await assert_rebuild_finds_nothing(db, keyring)


@pytest.mark.parametrize("seed", range(6))
async def test_no_clock_claim_order_repetition_or_split_breaks_what_derives(
    db: Pool, keyring: KeyRing, seed: int
) -> None:
    pick = random.Random(seed)
    sessions = [Session(pick.choice((ANN, BOB))) for _ in range(4)]
    records: list[StreamRecord] = []
    for step in range(60):
        session = pick.choice(sessions)
        session.clock = pick.choice(CLOCKS)
        at, waited = NOW + step * 1000, pick.choice((0, 0, 700, HOUR, MAX_WAIT_MS))
        kind = pick.choice(("run", "run", "help_requested", "cell_edited", "kernel_died", "session_ended"))
        if kind == "run":
            records += session.run(pick.choice(("ok", "error", "aborted")), at, waited=waited)
        elif kind == "cell_edited":
            where = {"id": "a", "source_id": "a", "index": 0, "type": "code"}
            records.append(session.event(kind, at, waited=waited, cell=where, data={"length": 1}))
        elif kind == "session_ended":
            records.append(session.event(kind, at, waited=waited, data={"reason": "closed"}))
        else:
            records.append(session.event(kind, at, waited=waited))
    sent = records + pick.sample(records, 30)
    pick.shuffle(sent)
    store = PostgresFactStore(db, keyring)
    while sent:
        size = pick.randint(1, 30)
        assert (await store.apply(sent[:size])).failed == []
        sent = sent[size:]
    await assert_rebuild_finds_nothing(db, keyring)
    rows = await db.fetch(
        "SELECT session_id, seq, happened_at, received_at FROM events ORDER BY happened_at, seq, event_id"
    )
    assert len(rows) == len(records)
    for session in sessions:
        assert [row["seq"] for row in rows if str(row["session_id"]) == session.id] == list(range(1, session.seq + 1))
    first, last = (datetime.fromtimestamp(at / 1000, UTC) for at in (NOW, NOW + 60_000))
    assert all(first <= row["happened_at"] <= last for row in rows)
