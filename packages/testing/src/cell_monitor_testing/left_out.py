"""Tests that need a program which is not everywhere: left out without it, unless this machine is one where they must run."""

from __future__ import annotations

import os
from typing import Final, NoReturn

import pytest

__all__ = ["REQUIRE_BROWSER", "REQUIRE_INFLUXD", "left_out"]

REQUIRE_BROWSER: Final = "CELL_MONITOR_REQUIRE_BROWSER"
REQUIRE_INFLUXD: Final = "CELL_MONITOR_REQUIRE_INFLUXD"


def left_out(missing: str, *, switch: str) -> NoReturn:
    """Skip the test that needs what is missing; fail it where the variable ``switch`` is 1."""
    if os.environ.get(switch) == "1":
        pytest.fail(f"{switch}=1, but there is {missing}")
    pytest.skip(f"left out: there is {missing}")
