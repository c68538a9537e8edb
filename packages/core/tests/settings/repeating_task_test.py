"""Hazards: a background task ends without a sign, or keeps its process from ending."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from cell_monitor_core.repeating_task import RepeatingTask


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("x"), TimeoutError(), RecursionError()])
async def test_an_error_is_logged_and_counted_and_does_not_end_the_task(error: Exception) -> None:
    errors: list[None] = []
    outcomes = [None, error, error, None, None]
    done: list[Exception | None] = []

    async def step() -> None:
        outcome = outcomes.pop(0) if outcomes else None
        done.append(outcome)
        if outcome is not None:
            raise outcome

    with capture_logs() as logs:
        async with RepeatingTask("sample", step, interval_s=0.0, on_error=lambda: errors.append(None)):
            await until(lambda: len(done) >= 5)
    assert done[:5] == [None, error, error, None, None]
    assert len(errors) == 2
    assert [(line["event"], line["task"]) for line in logs] == [("background_task_failed", "sample")] * 2


async def test_a_step_decides_when_it_is_repeated() -> None:
    pauses = [0.0, 0.0, 3600.0]
    done: list[float] = []

    async def step() -> float:
        done.append(pauses[len(done)])
        return done[-1]

    async with RepeatingTask("sample", step, interval_s=3600.0):
        await until(lambda: len(done) == 3)


async def test_the_process_ends_although_a_step_swallows_the_cancellation() -> None:
    begun = asyncio.Event()

    async def step() -> float:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return 3600.0

    task = RepeatingTask("sample", step, interval_s=3600.0)
    task.start()
    await begun.wait()
    async with asyncio.timeout(20):
        await task.aclose()


async def test_a_task_that_is_ended_before_its_first_repetition_does_nothing() -> None:
    done: list[None] = []

    async def step() -> None:
        done.append(None)

    task = RepeatingTask("sample", step, interval_s=0.0, first_after_s=3600.0)
    await task.aclose()
    task.start()
    await task.aclose()
    assert not done
