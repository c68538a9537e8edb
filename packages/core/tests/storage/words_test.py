"""Hazard: a list of courses counts other students as active, running or left than the course's page does."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_monitor_core.derivation import Thresholds, has_left, is_active, is_running, needs_help
from cell_monitor_core.publications import HelpState, HelpStatus, StudentState
from cell_monitor_core.storage.postgres import courses, memberships, people
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_testing.student_strategies import NOW, student_states, thresholds

STUDENTS = 12


@pytest.fixture
async def students(pool, keyring, index) -> list[UUID]:
    await courses.create(pool, "c1", "Course")
    names = [NewPerson(f"s{number}") for number in range(STUDENTS)]
    found = await people.upsert_many(pool, keyring, index, [*names, NewPerson("teacher")])
    await memberships.upsert_many(pool, "c1", dict.fromkeys(found[:-1], "student") | {found[-1]: "instructor"})
    return found


Row = tuple[StudentState | None, HelpStatus | None]


@st.composite
def classes(draw: st.DrawFn) -> tuple[Thresholds, list[Row]]:
    limits = draw(thresholds())
    request = st.none() | st.sampled_from(("open", "claimed", "resolved", "cancelled", "expired"))
    row = st.tuples(st.none() | student_states(limits), request)
    return limits, draw(st.lists(row, min_size=STUDENTS, max_size=STUDENTS))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(given_class=classes())
async def test_sql_counts_the_students_of_whom_the_predicate_holds(pool, students, given_class):
    limits, rows = given_class
    await pool.execute("DELETE FROM student_states")
    await pool.execute("DELETE FROM help_requests")
    await courses.set_thresholds(pool, "c1", limits)
    expected = {"active": 0, "running": 0, "left": 0, "need_help": 0, "help_open": 0}
    for person, (state, status) in zip(students, rows, strict=False):
        if state is not None:
            await pool.execute(
                "INSERT INTO student_states (course_id, person_id, version, state) VALUES ('c1', $1, 1, $2)",
                person,
                msgspec.structs.replace(state, student_id=str(person)),
            )
        if status is not None:
            await pool.execute(
                "INSERT INTO help_requests (event_id, request_id, course_id, person_id, status, requested_at) "
                "VALUES ($1, $1, 'c1', $2, $3, $4)",
                uuid4(),
                person,
                status,
                NOW,
            )
        shown = state or StudentState(str(person), 0, "waiting")
        request = None if status is None else HelpState("r", 1, str(person), status, "2026-04-01T10:00:00.000Z")
        expected["active"] += is_active(shown, limits, NOW)
        expected["running"] += is_running(shown, limits, NOW)
        expected["left"] += has_left(shown, limits, NOW)
        expected["need_help"] += needs_help(shown, request, limits, NOW)
        expected["help_open"] += status in ("open", "claimed")
    [summary] = await courses.list_of_person(pool, students[-1], now=NOW)
    assert {name: getattr(summary, name) for name in expected} == expected
    assert summary.students == STUDENTS
