"""Tests that need an optional program or right: skipped without it, or failed on a machine that must run them, such as CI."""

from __future__ import annotations

import os
from typing import Final, NoReturn

import pytest

__all__ = [
    "REQUIRE_BROWSER",
    "REQUIRE_INFLUXD",
    "REQUIRE_PGBOUNCER",
    "REQUIRE_ROOT",
    "REQUIRE_STORES",
    "skip_or_fail",
]

REQUIRE_BROWSER: Final = "CELL_MONITOR_REQUIRE_BROWSER"
REQUIRE_INFLUXD: Final = "CELL_MONITOR_REQUIRE_INFLUXD"
REQUIRE_PGBOUNCER: Final = "CELL_MONITOR_REQUIRE_PGBOUNCER"
REQUIRE_ROOT: Final = "CELL_MONITOR_REQUIRE_ROOT"
REQUIRE_STORES: Final = "CELL_MONITOR_REQUIRE_STORES"


def skip_or_fail(missing: str, *, switch: str) -> NoReturn:
    """Skip the test, or fail it if the environment variable ``switch`` is 1. ``missing`` is the reason."""
    if os.environ.get(switch) == "1":
        pytest.fail(f"{switch}=1, but there is {missing}")
    pytest.skip(f"skipped: there is {missing}")
