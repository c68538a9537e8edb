"""Statistics of a comparison of two builds: the ratio of each figure, its uncertainty, and the verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["LIMIT", "Comparison", "Verdict", "compare", "interval_of_median", "table"]

LIMIT: Final = 1.10
"""A figure may be 10 % higher than that of the other build."""
_COVERAGE: Final = 0.95


class Verdict(StrEnum):
    """What the rounds say about one figure. Lower figures are better."""

    BETTER = "more than 10 % better"
    WITHIN = "within 10 %"
    UNCLEAR = "unclear: more rounds are needed"
    WORSE = "more than 10 % worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of both builds.

    Attributes:
        name: of the figure, with its unit.
        this: median over the rounds of this checkout.
        other: median over the rounds of the other build.
        ratio: median of the rounds' ratios, this checkout to the other build.
        low: lower end of the ratio's confidence interval.
        high: upper end of it.
        verdict: what follows.
    """

    name: str
    this: float
    other: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return a confidence interval of the median of at least 95 %, or the range where there are too few values.

    The interval from the k-th smallest to the k-th largest of n values misses the median with the probability
    2·P(X < k), X binomial with n and 1/2, whatever the distribution of the values is (sign test; David and Nagaraja,
    Order Statistics, section 7.1). Six values are needed for 95 %, nine for leaving out one at each end.
    """
    ordered = sorted(values)
    count = len(ordered)

    def missed(dropped: int) -> float:
        return float(2 * sum(math.comb(count, number) for number in range(dropped + 1)) / 2**count)

    dropped = 0  # at each end
    while missed(dropped + 1) <= 1 - _COVERAGE:
        dropped += 1
    return ordered[dropped], ordered[count - 1 - dropped]


def compare(name: str, this: Sequence[float], other: Sequence[float]) -> Comparison:
    """Compare a figure of both builds, round by round: what disturbs the machine disturbs neighbours alike.

    Raises:
        ValueError: the builds have different numbers of rounds, or none.
    """
    ratios = [mine / theirs for mine, theirs in zip(this, other, strict=True)]
    if not ratios:
        raise ValueError("there are no rounds to compare")
    ratio = statistics.median(ratios)
    low, high = interval_of_median(ratios)
    if low > LIMIT:
        verdict = Verdict.WORSE
    elif ratio > LIMIT:
        verdict = Verdict.UNCLEAR
    elif high < 1 / LIMIT:
        verdict = Verdict.BETTER
    else:
        verdict = Verdict.WITHIN
    return Comparison(name, statistics.median(this), statistics.median(other), ratio, low, high, verdict)


def table(comparisons: Sequence[Comparison], *, other: str, notes: Mapping[str, str]) -> str:
    """Return the Markdown of a comparison with the build named ``other``; ``notes`` are facts about the run."""
    lines = [f"{name}: {text}" for name, text in notes.items()]
    lines += ["", f"| figure | this checkout | {other} | ratio | 95 % interval | |", "|---|---:|---:|---:|---:|---|"]
    lines += [
        f"| {each.name} | {_text(each.this)} | {_text(each.other)} | {each.ratio:.3f} | {each.low:.3f} to {each.high:.3f} | {each.verdict} |"
        for each in comparisons
    ]
    return "\n".join([*lines, ""])


def _text(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
