"""Hazards: a request never ends after class; one ends though its student is there, or twice; staff see what is not so."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.derivation.help import (
    EXPIRES_AFTER,
    HelpAction,
    HelpClosed,
    help_outcome,
    help_request_id,
)
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.publications import HelpState
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import courses, help_queries, student_queries
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.help_actions import apply_help_action
from cell_monitor_core.storage.postgres.help_expiry import due_requests, expire_request
from cell_monitor_core.storage.postgres.rebuild import rebuild

ANN, BOB, TUTOR = uuid.UUID(int=7), uuid.UUID(int=8), uuid.UUID(int=9)
NOW = datetime.now(UTC)
OFFLINE = timedelta(seconds=Thresholds().offline_s)
# A request is due this long after its student's last event. The margin is more than these tests take.
DUE = OFFLINE + EXPIRES_AFTER
MINUTE = timedelta(minutes=1)
MARGIN = 10 * MINUTE


@pytest.fixture(autouse=True)
def now(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set ``NOW`` to the start of the test: pytest imports all files before the first test, many minutes earlier."""
    monkeypatch.setattr(request.module, "NOW", datetime.now(UTC))


def event(
    kind: str, ago: timedelta, *, person: uuid.UUID = ANN, late: timedelta | None = None, **data: Any
) -> StreamRecord:
    """An event that happened some time ago and that the API received then, or ``late`` ago."""
    at = NOW - ago
    body = {
        "event_id": new_event_id(),
        "type": kind,
        "schema_version": 1,
        "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid.UUID(int=1)),
        "seq": 1,
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "data": data,
    }
    received = NOW - (ago if late is None else late)
    waited_ms = max(timedelta(0), received - at) // timedelta(milliseconds=1)
    return StreamRecord(
        person.bytes, "c1", int(received.timestamp() * 1000), json.dumps(body).encode(), waited_ms=waited_ms
    )


def heartbeat(ago: timedelta) -> StreamRecord:
    return event("heartbeat", ago, queued=0, dropped=0, visible=True)


class Class:
    """A course on a real database, and what its staff and students see."""

    def __init__(self, db: asyncpg.Pool[asyncpg.Record], keyring: KeyRing) -> None:
        self.db = db
        self.keyring = keyring
        self.store = PostgresFactStore(db, keyring)

    async def receive(self, *records: StreamRecord) -> None:
        assert (await self.store.apply(list(records))).failed == []

    async def close_what_is_due(self) -> int:
        due = await due_requests(self.db, limit=100)
        return sum([await expire_request(self.db, self.keyring, request) for request in due])

    async def request_of(self, person: uuid.UUID = ANN) -> HelpState:
        return (await help_queries.list_of_student(self.db, self.keyring, "c1", person))[0]

    async def row_help(self, person: uuid.UUID = ANN) -> str | None:
        state = await student_queries.student(self.db, self.keyring, "c1", person)
        assert state is not None
        return None if state.help is None else state.help.status

    async def act(self, action: Any, request: HelpState) -> HelpState:
        done, _ = await apply_help_action(
            self.db,
            self.keyring,
            course_id="c1",
            request_id=uuid.UUID(request.request_id),
            action=action,
            person_id=TUTOR,
        )
        return done

    async def derived(self) -> None:
        assert (await rebuild(self.db, self.keyring, check=True)).differences == []


@pytest.fixture
def course(db: Any, keyring: KeyRing) -> Class:
    return Class(db, keyring)


async def test_a_request_whose_student_left_closes_itself_after_the_courses_time_and_half_an_hour(
    course: Class,
) -> None:
    await course.receive(event("help_requested", DUE + MARGIN))
    await course.receive(event("help_requested", DUE - MARGIN, person=BOB))
    assert await course.close_what_is_due() == 1
    closed = await course.request_of()
    assert (closed.status, closed.claimed_by, await course.row_help()) == ("expired", None, None)
    assert closed.closed_at is not None
    assert datetime.fromisoformat(closed.closed_at) >= NOW
    assert [state.student_id for state in await help_queries.list_active(course.db, course.keyring, "c1")] == [str(BOB)]
    assert [state.status for state in await help_queries.list_closed(course.db, course.keyring, "c1")] == ["expired"]
    await course.derived()


async def test_the_courses_own_threshold_decides_when_a_student_has_left(course: Class) -> None:
    await courses.set_thresholds(course.db, "c1", Thresholds(offline_s=1200))
    await course.receive(event("help_requested", timedelta(minutes=39)))
    assert await course.close_what_is_due() == 0
    await courses.set_thresholds(course.db, "c1", Thresholds(offline_s=60))
    assert await course.close_what_is_due() == 1


async def test_a_student_whose_page_is_open_keeps_the_request_however_old_it_is(course: Class) -> None:
    await course.receive(event("help_requested", timedelta(hours=3)), heartbeat(MINUTE))
    assert await course.close_what_is_due() == 0
    assert (await course.request_of()).status == "open"


async def test_a_claimed_request_closes_as_well_and_says_who_had_claimed_it(course: Class) -> None:
    await course.receive(event("help_requested", DUE + MARGIN))
    await course.act("claim", await course.request_of())
    assert await course.close_what_is_due() == 1
    closed = await course.request_of()
    assert (closed.status, closed.claimed_by) == ("expired", str(TUTOR))
    with pytest.raises(HelpClosed):
        await course.act("resolve", closed)
    await course.derived()


async def test_workers_that_look_at_the_same_time_close_a_request_once(course: Class) -> None:
    await course.receive(event("help_requested", DUE + MARGIN))
    due = await due_requests(course.db, limit=10)
    closed = await asyncio.gather(*(expire_request(course.db, course.keyring, due[0]) for _ in range(5)))
    assert sorted(closed) == [False, False, False, False, True]
    assert await course.db.fetchval("SELECT count(*) FROM help_actions") == 1
    assert await course.db.fetchval("SELECT count(*) FROM help_outbox") == 1


async def test_a_student_who_returns_while_the_request_is_being_closed_keeps_it(course: Class) -> None:
    await course.receive(event("help_requested", DUE + MARGIN))
    (due,) = await due_requests(course.db, limit=10)
    await course.receive(heartbeat(timedelta(0)))
    assert not await expire_request(course.db, course.keyring, due)
    assert (await course.request_of()).status == "open"


async def test_events_that_arrive_late_and_say_that_the_student_was_there_open_the_request_again(course: Class) -> None:
    await course.receive(event("help_requested", timedelta(hours=1)))
    assert await course.close_what_is_due() == 1
    version = (await course.request_of()).version
    # A spool's events after an outage: of the time between, received now.
    await course.receive(event("notebook_saved", timedelta(minutes=20), late=timedelta(0)))
    opened = await course.request_of()
    assert (opened.status, opened.closed_at, await course.row_help()) == ("open", None, "open")
    assert opened.version > version
    await course.derived()
    # The student is there: the request does not close again by the same time.
    assert await course.close_what_is_due() == 0
    assert (await course.act("claim", opened)).status == "claimed"
    await course.derived()


async def test_events_of_the_time_before_the_student_left_leave_the_request_closed(course: Class) -> None:
    await course.receive(event("help_requested", timedelta(hours=1)))
    await course.receive(heartbeat(timedelta(minutes=50)))
    assert await course.close_what_is_due() == 1
    await course.receive(event("notebook_saved", timedelta(minutes=55), late=timedelta(0)))
    assert (await course.request_of()).status == "expired"
    await course.derived()


async def test_a_clock_that_is_ahead_does_not_open_a_closed_request_again_and_again(course: Class) -> None:
    # Ten minutes ahead: by its own clock the last event is after the time that the API received it.
    await course.receive(event("help_requested", timedelta(minutes=30), late=timedelta(minutes=40)))
    assert await course.close_what_is_due() == 1
    assert await course.close_what_is_due() == 0
    assert (await course.request_of()).status == "expired"


async def test_a_student_who_returns_sees_that_it_closed_until_they_ask_again(course: Class) -> None:
    asked = event("help_requested", timedelta(hours=2))
    await course.receive(asked)
    await course.close_what_is_due()
    (notice,) = await help_queries.notices_of_person(course.db, ANN)
    assert (str(notice.event_id), notice.status, notice.by) == (json.loads(asked.event)["event_id"], "expired", None)
    await course.db.execute("UPDATE help_requests SET expired_at = expired_at - interval '2 days'")
    assert [notice.status for notice in await help_queries.notices_of_person(course.db, ANN)] == ["expired"]
    await course.db.execute("UPDATE help_requests SET expired_at = expired_at + interval '2 days'")
    later = datetime.now(UTC) - NOW + timedelta(seconds=1)
    await course.receive(event("help_requested", -later))
    assert [notice.status for notice in await help_queries.notices_of_person(course.db, ANN)] == ["open"]


async def test_a_cancellation_of_before_that_arrives_later_remains_the_end(course: Class) -> None:
    asked = event("help_requested", timedelta(hours=1))
    request = json.loads(asked.event)["event_id"]
    await course.receive(asked, heartbeat(timedelta(minutes=50)))
    await course.close_what_is_due()
    await course.receive(event("help_cancelled", timedelta(minutes=55), late=timedelta(0), request_id=request))
    assert (await course.request_of()).status == "cancelled"
    assert (await course.request_of()).request_id == str(help_request_id(ANN, uuid.UUID(request)))
    await course.derived()


ACTIONS = st.lists(st.tuples(st.sampled_from(["claim", "release", "resolve", "expire"]), st.booleans()), max_size=8)


@given(ACTIONS, st.none() | st.integers(-1, 9))
def test_a_refuted_expiry_is_as_if_it_had_never_been(steps: list[tuple[Any, bool]], cancelled: int | None) -> None:
    actions = [
        HelpAction(action, None if action == "expire" else TUTOR, NOW + MINUTE * minute, refuted and action == "expire")
        for minute, (action, refuted) in enumerate(steps)
    ]
    cancelled_at = None if cancelled is None else NOW + MINUTE * cancelled
    kept = [action for action in actions if not action.refuted]
    outcome = help_outcome(cancelled_at, actions)
    assert outcome == help_outcome(cancelled_at, kept)
    if outcome.status == "expired":
        assert outcome.expired_at is not None
        assert cancelled_at is None or cancelled_at > outcome.expired_at
