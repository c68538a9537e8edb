"""Hazard: an error in one periodic task of the worker ends the storing of all events."""

from __future__ import annotations

import asyncio

from cell_monitor_worker.maintenance import every


async def test_a_periodic_task_is_repeated_after_it_failed_or_could_not_be_done() -> None:
    outcomes: list[bool | Exception] = [True, RuntimeError("a fault of this version"), False, True]
    done: list[bool | Exception] = []
    finished = asyncio.Event()

    async def work() -> bool:
        outcome = outcomes[len(done)]
        done.append(outcome)
        if len(done) == len(outcomes):
            finished.set()
            await asyncio.sleep(3600)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with every("trim", 0.001, work, retry_s=0.001), asyncio.timeout(20):
        await finished.wait()
    assert done == outcomes
