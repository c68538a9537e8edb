"""A course page's queries: complete, of this course only, paged without gaps, and answered from an index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.publications import CourseState, StudentState
from cell_monitor_core.storage.postgres import (
    cell_queries,
    course_counters,
    courses,
    memberships,
    people,
    student_queries,
)
from cell_monitor_core.storage.postgres.page_cursors import PageCursor
from cell_monitor_core.storage.postgres.people import NewPerson

NOW = datetime(2026, 4, 1, 10, 40, tzinfo=UTC)


@pytest.fixture
async def students(pool, keyring, index) -> list[UUID]:
    await courses.create(pool, "c1", "Course")
    await courses.create(pool, "c2", "Other")
    ids = await people.upsert_many(pool, keyring, index, [NewPerson(name) for name in ("ann", "bob", "cat", "dan")])
    roles = dict(zip(ids, ("student", "student", "student", "instructor"), strict=True))
    await memberships.upsert_many(pool, "c1", roles)
    return ids


@pytest.fixture
def set_state(pool: asyncpg.Pool) -> Callable[..., Awaitable[StudentState]]:
    async def save(person: UUID, course: str = "c1", **values: Any) -> StudentState:
        state = StudentState(student_id=str(person), **{"version": 3, "status": "ok", **values})
        await pool.execute(
            "INSERT INTO student_states (course_id, person_id, version, state) VALUES ($1, $2, $3, $4)",
            course,
            person,
            state.version,
            msgspec.json.encode(state),
        )
        return state

    return save


async def test_every_enrolled_student_has_a_row_seen_or_not_and_nobody_else(pool, keyring, index, students, set_state):
    ann, bob, cat, dan = students
    seen = await set_state(ann, runs=4)
    await set_state(dan)
    await set_state(await people.upsert(pool, keyring, index, username="stranger"))
    await pool.execute("INSERT INTO student_states (course_id, person_id) VALUES ('c1', $1)", cat)
    rows = {UUID(row.student_id): row for row in await student_queries.course_students(pool, keyring, "c1")}
    waiting = StudentState(student_id=str(bob), version=0, status="waiting")
    assert rows == {ann: seen, bob: waiting, cat: msgspec.structs.replace(waiting, student_id=str(cat))}
    assert await student_queries.student(pool, keyring, "c1", ann) == seen
    assert await student_queries.student(pool, keyring, "c1", bob) == waiting
    assert await student_queries.student(pool, keyring, "c1", dan) is None
    assert await student_queries.student(pool, keyring, "c2", ann) is None
    assert await student_queries.course_students(pool, keyring, "c2") == []


async def test_counters_are_the_sums_of_the_shown_rows(pool, keyring, students, set_state):
    ann, bob, _, dan = students
    await set_state(ann, runs=4, errors=2)
    await set_state(bob, runs=3, errors=1, status="waiting")
    await set_state(dan, runs=100)
    await set_state(ann, "c2", runs=50)
    await pool.execute("INSERT INTO course_versions VALUES ('c1', 9)")
    await pool.execute(
        "INSERT INTO help_requests (event_id, request_id, course_id, person_id, status, requested_at) "
        "VALUES ($1, $1, 'c1', $2, 'claimed', now())",
        uuid4(),
        ann,
    )
    (counters,) = await course_counters.read_counters(pool, ["c1"])
    assert counters == CourseState("c1", 9, students=3, started=1, runs=7, errors=3, help_open=1)
    rows = await student_queries.course_students(pool, keyring, "c1")
    assert (counters.students, counters.runs) == (len(rows), sum(row.runs for row in rows))
    assert await course_counters.read_counters(pool, ["none"]) == [CourseState("none", 0, 0, 0, 0, 0, 0)]


async def test_runs_are_paged_newest_first_without_gaps_also_within_one_moment(
    pool, keyring, students, add_run, minutes
):
    ann, bob, *_ = students
    ids = [await add_run(ann, at=minutes(number // 3), cell=f"c{number}") for number in range(23)]
    await add_run(bob)
    await add_run(ann, course_id="c2")
    await add_run(ann, kind="cell_execution_started")
    await add_run(ann, test_id="t")
    seen: list[student_queries.Run] = []
    before = None
    while True:
        page = await student_queries.student_runs(pool, keyring, "c1", ann, before=before, limit=5)
        seen += page.runs
        before = page.next_before
        if before is None:
            break
        assert len(page.runs) == 5
    assert sorted(run.event_id for run in seen) == sorted(map(str, ids))
    assert [run.at for run in seen] == sorted((run.at for run in seen), reverse=True)


async def test_the_last_page_that_is_exactly_full_promises_no_further_one(pool, keyring, students, add_run, minutes):
    for number in range(4):
        await add_run(students[0], at=minutes(number))
    page = await student_queries.student_runs(pool, keyring, "c1", students[0], limit=4)
    assert (len(page.runs), page.next_before) == (4, None)
    assert await student_queries.student_runs(pool, keyring, "c1", students[1]) == student_queries.RunPage([], None)


async def test_a_run_shows_code_outputs_and_error_as_they_were_sent(pool, keyring, students, add_run):
    await add_run(students[0], status="error", duration_ms=None)
    (run,) = (await student_queries.student_runs(pool, keyring, "c1", students[0])).runs
    assert msgspec.to_builtins(run) == {
        "event_id": run.event_id,
        "at": "2026-04-01T09:00:00.000Z",
        "notebook": {"id": "n1", "path": "week1.ipynb", "title": "Week 1"},
        "cell": {"source_id": "cell-1", "index": 3, "type": "code", "heading": None, "ordinal": None},
        "status": "error",
        "error_expected": False,
        "duration_ms": None,
        "execution_count": 7,
        "code": "print('cell-1')",
        "code_truncated": False,
        "outputs": [{"type": "stream", "name": "stdout", "text": "cell-1", "size": 6, "later": True}],
        "outputs_truncated": False,
        "error": {"name": "NameError", "value": "x", "traceback": "Traceback", "truncated": None},
        "content": "available",
        "cell_removed": False,
    }


@pytest.mark.parametrize("numbers", [0, 1])
@given(text=st.one_of(st.text(max_size=40), st.binary(max_size=30).map(lambda raw: raw.hex())))
def test_no_text_whatever_passes_for_a_cursor_by_crashing(numbers: int, text: str):
    cursor = PageCursor(numbers)
    try:
        place = cursor.decode(text)
    except ValueError:
        return
    assert cursor.decode(cursor.encode(place)) == place


async def test_a_page_of_runs_is_read_from_an_index_in_its_order(pool, keyring, students):
    await pool.execute(
        "INSERT INTO events SELECT now(), $1, gen_random_uuid(), 'cell_executed', 'c1', $1, n, "
        "now() - n * interval '1 s', now(), 'n', 'c', 'ok', NULL, 1, 1, '{}' FROM generate_series(1, 5000) n",
        students[0],
    )
    await pool.execute("ANALYZE events")
    arguments = ["c1", students[0], *student_queries._NEWEST, 51]
    plan = await pool.fetch(f"EXPLAIN (ANALYZE, FORMAT TEXT) {student_queries.RUNS_SQL}", *arguments)
    text = "\n".join(row[0] for row in plan)
    assert "Index Scan" in text
    assert "Seq Scan" not in text
    assert "->  Sort" not in text


async def test_a_students_cells_and_a_courses_agree(pool, keyring, students, add_run, minutes):
    ann, bob, cat, dan = students
    folds = {
        (ann, "cell-1"): {
            "runs": 3,
            "errors": 2,
            "streak": 3,
            "completed": "error",
            "last_status": "error",
            "last_at": 3000,
        },
        (bob, "cell-1"): {"runs": 2, "aborted": 1, "completed": "ok", "last_status": "aborted", "last_at": 9000},
        (cat, "cell-1"): {},
        (ann, "cell-0"): {"runs": 1, "completed": "ok", "last_status": "ok", "last_at": 1000},
        (dan, "cell-1"): {"runs": 50, "errors": 50, "streak": 50},
    }
    for (person, cell), fold in folds.items():
        place = {
            "notebook": {"id": "n1", "path": f"week{fold.get('last_at', 0)}.ipynb"},
            "cell": {"source_id": cell, "index": int(cell[-1])},
        }
        await pool.execute("INSERT INTO cell_states VALUES ('c1', $1, 'n1', $2, $3)", person, cell, {**place, **fold})
    for person, duration in ((ann, 10), (ann, 30), (bob, 20), (bob, None), (dan, 9999)):
        await add_run(person, cell="cell-1", duration_ms=duration)
    await add_run(ann, cell="cell-1", duration_ms=77777, course_id="c2")
    # Medians are of runs of the last weeks.
    await pool.execute("UPDATE events SET happened_at = now()")

    mine = await cell_queries.student_cells(pool, "c1", ann)
    assert [(cell.cell.source_id, cell.runs, cell.errors, cell.error_streak) for cell in mine] == [
        ("cell-0", 1, 0, 0),
        ("cell-1", 3, 2, 3),
    ]
    assert (mine[1].last_status, mine[1].last_at) == ("error", "1970-01-01T00:00:03.000Z")

    all_cells = {
        cell.cell.source_id: cell
        for cell in await cell_queries.course_cells(pool, "c1", thresholds=Thresholds(), now=NOW)
    }
    assert set(all_cells) == {"cell-0", "cell-1"}
    cell = all_cells["cell-1"]
    assert (cell.students, cell.runs, cell.errors, cell.students_ok) == (3, 5, 2, 1)
    assert cell.median_duration_ms == 20
    assert cell.notebook.path == "week9000.ipynb"
    assert all_cells["cell-0"].median_duration_ms is None
    assert await cell_queries.course_cells(pool, "c2", thresholds=Thresholds(), now=NOW) == []


async def test_one_students_made_up_cells_neither_grow_the_page_nor_push_out_the_class(pool, keyring, students):
    ann, bob, cat, _ = students
    await pool.execute(
        "INSERT INTO cell_states SELECT 'c1', $1, 'n', 'made-up-' || n, jsonb_build_object('last_at', n, 'runs', 1) "
        "FROM generate_series(1, 2500) n",
        ann,
    )
    for person in (bob, cat):
        await pool.execute("INSERT INTO cell_states VALUES ('c1', $1, 'n', 'task', '{\"runs\": 1}')", person)
    mine = {cell.cell.source_id for cell in await cell_queries.student_cells(pool, "c1", ann)}
    assert len(mine) == 2000
    assert {"made-up-2500", "made-up-501"} <= mine
    of_all = {
        cell.cell.source_id: cell
        for cell in await cell_queries.course_cells(pool, "c1", thresholds=Thresholds(), now=NOW)
    }
    assert len(of_all) == 2000
    assert of_all["task"].students == 2


async def test_medians_are_of_lately_and_of_a_bounded_number_of_runs_a_student(pool, keyring, students):
    ann, bob = students[:2]
    for person in (ann, bob):
        await pool.execute(
            "INSERT INTO cell_states VALUES ('c1', $1, 'n', 'task', '{}'), ('c1', $1, 'n', 'old', '{}')", person
        )
    insert = (
        "INSERT INTO events SELECT now(), $1, gen_random_uuid(), 'cell_executed', 'c1', "
        "$1, n, now() - n * interval '1 s' - $3::interval, now(), 'n', $2, 'ok', NULL, $4, 1, '{}' "
        "FROM generate_series(1, $5::int) n"
    )
    await pool.execute(insert, ann, "old", timedelta(days=40), 5, 10)
    await pool.execute(insert, bob, "task", timedelta(hours=2), 10, 900)
    # Ann's older runs, more than Bob's, do not count: her newest thousand are others.
    await pool.execute(insert, ann, "task", timedelta(hours=4), 9999, 1500)
    await pool.execute(insert, ann, "task", timedelta(minutes=1), 10, 1000)
    cells = {
        cell.cell.source_id: cell
        for cell in await cell_queries.course_cells(pool, "c1", thresholds=Thresholds(), now=NOW)
    }
    assert cells["task"].median_duration_ms == 10
    assert cells["old"].median_duration_ms is None
