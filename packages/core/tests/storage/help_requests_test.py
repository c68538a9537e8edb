"""Help requests: who sees which, in which order, and that another course's never show."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from cell_monitor_core.publications import CellRef, ErrorRef, HelpState, NotebookRef
from cell_monitor_core.storage.postgres import courses, help_queries, help_requests
from cell_monitor_testing.people import add_students

ANN, BOB, STAFF = uuid4(), uuid4(), uuid4()


@pytest.fixture
async def request_help(pool, keyring, minutes):
    for course_id in ("c1", "c2"):
        await courses.create(pool, course_id, course_id.upper())
        await add_students(pool, course_id, [ANN, BOB])

    async def add(
        minute: float, status: str = "open", *, person: UUID = ANN, course: str = "c1", **columns: Any
    ) -> UUID:
        request_id = columns.pop("request_id", None) or uuid4()
        values = {"requested_at": minutes(minute), **columns}
        names = ", ".join(values)
        places = ", ".join(f"${index}" for index in range(5, 5 + len(values)))
        await pool.execute(
            f"INSERT INTO help_requests (event_id, request_id, course_id, person_id, status, {names}) "
            f"VALUES ($1, $1, $2, $3, $4, {places})",
            request_id,
            course,
            person,
            status,
            *values.values(),
        )
        return request_id

    return add


async def test_a_request_shows_all_that_its_row_holds(pool, keyring, request_help, minutes):
    request_id = uuid4()
    await request_help(
        0,
        "claimed",
        request_id=request_id,
        version=4,
        claimed_by=STAFF,
        claimed_at=minutes(1),
        error_text_enc=keyring.encrypt_text("x", context="help.error_text", row=request_id.bytes),
        message_enc=keyring.encrypt_text("動かない", context="help.message", row=request_id.bytes),
        context={
            "notebook": {"id": "n", "path": "p.ipynb"},
            "cell": {"source_id": "s", "index": 2},
            "error": {"name": "NameError"},
        },
    )
    assert await help_queries.get(pool, keyring, "c1", request_id) == HelpState(
        request_id=str(request_id),
        version=4,
        student_id=str(ANN),
        status="claimed",
        requested_at="2026-04-01T09:00:00.000Z",
        notebook=NotebookRef("n", "p.ipynb"),
        cell=CellRef("s", 2),
        message="動かない",
        error=ErrorRef("NameError", "x"),
        claimed_by=str(STAFF),
        claimed_at="2026-04-01T09:01:00.000Z",
    )
    assert await help_queries.get(pool, keyring, "c2", request_id) is None


async def test_active_ones_come_oldest_first_closed_ones_newest_first_and_unborn_ones_never(
    pool, keyring, request_help, minutes
):
    late = await request_help(5)
    early = await request_help(1, "claimed")
    resolved = await request_help(2, "resolved", resolved_at=minutes(3), resolved_by=STAFF)
    cancelled = await request_help(4, "cancelled", cancelled_at=minutes(6), person=BOB)
    unborn = await request_help(0, "cancelled", requested_at=None, cancelled_at=minutes(0))
    await request_help(0, course="c2")

    def ids(states: list[HelpState]) -> list[UUID]:
        return [UUID(state.request_id) for state in states]

    assert ids(await help_queries.list_active(pool, keyring, "c1")) == [early, late]
    closed = await help_queries.list_closed(pool, keyring, "c1")
    assert ids(closed) == [cancelled, resolved]
    assert [state.closed_at for state in closed] == ["2026-04-01T09:06:00.000Z", "2026-04-01T09:03:00.000Z"]
    assert ids(await help_queries.list_closed(pool, keyring, "c1", limit=1)) == [cancelled]
    assert ids(await help_queries.list_of_student(pool, keyring, "c1", ANN)) == [late, resolved, early]
    assert await help_queries.get(pool, keyring, "c1", unborn) is None


async def test_a_student_gets_notices_of_open_requests_and_of_recent_changes(pool, request_help):
    now: datetime = await pool.fetchval("SELECT now()")
    lately, long_ago = now - timedelta(minutes=9), now - timedelta(minutes=11)
    still_open = await request_help(0)
    claimed = await request_help(1, "claimed", claimed_by=STAFF, claimed_at=long_ago, course="c2")
    resolved = await request_help(2, "resolved", claimed_by=STAFF, resolved_by=BOB, resolved_at=lately)
    await request_help(3, "resolved", resolved_by=BOB, resolved_at=long_ago)
    # Asked again just now: that changed nothing about the help given then.
    await request_help(3.5, "resolved", resolved_by=BOB, resolved_at=long_ago, cancelled_at=lately)
    cancelled = await request_help(4, "cancelled", cancelled_at=lately)
    await request_help(5, person=BOB)
    notices = await help_queries.notices_of_person(pool, ANN)
    assert [(notice.event_id, notice.status, notice.by) for notice in notices] == [
        (cancelled, "cancelled", None),
        (resolved, "resolved", BOB),
        (claimed, "claimed", STAFF),
        (still_open, "open", None),
    ]
    assert [notice.at for notice in notices[:3]] == [lately, lately, long_ago]


async def test_actions_are_kept_in_the_order_in_which_they_were_taken(pool, request_help):
    request_id = await request_help(0)
    async with pool.acquire() as connection, connection.transaction():
        for action in ("claim", "release", "claim", "resolve"):
            await help_requests.insert_action(connection, request_id, "c1", action, STAFF)
    rows = await pool.fetch(
        "SELECT action FROM help_actions WHERE request_id = $1 ORDER BY acted_at, action_id", request_id
    )
    assert [row["action"] for row in rows] == ["claim", "release", "claim", "resolve"]


async def test_the_list_of_active_requests_uses_its_index(pool, keyring, request_help):
    await pool.execute(
        "INSERT INTO help_requests (request_id, event_id, course_id, person_id, status, requested_at) "
        "SELECT gen_random_uuid(), gen_random_uuid(), 'c' || n % 20, $1, CASE WHEN n % 50 = 0 THEN 'open' ELSE 'resolved' END, now() "
        "FROM generate_series(1, 5000) n",
        ANN,
    )
    await pool.execute("ANALYZE help_requests")
    plan = await pool.fetch(
        f"EXPLAIN SELECT {help_requests.COLUMNS} FROM help_requests r WHERE r.course_id = 'c1' "
        "AND r.status IN ('open', 'claimed') AND r.requested_at IS NOT NULL ORDER BY r.requested_at, r.request_id"
    )
    assert "help_requests_open" in "\n".join(row[0] for row in plan)
