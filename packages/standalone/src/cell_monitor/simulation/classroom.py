"""Sends the events of a simulated class to the API, in real time, faster, or at a fixed rate."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from cell_monitor.simulation.behaviour import Step, ending, plan_student
from cell_monitor.simulation.client import ApiClient, ApiError, Tally
from cell_monitor.simulation.exercises import NOTEBOOK_ID, NOTEBOOK_PATH, NOTEBOOK_TITLE
from cell_monitor.simulation.names import student_names
from cell_monitor.simulation.notebook import CELLS
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.events.types import EVENT_TYPES
from cell_monitor_core.timestamps import to_text

__all__ = ["BATCH_DELAY_S", "LINGER_S", "Classroom", "ClassroomOptions", "EventWriter", "Progress"]

# The extension's own (src/queue/queue.ts); a test compares them.
LINGER_S: Final = 0.1
BATCH_DELAY_S: Final = 10.0
_MAX_BATCH: Final = 200
_CLOSE_S: Final = 5.0
"""How long an interrupted class may take to end its sessions."""
_MAX_WAITING: Final = 20_000
"""Maximum number of unsent events of one student; the class is delayed when the API is too slow."""


@dataclass(frozen=True, slots=True)
class ClassroomOptions:
    """Parameters of a simulated class.

    Attributes:
        course_id: an existing course.
        students: number of students.
        minutes: length of the class in simulated time.
        speed: simulated time as a multiple of real time.
        rate: total events per second of all students, instead of their own pace; for load tests.
        seed: the same seed gives the same class.
        prefix: user names are ``<prefix>-001`` and so on.
    """

    course_id: str
    students: int
    minutes: float
    speed: float
    rate: float | None
    seed: int
    prefix: str = "sim"

    @property
    def real_seconds(self) -> float:
        """Real duration in seconds; with ``rate`` the minutes are real ones."""
        return self.minutes * 60 / (1 if self.rate else self.speed)


@dataclass(slots=True)
class Progress:
    """Numbers for the progress bar, updated while the class runs."""

    elapsed: float = 0.0
    runs: int = 0
    errors: int = 0
    help_requests: int = 0


class EventWriter:
    """Turns one student's steps into events with ids, sequence numbers and times."""

    def __init__(self, course_id: str, random: Random) -> None:
        """Start a browser session of one notebook."""
        self._course_id = course_id
        self._notebook = {"id": NOTEBOOK_ID, "path": NOTEBOOK_PATH, "title": NOTEBOOK_TITLE}
        self._session_id = str(uuid.UUID(int=random.getrandbits(128), version=4))
        self._seq = 0
        self._help_id: str | None = None
        self._last: Step | None = None
        self._running: Step | None = None
        self._started_at = ""

    def write(self, step: Step) -> dict[str, Any] | None:
        """Return the event of a step at the current time, or None for cancelling a help request that does not exist."""
        data = dict(step.data)
        event_id = str(new_event_id())
        at = to_text(datetime.now(UTC))
        if step.type == "help_requested":
            self._help_id = event_id
        if step.type == "help_cancelled":
            if self._help_id is None:
                return None
            data["request_id"] = self._help_id
            self._help_id = None
        if step.type == "cell_execution_started":
            self._running, self._started_at = step, at
        elif step.type == "cell_executed":
            data["started_at"] = self._started_at
            self._running = None
        self._last = step
        self._seq += 1
        event: dict[str, Any] = {
            "event_id": event_id,
            "type": step.type,
            "schema_version": EVENT_TYPES[step.type].version,
            "occurred_at": at,
            "session_id": self._session_id,
            "seq": self._seq,
            "notebook": self._notebook,
            "data": data,
            "course": self._course_id,
        }
        if step.exercise is not None:
            event["cell"] = CELLS[step.exercise.cell_id]
        return event

    def close(self) -> Iterator[Step]:
        """Yield the steps that end the session, if it has begun and not ended."""
        if self._last is not None and self._last.type != "session_ended":
            yield from ending(self._last.at, self._running)


class Classroom:
    """One run of a simulated class."""

    def __init__(self, options: ClassroomOptions, client: ApiClient, tally: Tally) -> None:
        """Prepare the run; nothing is sent yet."""
        self.progress = Progress()
        self._options = options
        self._client = client
        self._tally = tally
        self._names = student_names(options.students, options.seed)
        self._usernames = [f"{options.prefix}-{number:03d}" for number in range(1, options.students + 1)]
        self._writers = [self._writer(number, 0) for number in range(options.students)]

    async def enrol(self) -> None:
        """Add the students to the course's roster.

        Raises:
            ApiError: the API refused it.
        """
        members = [
            {"username": username, "display_name": name, "role": "student"}
            for username, name in zip(self._usernames, self._names, strict=True)
        ]
        await self._client.enrol(self._options.course_id, members)

    async def run(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Send the events of the whole class; every session has ended then, also when the task is cancelled.

        Raises:
            ApiError: the API refused a batch, or was unavailable for too long.
        """
        queues: list[asyncio.Queue[dict[str, Any] | None]] = [asyncio.Queue(_MAX_WAITING) for _ in self._usernames]
        try:
            await self._play(queues, clock)
        except asyncio.CancelledError:
            await self._close(queues)
            raise

    async def _play(self, queues: list[asyncio.Queue[dict[str, Any] | None]], clock: Callable[[], float]) -> None:
        run_steps = self._at_rate if self._options.rate else self._in_time
        try:
            async with asyncio.TaskGroup() as group:
                for username, queue in zip(self._usernames, queues, strict=True):
                    group.create_task(self._deliver(username, queue))
                await run_steps(queues, clock)
                for writer, queue in zip(self._writers, queues, strict=True):
                    for step in writer.close():
                        await self._act(step, writer, queue)
                    await queue.put(None)
        except* ApiError as refused:
            raise ApiError(str(refused.exceptions[0])) from refused

    async def _close(self, queues: list[asyncio.Queue[dict[str, Any] | None]]) -> None:
        """Send what is queued and the ends of the sessions, as pages that are closed do, within a few seconds."""

        async def close(username: str, writer: EventWriter, queue: asyncio.Queue[dict[str, Any] | None]) -> None:
            left = []
            while not queue.empty():
                left.append(queue.get_nowait())
            left += [writer.write(step) for step in writer.close()]
            events = [event for event in left if event is not None]
            for start in range(0, len(events), _MAX_BATCH):
                await self._client.send(username, events[start : start + _MAX_BATCH])

        with contextlib.suppress(TimeoutError, ExceptionGroup):
            async with asyncio.timeout(_CLOSE_S), asyncio.TaskGroup() as group:
                for username, writer, queue in zip(self._usernames, self._writers, queues, strict=True):
                    group.create_task(close(username, writer, queue))

    async def _in_time(self, queues: list[asyncio.Queue[dict[str, Any] | None]], clock: Callable[[], float]) -> None:
        """Execute each student's steps at their planned times."""
        options = self._options
        plans = [self._plan(number, 0) for number in range(options.students)]
        upcoming: list[tuple[float, int, Step]] = []
        for number, plan in enumerate(plans):
            _push_next(upcoming, number, plan)
        started = clock()
        while upcoming:
            at, number, step = heapq.heappop(upcoming)
            wait = started + at / options.speed - clock()
            if wait > 0:
                await asyncio.sleep(wait)
            self.progress.elapsed = clock() - started
            await self._act(step, self._writers[number], queues[number])
            _push_next(upcoming, number, plans[number])
        self.progress.elapsed = options.real_seconds

    async def _at_rate(self, queues: list[asyncio.Queue[dict[str, Any] | None]], clock: Callable[[], float]) -> None:
        """Execute the students' steps in turn at the given rate. A student who has finished starts again."""
        options = self._options
        rate = options.rate or 1.0
        rounds = [0] * options.students
        plans = [self._plan(number, 0) for number in range(options.students)]
        started = clock()
        done = 0
        number = 0
        while (elapsed := clock() - started) < options.real_seconds:
            self.progress.elapsed = elapsed
            while done < elapsed * rate:
                step = next(plans[number], None)
                if step is None:
                    rounds[number] += 1
                    plans[number] = self._plan(number, rounds[number])
                    self._writers[number] = self._writer(number, rounds[number])
                    continue
                await self._act(step, self._writers[number], queues[number])
                done += 1
                number = (number + 1) % options.students
            await asyncio.sleep(0.02)
        self.progress.elapsed = options.real_seconds

    async def _act(self, step: Step, writer: EventWriter, queue: asyncio.Queue[dict[str, Any] | None]) -> None:
        event = writer.write(step)
        if event is None:
            return
        if step.type == "cell_executed":
            self.progress.runs += 1
            self.progress.errors += step.data["status"] == "error"
        self.progress.help_requests += step.type == "help_requested"
        await queue.put(event)

    async def _deliver(self, username: str, queue: asyncio.Queue[dict[str, Any] | None]) -> None:
        """Send the queued events as the extension does: urgent ones at once, others with them or within ten seconds."""
        speed = max(1.0, self._options.speed)
        # At a fixed rate the batches matter and not the student: half a second's events travel together.
        linger = LINGER_S / speed if self._options.rate is None else 0.5
        delay = BATCH_DELAY_S / speed if self._options.rate is None else 0.5
        finished = False
        while not finished:
            batch: list[dict[str, Any]] = []
            event = await queue.get()
            deadline = time.monotonic() + delay
            while True:
                if event is None:
                    finished = True
                    break
                batch.append(event)
                if EVENT_TYPES[event["type"]].urgent:
                    deadline = min(deadline, time.monotonic() + linger)
                if len(batch) >= _MAX_BATCH:
                    break
                try:
                    event = await asyncio.wait_for(queue.get(), max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    break
            if batch:
                await self._client.send(username, batch)

    def _plan(self, number: int, lap: int) -> Iterator[Step]:
        options = self._options
        return plan_student(f"{options.seed}/{number}/{lap}", minutes=options.minutes)

    def _writer(self, number: int, lap: int) -> EventWriter:
        options = self._options
        random = Random(f"session {options.seed}/{number}/{lap}/{time.time_ns()}")  # noqa: S311
        return EventWriter(options.course_id, random)


def _push_next(upcoming: list[tuple[float, int, Step]], number: int, plan: Iterator[Step]) -> None:
    step = next(plan, None)
    if step is not None:
        # The heap never compares steps, because it contains one step per student.
        heapq.heappush(upcoming, (step.at, number, step))
