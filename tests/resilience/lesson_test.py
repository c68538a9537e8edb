"""A lesson under kills: sent = stored exactly, states are what the facts say, open dashboards show the truth."""

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
    """Students who send, a few of them in any order and some batches five times, as far as a gate lets them.

    The gate keeps what is broken in the middle: senders stop at the next fault's place until this fault is through.
    """

    senders: list[tuple[EventSender, list[list[Event]]]]
    rng: random.Random
    allowed: int = 0
    begun: int = 0
    opened: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    def of(
        cls, system: Any, client: httpx.AsyncClient, rooms: Sequence[Any], sizes: Sequence[int], seed: int
    ) -> Lesson:
        """Make each student's events of all their courses into batches."""
        rng = random.Random(seed)
        events: dict[str, list[Event]] = {}
        for number, (room, size) in enumerate(zip(rooms, sizes, strict=True)):
            for student in class_traffic(
                students=len(room.students), events=size, course=room.course_id, seed=rng.getrandbits(32) + number
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
        """Ids of all events of a course."""
        return {
            event["event_id"]
            for _, batches in self.senders
            for batch in batches
            for event in batch
            if event["course"] == course_id
        }

    @property
    def queued(self) -> int:
        """Events that were answered as queued so far."""
        return sum(len(sender.queued) for sender, _ in self.senders)

    @property
    def total(self) -> int:
        """Events of all students."""
        return sum(len(batch) for _, batches in self.senders for batch in batches)

    @property
    def over(self) -> bool:
        """Whether everything is queued."""
        return self.queued >= self.total

    async def open(self, share: float) -> None:
        """Let a share of all events pass."""
        async with self.opened:
            self.allowed = int(share * self.total)
            self.opened.notify_all()

    async def trickle(self) -> None:
        """Let a few more pass than the gate was to."""
        async with self.opened:
            self.allowed += 20
            self.opened.notify_all()

    async def send_all(self) -> None:
        """Send everything."""
        async with asyncio.TaskGroup() as group:
            for sender, batches in self.senders:
                group.create_task(self._send(sender, batches))

    async def _send(self, sender: EventSender, batches: list[list[Event]]) -> None:
        for batch in batches:
            async with self.opened:
                await self.opened.wait_for(lambda: self.begun < self.allowed)
                self.begun += len(batch)
            times = 5 if self.rng.random() < 0.08 else 1
            # At the same moment, as tabs and retries do.
            await asyncio.gather(*(sender.send(batch) for _ in range(times)))

    async def under(self, faults: Sequence[tuple[float, Fault]], until: Any) -> None:
        """Send everything while faults strike, each at its share of the events."""
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
        """Whatever was broken, senders got an answer that the contract names, or none."""
        answers: set[int | str] = set()
        for sender, _ in self.senders:
            answers |= set(sender.answers)
        assert answers <= {200, 401, 429, 503, "no_answer"}


class Faults:
    """What is done to the system; each ends with all of it running again."""

    def __init__(self, system: Any, until: Any, rooms: Sequence[Any], lesson: Lesson) -> None:
        self.system = system
        self.until = until
        self.rooms = rooms
        self.lesson = lesson
        self.struck = 0
        """How often a worker died with work in hand, or workers missed a store; at the end of a lesson it may be too late."""

    async def api(self) -> None:
        await self.system.kill_and_start(self.system.api)

    async def one_process_of_the_api(self) -> None:
        await self.system.kill_one_api_process()

    async def worker(self) -> None:
        await self._kill_workers(self.system.workers[:1])

    async def both_workers(self) -> None:
        await self._kill_workers(self.system.workers)

    async def _kill_workers(self, workers: Sequence[Any]) -> None:
        """``kill -9`` of workers, the first of them with work in hand: stopped, wherever it is, until it was given some."""
        victim = workers[0]
        victim.signal(signal.SIGSTOP)

        async def busy() -> bool:
            # What is queued now goes to whoever waits for it: to a stopped worker too, unless it was just elsewhere.
            await self.lesson.trickle()
            if await self.system.in_hand(victim):
                self.struck += 1
                return True
            victim.signal(signal.SIGCONT)
            await asyncio.sleep(0.01)
            victim.signal(signal.SIGSTOP)
            return self.lesson.over

        await self.until(busy, "the worker has something in hand")
        victim.kill()
        await self.system.kill_and_start(*workers)

    async def gateway(self) -> None:
        await self.system.kill_and_start(self.system.gateways[0])

    async def valkey_node(self, room: int = 0) -> None:
        """Restart the master that holds a course: it comes back with what its append-only file holds."""
        number = self.system.node_of(self.rooms[room].course_id)
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

    async def influxdb_leaves(self) -> None:
        self.system.influxdb.process.kill()
        await self._missed("influxdb")

    async def influxdb_returns(self) -> None:
        """Everything else went on meanwhile: what was queued is in PostgreSQL, not in InfluxDB."""
        await self.system.until_drained("postgres")
        if not self.lesson.over:
            async with self.system.log() as log:
                assert sum([(await log.lag(partition, "influxdb"))[0] for partition in range(8)]) > 0
        await self.system.start_influxdb()

    async def influxdb(self) -> None:
        await self.influxdb_leaves()
        await self.influxdb_returns()

    async def _missed(self, group: str) -> None:
        """Wait until the workers have tried in vain, several times."""

        async def misses() -> float:
            counts = [await metric(each, "cell_monitor_store_unavailable_total", group) for each in self.system.workers]
            return sum(counts)

        async def missed() -> bool:
            await self.lesson.trickle()
            if await misses() >= before + 4:
                self.struck += 1
                return True
            return self.lesson.over

        before = await misses()
        await self.until(missed, f"the workers miss the store of the group {group}")


async def metric(service: Any, name: str, group: str) -> float:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        text = (await client.get(f"{service.url}/metrics")).text
    wanted = f'{name}{{group="{group}"}} '
    return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


async def help_desk(system: Any, room: Any, client: httpx.AsyncClient) -> None:
    """An instructor who takes and resolves requests all the time, and clicks again when an answer does not come."""
    rng = random.Random(7)
    while True:
        await asyncio.sleep(0.2)
        try:
            headers = {"Authorization": f"Bearer {await system.token(room.instructor)}"}
            address = f"/api/v1/courses/{room.course_id}/help"
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
    rooms: Sequence[Any],
    sizes: Sequence[int],
    schedule: Callable[[Faults], Any],
    *,
    screens: int,
) -> Faults:
    """Give a lesson while faults strike, then compare what was sent with what every store holds."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(system.client())
        open_screens = await stack.enter_async_context(system.dashboards(rooms[0], number=screens))
        other_screen = await stack.enter_async_context(system.dashboards(rooms[-1], number=1, gateways=(1, 0)))
        lesson = Lesson.of(system, client, rooms, sizes, seed=len(rooms) * 1000 + screens)
        faults = Faults(system, until, rooms, lesson)
        desk = asyncio.create_task(help_desk(system, rooms[0], client))
        try:
            await lesson.under(schedule(faults), until)
            if desk.done():
                desk.result()
        finally:
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)
        lesson.assert_answers_are_documented()
        for room in rooms:
            await system.assert_stored_exactly(room.course_id, lesson.sent(room.course_id))
        await system.assert_screens_are_true([*open_screens, *other_screen])
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
async def test_one_fault_in_the_middle(system: Any, until: Any, fault: str) -> None:
    """The whole lesson's faults one by one: a failure here names its cause."""
    room = await system.classroom(students=6)

    def schedule(faults: Faults) -> list[tuple[float, Fault]]:
        # Near the end, too: nothing comes later that would mend what it breaks.
        return [(share, getattr(faults, fault)) for share in (0.1, 0.5, 0.97)]

    faults = await run_lesson(system, until, [room], [1200], schedule, screens=1)
    if fault in {"worker", "both_workers", "postgres", "postgres_killed", "influxdb"}:
        assert faults.struck >= 1


async def test_20000_events_while_everything_is_killed_or_away(system: Any, until: Any) -> None:
    rooms = [await system.classroom(students=30), await system.classroom(students=8)]

    def schedule(faults: Faults) -> list[tuple[float, Fault]]:
        return [
            (0.04, faults.worker),
            (0.10, faults.influxdb_leaves),
            (0.16, faults.api),
            (0.24, faults.gateway),
            (0.32, faults.valkey_node),
            (0.42, faults.both_workers),
            (0.50, faults.postgres_killed),
            (0.58, faults.influxdb_returns),
            (0.64, faults.one_process_of_the_api),
            (0.70, faults.worker),
            (0.76, lambda: faults.valkey_node(1)),
            (0.84, faults.postgres),
            (0.90, faults.gateway),
            (0.95, faults.api),
            # At the very end nothing comes later that would mend what these break.
            (0.98, faults.valkey_node),
            (0.99, faults.both_workers),
        ]

    faults = await run_lesson(system, until, rooms, [20_000, 2_000], schedule, screens=4)
    assert faults.struck >= 5
