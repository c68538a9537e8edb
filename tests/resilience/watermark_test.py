"""Hazard: "Live" judges the last hop only. A page says Live while a stopped worker, a locked PostgreSQL or a frozen API keeps
every help request from it.

A live client judges the watermarks as the dashboard does: 3 s without a recent one is not live.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import psutil
import pytest

from cell_monitor_testing.live_client import LiveClient
from cell_monitor_testing.servers import connection
from cell_monitor_testing.traffic import class_traffic

pytestmark = [pytest.mark.resilience, pytest.mark.influxdb, pytest.mark.timeout(280)]

LIVE_S = 3.0
Until = Callable[..., Awaitable[Any]]


def events_of(classroom: Any, count: int) -> dict[str, list[dict[str, Any]]]:
    """Return at least ``count`` new events by their senders."""
    traffic = class_traffic(
        students=len(classroom.students), events=count, course=classroom.course_id, seed=time.monotonic_ns() % 2**31
    )
    return {student.username: student.events for student in traffic}


def processes(service: Any) -> list[psutil.Process]:
    first = psutil.Process(service.pid)
    return [first, *first.children(recursive=True)]


@asynccontextmanager
async def frozen(services: Iterable[Any]) -> AsyncIterator[None]:
    """Suspend processes: their connections stay open, and nothing answers."""
    suspended = [process for service in services for process in processes(service)]
    for process in suspended:
        process.suspend()
    try:
        yield
    finally:
        for process in suspended:
            process.resume()


@asynccontextmanager
async def locked(system: Any) -> AsyncIterator[None]:
    """Lock the table of events from another session."""
    async with connection(system.postgres.dsn) as postgres, postgres.transaction():
        await postgres.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def killed(services: list[Any]) -> AsyncIterator[None]:
    for service in services:
        service.kill()
    yield
    for service in services:
        service.launch()
    for service in services:
        await service.wait_ready(timeout=60)


@asynccontextmanager
async def redis_stopped(system: Any, course_id: str) -> AsyncIterator[None]:
    number = system.node_of(course_id)
    await asyncio.to_thread(system.cluster.nodes[number].stop)
    yield
    await system.start_valkey(number)


FAULTS: dict[str, Callable[[Any, str], AbstractAsyncContextManager[None]]] = {
    "workers frozen": lambda system, _: frozen(system.workers),
    "workers killed": lambda system, _: killed(system.workers),
    "table locked": lambda system, _: locked(system),
    "api frozen": lambda system, _: frozen([system.api]),
    "redis stopped": redis_stopped,
    "gateways frozen": lambda system, _: frozen(system.gateways),
}


async def is_live(client: LiveClient) -> bool:
    client.check()
    return client.live.is_set() and client.delay_s <= LIVE_S


async def send(system: Any, classroom: Any, events: dict[str, list[dict[str, Any]]]) -> None:
    async with system.client() as http, asyncio.TaskGroup() as group:
        for username, own in events.items():
            group.create_task(system.sender(http, username).send(own))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_dashboard_is_not_live_during_a_fault_and_is_again_after_it(
    system: Any, until: Until, fault: str
) -> None:
    classroom = await system.classroom(students=2)
    async with system.dashboards(classroom, number=1, gateways=(0, 1)) as [client]:
        await until(partial(is_live, client), "the dashboard is live")
        async with FAULTS[fault](system, classroom.course_id):
            if fault == "table locked":
                # A beat wakes no transaction: what is locked shows once an event waits for it.
                await send(system, classroom, events_of(classroom, 2))

            async def not_live() -> bool:
                return not await is_live(client)

            await until(not_live, f"the dashboard is not live with {fault}", timeout=30)
        await until(partial(is_live, client), f"the dashboard is live again after {fault}")


async def test_one_frozen_process_of_the_api_is_replaced_as_holder_of_the_leases(system: Any, until: Until) -> None:
    classroom = await system.classroom(students=1)
    async with system.dashboards(classroom, number=1) as [client]:
        await until(partial(is_live, client), "the dashboard is live")
        for process in psutil.Process(system.api.pid).children():
            process.suspend()
            try:
                since = client.watermark["at"]

                async def beats_again(since: int = since) -> bool:
                    return bool(client.watermark["at"] >= since + 5_000)

                await until(beats_again, "the other process appends the beats", timeout=60)
            finally:
                process.resume()


async def test_the_watermark_does_not_pass_events_that_a_killed_worker_had_read(system: Any, until: Until) -> None:
    classroom = await system.classroom(students=4)
    async with system.dashboards(classroom, number=1) as [client]:
        await until(partial(is_live, client), "the dashboard is live")
        async with locked(system):
            sent = 0
            for _ in range(5):
                events = events_of(classroom, 40)
                await send(system, classroom, events)
                sent += sum(len(own) for own in events.values())

            async def both_have_some() -> bool:
                return all([await system.pending_entries(worker) for worker in system.workers])

            await until(both_have_some, "both workers have entries that they cannot finish")
            accepted_at = time.time() * 1000
            system.workers[0].kill()

        async def passed() -> bool:
            # Read before the store is asked: what the watermark says must have been stored already.
            at = client.watermark["at"]
            stored = await system.stored(classroom.course_id)
            if at > accepted_at:
                assert stored == sent
            return bool(at > accepted_at)

        await until(passed, "the other worker finishes what the killed one had read")
