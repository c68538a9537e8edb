"""Hazard: noise passes for a slower build, or a slower build for noise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "load"))

from comparison import Verdict, compare, interval_of_median


@pytest.mark.parametrize(
    ("count", "rank"),
    # Ranks of the nonparametric 95 % interval of a median, as tables of the sign test have them.
    [(5, 1), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (20, 6), (25, 8)],
)
def test_interval_has_the_ranks_of_the_sign_tests_tables(count: int, rank: int) -> None:
    values = [float(number) for number in range(1, count + 1)]
    assert interval_of_median(values[::-1]) == (rank, count + 1 - rank)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (0.85, Verdict.BETTER),
        (0.95, Verdict.WITHIN),
        (1.0, Verdict.WITHIN),
        (1.09, Verdict.WITHIN),
        (1.12, Verdict.WORSE),
    ],
)
def test_verdict_of_steady_rounds_follows_the_limit_of_10_percent(ratio: float, verdict: Verdict) -> None:
    other = [100.0, 101.0, 99.0, 102.0, 98.0, 100.0]
    found = compare("CPU", [value * ratio for value in other], other)
    assert found.verdict is verdict
    assert found.ratio == pytest.approx(ratio)


def test_one_disturbed_round_is_no_slower_build() -> None:
    assert compare("CPU", [100.0] * 8 + [500.0], [100.0] * 9).verdict is Verdict.WITHIN


def test_rounds_that_scatter_around_the_limit_are_unclear_and_not_a_failure() -> None:
    this = [100.0, 130.0, 105.0, 120.0, 115.0, 99.0, 125.0, 112.0, 118.0]
    found = compare("CPU", this, [100.0] * 9)
    assert found.ratio > 1.10
    assert found.verdict is Verdict.UNCLEAR


def test_a_machine_that_becomes_slower_during_the_run_does_not_change_the_ratio() -> None:
    other = [100.0, 120.0, 150.0, 200.0, 260.0, 300.0]
    found = compare("CPU", [value * 1.05 for value in other], other)
    assert (found.low, found.high) == pytest.approx((1.05, 1.05))
    assert found.verdict is Verdict.WITHIN


def test_a_build_with_fewer_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        compare("CPU", [1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="no rounds"):
        compare("CPU", [], [])
