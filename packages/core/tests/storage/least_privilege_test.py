"""Hazard: a role of a service lacks a right that it needs, or the worker and the API see different data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import (
    cell_queries,
    course_counters,
    courses,
    help_actions,
    help_expiry,
    help_queries,
    memberships,
    people,
    student_queries,
)
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.migrations import migrate
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_core.storage.postgres.rebuild import rebuild


@pytest.fixture(params=["roles of their own", "the owner"])
async def urls(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What the API and the worker sign in with; the owner has a schema of its own and may not create roles."""
    if request.param == "the owner":
        owner = request.getfixturevalue("owned_schema")
        await migrate(owner)
        return owner, owner
    database = request.getfixturevalue("database")
    return f"{database}?role=cell_monitor_api", f"{database}?role=cell_monitor_worker"


@pytest.fixture
async def api(urls) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(urls[0], application_name="api")
    yield pool
    await pool.close()


@pytest.fixture
async def worker(urls) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(urls[1], application_name="worker")
    yield pool
    await pool.close()


@pytest.fixture
def record(make_id):
    session = str(uuid4())
    # Not at import: a test run may reach this test after the time at which a student counts as gone.
    now = datetime.now(UTC)

    def make(person: UUID, kind: str, seq: int, data: dict[str, Any], *, cell: str | None = "cell-1") -> StreamRecord:
        at = now - timedelta(minutes=10) + timedelta(seconds=seq)
        event: dict[str, Any] = {
            "event_id": str(make_id(at)),
            "type": kind,
            "schema_version": 1,
            "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": session,
            "seq": seq,
            "notebook": {"id": "n1", "path": "week1.ipynb", "title": None},
            "data": data,
        }
        if cell is not None:
            event["cell"] = {"id": f"x-{cell}", "source_id": cell, "index": 2, "type": "code", "heading": None}
        body = json.dumps(event).encode()
        return StreamRecord(person.bytes, "c1", int(now.timestamp() * 1000), body, None)

    return make


def _run(status: str, duration_ms: int | None = 40) -> dict[str, Any]:
    data: dict[str, Any] = {
        "execution_id": str(uuid4()),
        "status": status,
        "duration_ms": duration_ms,
        "code": "print(x)",
        "code_truncated": None,
        "outputs": [],
    }
    if status == "error":
        data["error"] = {"name": "NameError", "value": "x", "traceback": "…"}
    return data


async def test_a_lesson_under_the_services_own_roles(api, worker, keyring, index, record):
    assert await api.fetchval("SELECT current_user") in {"cell_monitor_api", "monitor_owner"}
    await courses.create(api, "c1", "Course")
    ann, bob, tutor = await people.upsert_many(
        api, keyring, index, [NewPerson("ann"), NewPerson("bob"), NewPerson("tutor")]
    )
    await memberships.upsert_many(api, "c1", {ann: "student", bob: "student", tutor: "assistant"})

    store = PostgresFactStore(worker, keyring)
    applied = await store.apply(
        [
            record(ann, "cell_executed", 1, _run("ok", 10)),
            record(ann, "cell_executed", 2, _run("error", 30)),
            record(ann, "cell_executed", 3, _run("error", None)),
            record(ann, "help_requested", 4, {"message": "動かない"}),
        ]
    )
    assert applied.failed == []
    assert applied.stored == 4

    # What was published is what a dashboard that is opened now is shown.
    (published,) = applied.students["c1"]
    assert await student_queries.student(api, keyring, "c1", ann) == published
    rows = await student_queries.course_students(api, keyring, "c1")
    assert published in rows
    assert len(rows) == 2
    assert await help_queries.list_active(api, keyring, "c1") == applied.help["c1"]
    assert applied.help["c1"][0].message == "動かない"
    async with worker.acquire() as connection:
        (counters,) = await course_counters.refresh_courses(connection, ["c1"])
    assert await course_counters.read_counters(api, ["c1"]) == [counters]
    assert (counters.students, counters.started, counters.runs, counters.errors, counters.help_open) == (2, 1, 3, 2, 1)

    (mine,) = await cell_queries.student_cells(api, "c1", ann)
    assert (mine.cell.source_id, mine.runs, mine.errors, mine.error_streak, mine.last_status) == (
        "cell-1",
        3,
        2,
        2,
        "error",
    )
    (cell,) = await cell_queries.course_cells(api, "c1", thresholds=Thresholds(stuck_errors=2), now=datetime.now(UTC))
    assert (cell.students, cell.runs, cell.students_ok, cell.students_stuck, cell.median_duration_ms) == (
        1,
        3,
        0,
        1,
        20,
    )
    page = await student_queries.student_runs(api, keyring, "c1", ann)
    assert [(run.status, run.duration_ms) for run in page.runs] == [("error", None), ("error", 30), ("ok", 10)]
    assert page.runs[0].error is not None
    assert page.runs[0].cell.source_id == "cell-1"

    request_id = UUID(applied.help["c1"][0].request_id)
    request, student = await help_actions.apply_help_action(
        api, keyring, course_id="c1", request_id=request_id, action="claim", person_id=tutor
    )
    assert (request.status, request.claimed_by) == ("claimed", str(tutor))
    assert await student_queries.student(api, keyring, "c1", ann) == student
    (notice,) = await help_queries.notices_of_person(api, ann)
    assert (notice.status, notice.by) == ("claimed", tutor)
    assert help_request_id(ann, notice.event_id) == request_id
    async with api.acquire() as connection:
        (state,) = await course_counters.refresh_courses(connection, ["c1"])
    # A request that somebody has claimed is still open to the course.
    assert state == counters

    assert (await rebuild(worker, keyring, check=True)).differences == []

    # An hour after the lesson: the worker closes what is still open, as its role, and the API counts it as its own.
    await worker.execute(
        "UPDATE student_states SET fold = jsonb_set(fold, '{last_received_at}', to_jsonb($1::bigint)) WHERE person_id = $2",
        int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000),
        ann,
    )
    (due,) = await help_expiry.due_requests(worker, limit=10)
    assert await help_expiry.expire_request(worker, keyring, due)
    assert [state.status for state in await help_queries.list_closed(api, keyring, "c1")] == ["expired"]
    (course,) = await courses.list_of_person(api, ann, now=datetime.now(UTC))
    assert (course.help_open, course.need_help) == (0, 0)
