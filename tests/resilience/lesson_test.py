"""Hazard: killed processes lose or duplicate events, or leave a wrong state or a stale dashboard.

A class sends events while processes are killed. At the end each event is stored exactly once, the states equal those
derived from the facts, and open dashboards show them.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from cell_monitor_testing.event_sender import EventSender
from cell_monitor_testing.traffic import class_traffic

pytestmark = [pytest.mark.resilience, pytest.mark.influxdb, pytest.mark.timeout(280)]

Event = dict[str, Any]
Fault = Callable[[], Awaitable[None]]


@dataclass
class Lesson:
    """Students who send events, some in random order and some batches five times, up to a limit.

    The limit makes faults happen in the middle: senders stop before the next fault until the current one has ended.
    """

    senders: list[tuple[EventSender, list[list[Event]]]]
    rng: random.Random
    allowed: int = 0
    started: int = 0
    opened: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    def of(
        cls, system: Any, client: httpx.AsyncClient, classrooms: Sequence[Any], sizes: Sequence[int], seed: int
    ) -> Lesson:
        """Create a lesson with batches of each student's events of all courses."""
        rng = random.Random(seed)
        events: dict[str, list[Event]] = {}
        for number, (classroom, size) in enumerate(zip(classrooms, sizes, strict=True)):
            for student in class_traffic(
                students=len(classroom.students),
                events=size,
                course=classroom.course_id,
                seed=rng.getrandbits(32) + number,
            ):
                events.setdefault(student.username, []).extend(student.events)
        senders = []
        for number, (username, own) in enumerate(events.items()):
            if number % 2:
                rng.shuffle(own)
            else:
                own.sort(key=lambda event: str(event["occurred_at"]))
            batches = []
            while own:
                size = rng.choice((1, 5, 20, 50, 120, 200))
                batches.append(own[:size])
                del own[:size]
            if number % 3 == 0:
                rng.shuffle(batches)
            senders.append((system.sender(client, username), batches))
        return cls(senders, rng)

    def sent(self, course_id: str) -> set[str]:
        """Return the ids of all events of a course."""
        return {
            event["event_id"]
            for _, batches in self.senders
            for batch in batches
            for event in batch
            if event["course"] == course_id
        }

    @property
    def queued(self) -> int:
        """Number of events that were queued so far."""
        return sum(len(sender.queued) for sender, _ in self.senders)

    @property
    def total(self) -> int:
        """Number of events of all students."""
        return sum(len(batch) for _, batches in self.senders for batch in batches)

    @property
    def over(self) -> bool:
        """Whether all events are queued."""
        return self.queued >= self.total

    async def open(self, share: float) -> None:
        """Allow a share of all events to be sent."""
        async with self.opened:
            self.allowed = int(share * self.total)
            self.opened.notify_all()

    async def allow_more(self) -> None:
        """Raise the limit by a few events."""
        async with self.opened:
            self.allowed += 20
            self.opened.notify_all()

    async def send_all(self) -> None:
        """Send all events."""
        async with asyncio.TaskGroup() as group:
            for sender, batches in self.senders:
                group.create_task(self._send(sender, batches))

    async def _send(self, sender: EventSender, batches: list[list[Event]]) -> None:
        for batch in batches:
            async with self.opened:
                await self.opened.wait_for(lambda: self.started < self.allowed)
                self.started += len(batch)
            times = 5 if self.rng.random() < 0.08 else 1
            # At the same time, as several tabs and retries do.
            await asyncio.gather(*(sender.send(batch) for _ in range(times)))

    async def send_during(self, faults: Sequence[tuple[float, Fault]], until: Any) -> None:
        """Send all events and cause each fault when its share of the events is queued."""
        sending = asyncio.create_task(self.send_all())
        places = [share for share, _ in faults]
        try:
            for (share, fault), following in zip(faults, [*places[1:], 1.0], strict=True):
                await self.open(following)

                async def reached(share: float = share) -> bool:
                    if sending.done():
                        sending.result()
                    return self.queued >= share * self.total

                await until(reached, f"{share:.0%} of the events are queued")
                await fault()
            await self.open(2.0)
            async with asyncio.timeout(120):
                await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def assert_answers_are_documented(self) -> None:
        """Check that senders got only answers of the contract, or none."""
        answers: set[int | str] = set()
        for sender, _ in self.senders:
            answers |= set(sender.answers)
        assert answers <= {200, 401, 429, 503, "no_answer"}


class Faults:
    """Faults of the system. After each, all parts are running again."""

    def __init__(self, system: Any, until: Any, classrooms: Sequence[Any], lesson: Lesson) -> None:
        self.system = system
        self.until = until
        self.classrooms = classrooms
        self.lesson = lesson
        self.effective = 0
        """Number of faults that interrupted work: a worker was killed while it had entries, or workers missed a store."""

    async def api(self) -> None:
        await self.system.kill_and_start(self.system.api)

    async def one_process_of_the_api(self) -> None:
        await self.system.kill_one_api_process()

    async def worker(self) -> None:
        await self._kill_workers(self.system.workers[:1])

    async def both_workers(self) -> None:
        await self._kill_workers(self.system.workers)

    async def _kill_workers(self, workers: Sequence[Any]) -> None:
        """Kill workers with ``kill -9``, the first one while it has unfinished entries."""
        victim = workers[0]
        victim.signal(signal.SIGSTOP)

        async def busy() -> bool:
            # Redis delivers new entries to a waiting worker even if it is stopped, unless it was not reading.
            await self.lesson.allow_more()
            if await self.system.pending_entries(victim):
                self.effective += 1
                return True
            victim.signal(signal.SIGCONT)
            await asyncio.sleep(0.01)
            victim.signal(signal.SIGSTOP)
            return self.lesson.over

        await self.until(busy, "the worker has unfinished entries")
        victim.kill()
        await self.system.kill_and_start(*workers)

    async def gateway(self) -> None:
        await self.system.kill_and_start(self.system.gateways[0])

    async def valkey_node(self, classroom: int = 0) -> None:
        """Restart the master of a course; it loads its append-only file."""
        number = self.system.node_of(self.classrooms[classroom].course_id)
        await asyncio.to_thread(self.system.cluster.nodes[number].stop)
        await self.system.start_valkey(number)

    async def postgres(self) -> None:
        await asyncio.to_thread(self.system.postgres.stop)
        await self._missed("postgres")
        await self.system.start_postgres()

    async def postgres_killed(self) -> None:
        self.system.postgres.kill()
        await self._missed("postgres")
        await self.system.start_postgres()

    async def stop_influxdb(self) -> None:
        self.system.influxdb.process.kill()
        await self._missed("influxdb")

    async def start_influxdb(self) -> None:
        """Check that PostgreSQL got the events without InfluxDB, then start InfluxDB again."""
        await self.system.until_drained("postgres")
        if not self.lesson.over:
            assert await self.system.unfinished_entries("influxdb") > 0
        await self.system.start_influxdb()

    async def influxdb(self) -> None:
        await self.stop_influxdb()
        await self.start_influxdb()

    async def _missed(self, group: str) -> None:
        """Wait until several attempts of the workers have failed."""

        async def misses() -> float:
            counts = [await metric(each, "cell_monitor_store_unavailable_total", group) for each in self.system.workers]
            return sum(counts)

        async def missed() -> bool:
            if await misses() >= before + 4:
                self.effective += 1
                return True
            if await self.system.unfinished_entries(group):
                # The workers try these again. More events would only end the lesson before they do.
                return False
            await self.lesson.allow_more()
            return self.lesson.over

        before = await misses()
        await self.until(missed, f"the workers miss the store of the group {group}")


async def metric(service: Any, name: str, group: str) -> float:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        text = (await client.get(f"{service.url}/metrics")).text
    wanted = f'{name}{{group="{group}"}} '
    return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


async def help_desk(system: Any, classroom: Any, client: httpx.AsyncClient) -> None:
    """Take and resolve help requests continuously as an instructor, and repeat a click without an answer."""
    rng = random.Random(7)
    while True:
        await asyncio.sleep(0.2)
        try:
            headers = {"Authorization": f"Bearer {await system.token(classroom.instructor)}"}
            address = f"/api/v1/courses/{classroom.course_id}/help"
            active = (await client.get(address, headers=headers)).raise_for_status().json()["help"]
            for request in rng.sample(active, min(3, len(active))):
                action = "claim" if request["status"] == "open" else rng.choice(("resolve", "release"))
                while True:
                    try:
                        answer = await client.post(f"{address}/{request['request_id']}/{action}", headers=headers)
                    except httpx.TransportError:
                        await asyncio.sleep(0.2)
                        continue
                    if answer.status_code not in {429, 503}:
                        break
                    await asyncio.sleep(0.2)
                assert answer.status_code in {200, 404, 409}, answer.text
        except (httpx.TransportError, httpx.HTTPStatusError):
            continue


async def run_lesson(
    system: Any,
    until: Any,
    classrooms: Sequence[Any],
    sizes: Sequence[int],
    schedule: Callable[[Faults], Any],
    *,
    screens: int,
) -> Faults:
    """Run a lesson with faults, then compare the stores, the states and the dashboards."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(system.client())
        open_screens = await stack.enter_async_context(system.dashboards(classrooms[0], number=screens))
        other_screen = await stack.enter_async_context(system.dashboards(classrooms[-1], number=1, gateways=(1, 0)))
        lesson = Lesson.of(system, client, classrooms, sizes, seed=len(classrooms) * 1000 + screens)
        faults = Faults(system, until, classrooms, lesson)
        desk = asyncio.create_task(help_desk(system, classrooms[0], client))
        try:
            await lesson.send_during(schedule(faults), until)
            if desk.done():
                desk.result()
        finally:
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)
        lesson.assert_answers_are_documented()
        for classroom in classrooms:
            await system.assert_stored_exactly(classroom.course_id, lesson.sent(classroom.course_id))
        await system.assert_screens_are_current([*open_screens, *other_screen])
        assert all(client.publications > 0 for client in open_screens)
    return faults


@pytest.mark.parametrize(
    "fault",
    [
        "api",
        "one_process_of_the_api",
        "worker",
        "both_workers",
        "gateway",
        "valkey_node",
        "postgres",
        "postgres_killed",
        "influxdb",
    ],
)
async def test_one_fault_at_a_time(system: Any, until: Any, fault: str) -> None:
    """Each fault alone, so that a failure names its cause."""
    classroom = await system.classroom(students=6)

    def schedule(faults: Faults) -> list[tuple[float, Fault]]:
        # Near the end as well: no later event can correct the state.
        return [(share, getattr(faults, fault)) for share in (0.1, 0.5, 0.97)]

    faults = await run_lesson(system, until, [classroom], [1200], schedule, screens=1)
    if fault in {"worker", "both_workers", "postgres", "postgres_killed", "influxdb"}:
        assert faults.effective >= 1


async def test_20000_events_while_every_part_is_killed_or_unavailable(system: Any, until: Any) -> None:
    classrooms = [await system.classroom(students=30), await system.classroom(students=8)]

    def schedule(faults: Faults) -> list[tuple[float, Fault]]:
        return [
            (0.04, faults.worker),
            (0.10, faults.stop_influxdb),
            (0.16, faults.api),
            (0.24, faults.gateway),
            (0.32, faults.valkey_node),
            (0.42, faults.both_workers),
            (0.50, faults.postgres_killed),
            (0.58, faults.start_influxdb),
            (0.64, faults.one_process_of_the_api),
            (0.70, faults.worker),
            (0.76, lambda: faults.valkey_node(1)),
            (0.84, faults.postgres),
            (0.90, faults.gateway),
            (0.95, faults.api),
            # At the end, no later event can correct the state.
            (0.98, faults.valkey_node),
            (0.99, faults.both_workers),
        ]

    faults = await run_lesson(system, until, classrooms, [20_000, 2_000], schedule, screens=4)
    assert faults.effective >= 5
