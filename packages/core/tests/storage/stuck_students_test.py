"""Hazard: a cell's number of stuck students is not the number of students whom the page lists as stuck."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cell_monitor_core.storage.postgres import cell_queries, courses, memberships, people
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_testing.attention_cases import AttentionCase, attention_cases

CASES = attention_cases(Path(__file__).parents[4] / "tests/contract/golden")


@pytest.fixture
async def student(pool, keyring, index):
    await courses.create(pool, "c1", "Course")
    [student] = await people.upsert_many(pool, keyring, index, [NewPerson("ann")])
    await memberships.upsert_many(pool, "c1", {student: "student"})
    for cell in ("c1", "c2"):
        # Both cells have failed often; only the one that ran last can be where the student is stuck now.
        await pool.execute(
            "INSERT INTO cell_states VALUES ('c1', $1, 'n1', $2, $3)", student, cell, {"runs": 9, "streak": 9}
        )
    return student


async def test_a_cells_stuck_students_are_those_with_failed_runs_as_a_reason(pool, student):
    for case in CASES:
        await set_state(pool, student, case)
        cells = await cell_queries.course_cells(pool, "c1", thresholds=case.thresholds, now=case.now)
        stuck = {cell.cell.source_id: cell.students_stuck for cell in cells}
        listed = any(reason.kind == "streak" for reason in case.reasons) and case.state.last_execution is not None
        assert stuck == {"c1": int(listed), "c2": 0}, case.name


async def set_state(pool, student, case: AttentionCase) -> None:
    state = msgspec.structs.replace(case.state, student_id=str(student))
    await pool.execute(
        "INSERT INTO student_states (course_id, person_id, version, state) VALUES ('c1', $1, 1, $2) "
        "ON CONFLICT (course_id, person_id) DO UPDATE SET state = excluded.state",
        student,
        state,
    )
