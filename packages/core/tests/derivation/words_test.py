"""Hazard: two lists or figures mean different students by one word: "active", "running", "left", "needs help"."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from cell_monitor_core.derivation import (
    has_left,
    has_started,
    is_active,
    is_here,
    is_quiet,
    is_running,
    left_waiting,
    needs_help,
    reasons_for,
)
from cell_monitor_core.publications import HelpState
from cell_monitor_testing.attention_cases import WordCase, word_cases
from cell_monitor_testing.student_strategies import Judged, judged_students

CASES = word_cases(Path(__file__).parents[4] / "tests/contract/golden")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exactly_the_words_of_the_contract_hold(case: WordCase) -> None:
    _, state, request, thresholds, now, words = case
    of_student = {"left": has_left, "here": is_here, "active": is_active, "quiet": is_quiet, "running": is_running}
    of_request = {"needs_help": needs_help, "left_waiting": left_waiting}
    held = {word for word, holds in of_student.items() if holds(state, thresholds, now)}
    held |= {word for word, holds in of_request.items() if holds(state, request, thresholds, now)}
    held |= {"started"} if has_started(state) else set()
    assert held == words


def test_every_word_is_in_a_case_and_absent_from_another() -> None:
    words = {"started", "here", "left", "active", "quiet", "running", "needs_help", "left_waiting"}
    assert words == {word for case in CASES for word in case.words}
    assert all(any(word not in case.words for case in CASES) for word in words)


@given(judged_students())
def test_a_student_is_exactly_one_of_not_started_left_quiet_and_active(student: Judged) -> None:
    state, thresholds, now = student
    states = [
        not has_started(state),
        has_left(state, thresholds, now),
        is_quiet(state, thresholds, now),
        is_active(state, thresholds, now),
    ]
    assert states.count(True) == 1
    # "Running 20, active now 1" cannot be.
    assert is_active(state, thresholds, now) or not is_running(state, thresholds, now)


@given(judged_students())
def test_who_has_left_needs_neither_help_nor_attention(student: Judged) -> None:
    state, thresholds, now = student
    asked = HelpState("r", 1, "s", "open", "2026-04-01T10:00:00.000Z")
    left = has_left(state, thresholds, now)
    assert needs_help(state, asked, thresholds, now) != left
    assert left_waiting(state, asked, thresholds, now) == left
    if left:
        assert reasons_for(state, asked, thresholds, now) == []
