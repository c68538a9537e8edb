"""Hazards: a service runs slowly without its C extensions, a blocked event loop goes unnoticed."""

import asyncio
import gc
import sys
import time

import pytest

from cell_monitor_core.runtime import LoopWatchdog, SlowPathError, require_fast_path, tune_gc


def test_missing_c_extension_is_refused(monkeypatch):
    require_fast_path()
    monkeypatch.setitem(sys.modules, "httptools", None)
    with pytest.raises(SlowPathError, match="httptools"):
        require_fast_path()


def test_tune_gc_freezes_existing_objects():
    before = gc.get_threshold()
    try:
        tune_gc()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (10_000, 50, 1_000)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


async def test_blocked_loop_is_measured_and_its_stack_logged():
    lags = []
    async with LoopWatchdog(lags.append, interval=0.01, stall_seconds=0.1) as watchdog:
        while not lags:
            await asyncio.sleep(0.005)
        # A busy machine may have stalled it before.
        before = watchdog.stalls
        deadline = time.monotonic() + 60
        while watchdog.stalls == before and time.monotonic() < deadline:
            time.sleep(0.05)  # noqa: ASYNC251  (the blocking call under test)
        # It looks again several times and reports the same stall no second time.
        time.sleep(0.3)  # noqa: ASYNC251
        assert watchdog.stalls == before + 1
        calm = len(lags)
        while len(lags) == calm:
            await asyncio.sleep(0.005)
    assert max(lags) > 0.05
