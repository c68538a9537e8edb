"""Hazard: the comparison with a linger of two seconds counts requests that such an extension would not have made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "load"))

from pixel import requests_of_linger


@pytest.mark.parametrize(
    ("times", "requests"),
    [
        ((), 0),
        ((5.0,), 1),
        ((5.0, 6.9, 7.0), 1),
        ((5.0, 7.1), 2),
        # The linger begins with the first event that waits and not again with each.
        ((5.0, 6.5, 8.0, 9.5), 2),
        ((9.5, 5.0, 8.0, 6.5), 2),
    ],
)
def test_events_of_one_linger_are_one_request(times: Sequence[float], requests: int) -> None:
    assert requests_of_linger(times, 2.0) == requests
