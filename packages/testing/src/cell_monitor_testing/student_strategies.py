"""Students' states for property tests, with times on both sides of every threshold and exactly on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, get_args

from hypothesis import strategies as st

from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.publications import StudentState, StudentStatus
from cell_monitor_core.timestamps import to_text

__all__ = ["NOW", "Judged", "judged_students", "student_states", "thresholds"]

NOW = datetime(2026, 4, 1, 10, 40, tzinfo=UTC)


class Judged(NamedTuple):
    """A student, the thresholds and the time by which the student is judged."""

    state: StudentState
    thresholds: Thresholds
    now: datetime


def thresholds() -> st.SearchStrategy[Thresholds]:
    """Thresholds of a course, small ones, so that they are often met."""
    return st.builds(
        Thresholds,
        stuck_errors=st.integers(1, 4),
        kernel_deaths=st.integers(1, 4),
        long_run_s=st.integers(10, 400),
        idle_s=st.integers(10, 600),
        offline_s=st.integers(60, 300),
    )


@st.composite
def student_states(draw: st.DrawFn, limits: Thresholds) -> StudentState:
    """Return a student's row with times near the thresholds."""
    steps = [limits.idle_s, limits.offline_s, limits.offline_s + 60, limits.long_run_s, 0]
    ages = st.builds(
        lambda step, off: timedelta(seconds=step, milliseconds=off), st.sampled_from(steps), st.integers(-2, 2)
    ) | st.builds(lambda seconds: timedelta(seconds=seconds), st.integers(-90, 4000))
    times = st.none() | st.builds(lambda age: to_text(NOW - age), ages)
    return StudentState(
        student_id="s",
        version=1,
        status=draw(st.sampled_from(get_args(StudentStatus))),
        sessions_open=draw(st.integers(-1, 2)),
        error_streak=draw(st.integers(0, 5)),
        running_since=draw(times),
        last_activity_at=draw(times),
        last_seen_at=draw(times),
    )


@st.composite
def judged_students(draw: st.DrawFn) -> Judged:
    """Return a student with the thresholds of a course."""
    limits = draw(thresholds())
    return Judged(draw(student_states(limits)), limits, NOW)
