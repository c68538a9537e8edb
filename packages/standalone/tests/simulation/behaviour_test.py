"""Hazards: a simulated class that is not realistic, not ordered, or different for the same seed."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor.simulation.behaviour import Step, plan_student
from cell_monitor.simulation.classroom import EventWriter
from cell_monitor.simulation.names import student_names
from cell_monitor_core.events.codec import decode_event

seeds = st.text(max_size=8)
minutes = st.floats(0.2, 120)


@given(seeds, minutes)
def test_same_seed_gives_the_same_student(seed: str, length: float) -> None:
    assert list(plan_student(seed, minutes=length)) == list(plan_student(seed, minutes=length))


@given(seeds, minutes)
def test_times_are_ascending_and_within_the_class(seed: str, length: float) -> None:
    times = [step.at for step in plan_student(seed, minutes=length)]
    assert times == sorted(times)
    assert all(0 <= at < length * 60 for at in times)


@given(seeds, minutes)
def test_every_run_was_started_and_ends_before_the_next_one_starts(seed: str, length: float) -> None:
    running = None
    for step in plan_student(seed, minutes=length):
        if step.type == "cell_execution_started":
            assert running is None
            running = step.data["execution_id"]
        elif step.type == "cell_executed":
            assert step.data["execution_id"] == running
            running = None


@given(seeds, minutes)
def test_a_help_request_is_cancelled_only_after_it_was_sent(seed: str, length: float) -> None:
    open_requests = 0
    for step in plan_student(seed, minutes=length):
        if step.type == "help_requested":
            open_requests += 1
        elif step.type == "help_cancelled":
            open_requests -= 1
        assert open_requests >= 0


@given(seeds, st.floats(0.5, 10))
def test_the_ingest_accepts_every_event_as_valid(seed: str, length: float) -> None:
    from random import Random

    writer = EventWriter("intro-python", Random(seed))
    for number, step in enumerate(plan_student(seed, minutes=length), 1):
        event = writer.write(step)
        assert event is not None
        decoded = decode_event(msgspec.Raw(msgspec.json.encode(event)))
        assert decoded.seq == number


@pytest.fixture(scope="module")
def class_of_30() -> list[list[Step]]:
    return [list(plan_student(f"1/{number}/0", minutes=5)) for number in range(30)]


def test_a_class_of_30_has_every_state_that_a_dashboard_shows(class_of_30: list[list[Step]]) -> None:
    types = Counter(step.type for plan in class_of_30 for step in plan)
    assert set(types) >= {
        "session_started",
        "notebook_opened",
        "cell_selected",
        "cell_edited",
        "cell_execution_started",
        "cell_executed",
        "notebook_saved",
        "help_requested",
        "help_cancelled",
        "heartbeat",
    }
    runs = [step.data for plan in class_of_30 for step in plan if step.type == "cell_executed"]
    errors = [run["error"]["name"] for run in runs if run["status"] == "error"]
    assert 0.25 < len(errors) / len(runs) < 0.75
    assert len(set(errors)) >= 6


def test_some_get_stuck_with_the_same_error_and_some_finish(class_of_30: list[list[Step]]) -> None:
    stuck = 0
    for plan in class_of_30:
        streak: list[str] = []
        for step in plan:
            if step.type == "cell_executed":
                name = step.data.get("error", {}).get("name")
                streak = [*streak, name] if name and (not streak or streak[-1] == name) else [name] if name else []
                if len(streak) == 3:
                    stuck += 1
                    break
    # All close their notebook; those who have not finished do so in the last moments of the five minutes.
    finished = sum(plan[-1].at < 0.97 * 300 for plan in class_of_30)
    assert 3 <= stuck <= 25
    assert 3 <= finished <= 29


def test_names_are_japanese_and_english_and_the_same_for_a_seed() -> None:
    names = student_names(30, 7)
    assert names == student_names(30, 7)
    assert len(set(names)) == 30
    assert names != student_names(30, 8)
    assert any(name.isascii() for name in names)
    assert any(not name.isascii() for name in names)
