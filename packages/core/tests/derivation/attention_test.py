"""Hazard: the page, the API and the documentation mean different students by "stuck", "quiet" or "left"."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cell_monitor_core.derivation import Thresholds, has_left, reasons_for, stuck_cell, threshold_bounds
from cell_monitor_core.publications import ExecutionRef
from cell_monitor_testing.attention_cases import AttentionCase, attention_cases

CASES = attention_cases(Path(__file__).parents[4] / "tests/contract/golden")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reasons_are_those_of_the_contract_in_its_order(case: AttentionCase) -> None:
    assert has_left(case.state, case.thresholds, case.now) == case.left
    assert reasons_for(case.state, case.help_request, case.thresholds, case.now) == case.reasons


def test_the_cases_reach_every_kind_of_reason_and_both_sides_of_left() -> None:
    kinds = {reason.kind for case in CASES for reason in case.reasons}
    assert kinds == {"help", "streak", "kernel_deaths", "long_run", "idle", "claimed"}
    assert {case.left for case in CASES} == {True, False}


def test_a_student_is_stuck_in_the_cell_of_the_failed_runs() -> None:
    [case] = [case for case in CASES if case.name == "as many failed runs as the threshold"]
    assert stuck_cell(case.state, case.thresholds, case.now) == ("n1", "c1")
    run = case.state.last_execution
    assert isinstance(run, ExecutionRef)
    nowhere = msgspec.structs.replace(case.state, last_execution=msgspec.structs.replace(run, cell=None))
    assert stuck_cell(nowhere, case.thresholds, case.now) is None


def test_thresholds_out_of_bounds_are_refused() -> None:
    assert {name: threshold_bounds(name) for name in Thresholds.__struct_fields__} == {
        "stuck_errors": (1, 100),
        "kernel_deaths": (1, 20),
        "long_run_s": (10, 86_400),
        "idle_s": (10, 86_400),
        "offline_s": (60, 86_400),
    }
    for name, value in {
        "stuck_errors": 0,
        "kernel_deaths": 21,
        "long_run_s": 9,
        "idle_s": 86_401,
        "offline_s": 59,
    }.items():
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({name: value}, Thresholds)
