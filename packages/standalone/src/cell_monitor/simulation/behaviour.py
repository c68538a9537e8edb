"""The behaviour of a simulated student as a pure function of the seed, without clock and network.

A student reads, edits, runs cells, fails and tries again, on a hard cell often with the same mistake. They may get
stuck and ask for help, cancel the request, pause, restart the kernel after an endless loop, and finish or not. What they do is
reported as the JupyterLab extension reports it, and nothing else is; at the end of the class they close the notebook.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from cell_monitor.simulation.exercises import EXERCISES, Exercise, Mistake, Solution, format_traceback
from cell_monitor.simulation.notebook import CELLS

__all__ = [
    "EDIT_PERIOD_S",
    "HEARTBEAT_S",
    "HIDDEN_HEARTBEAT_S",
    "SELECT_DELAY_S",
    "Character",
    "Step",
    "ending",
    "plan_student",
]

# The extension's own periods (src/capture/heartbeat.ts, src/capture/edits.ts); a test compares them.
HEARTBEAT_S: Final = 15.0
HIDDEN_HEARTBEAT_S: Final = 45.0
EDIT_PERIOD_S: Final = 2.0
SELECT_DELAY_S: Final = 1.0
_LEAVES_WITHIN: Final = 0.03
"""Share of the class, before its end, in which those who have not finished leave."""
_STUCK_AFTER: Final = 3
_MAX_TRIES: Final = 12
_CLIENT: Final = {"extension_version": "0.1.0", "lab_version": "4.6.2", "kernel_name": "python3", "language": "python"}
_QUESTIONS: Final = (
    "なぜエラーになりますか。",
    "I get the same error again and again.",
    "エラーの意味がわかりません。",
    "It worked a minute ago!",
    "ループが止まりません。",
    "Is my indentation wrong?",
    None,
    None,
)


@dataclass(frozen=True, slots=True)
class Character:
    """The traits of one student.

    Attributes:
        pace: factor of the time that each action takes, 0.6 (fast) to 1.7.
        skill: 0 to 1, on the scale of the exercises' difficulty.
        shyness: 0 (asks at once) to 1 (never asks).
        pauses: is inactive once for a while.
    """

    pace: float
    skill: float
    shyness: float
    pauses: bool

    @classmethod
    def of(cls, random: Random) -> Character:
        """Return random traits."""
        return cls(
            pace=random.triangular(0.6, 1.7, 1.0),
            skill=min(1.0, max(0.05, random.gauss(0.55, 0.22))),
            shyness=random.betavariate(1.6, 1.8),
            pauses=random.random() < 0.12,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One planned event.

    Attributes:
        at: seconds since the start of the class.
        type: event type.
        data: the event's ``data``; a ``help_cancelled`` gets its ``request_id`` from the sender.
        exercise: the cell of the event; None for events of the whole notebook.
        code: of the start of a run, what is run; it is no part of the event.
    """

    at: float
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    exercise: Exercise | None = None
    code: str = ""


def plan_student(seed: str, *, minutes: float, exercises: tuple[Exercise, ...] = EXERCISES) -> Iterator[Step]:
    """Yield all events of one student in order of time, with heartbeats, from the session's begin to its end.

    Args:
        seed: the same seed gives the same student.
        minutes: length of the class; an average student solves the exercises in this time.
        exercises: cells to work on, in this order.
    """
    random = Random(seed)  # noqa: S311
    length = minutes * 60
    end = length * (1 - random.uniform(0.001, _LEAVES_WITHIN))
    heartbeats = _Heartbeats(random.uniform(0.2, 1.0) * HEARTBEAT_S)
    running: Step | None = None
    for step in _Student(random, Character.of(random), length, exercises).work():
        if step.at >= end:
            break
        if step.type == "session_started":
            heartbeats.begin(step.at)
        yield from heartbeats.until(step.at)
        if step.type == "_visible":
            yield from heartbeats.turn(step.at, visible=bool(step.data["visible"]))
            continue
        yield step
        if step.type == "session_ended":
            return
        if step.type == "cell_execution_started":
            running = step
        elif step.type == "cell_executed":
            running = None
    yield from heartbeats.until(end)
    yield from ending(end, running)


def ending(at: float, running: Step | None) -> Iterator[Step]:
    """Yield what the extension sends when a notebook is closed: a run that goes on ends as aborted.

    Args:
        at: when, in seconds since the start of the class.
        running: the start of the run that goes on, if any.
    """
    if running is not None:
        data = {
            "execution_id": running.data["execution_id"],
            "status": "aborted",
            "duration_ms": max(0, round((at - running.at) * 1000)),
            "code": running.code,
            "outputs": [],
        }
        yield Step(at, "cell_executed", data, running.exercise)
    yield Step(at, "notebook_closed")
    yield Step(at, "session_ended", {"reason": "closed"})


class _Heartbeats:
    """The timer of the page: every 15 s while it is visible, and every 45 s while it is hidden."""

    def __init__(self, first: float) -> None:
        self._next = first
        self._sent = first - HIDDEN_HEARTBEAT_S
        self._visible = True

    def begin(self, at: float) -> None:
        """Begin with the session: nothing is sent before it."""
        while self._next <= at:
            self._next += HEARTBEAT_S

    def until(self, at: float) -> Iterator[Step]:
        while self._next <= at:
            if self._visible or self._next - self._sent >= HIDDEN_HEARTBEAT_S:
                yield self._heartbeat(self._next)
            self._next += HEARTBEAT_S

    def turn(self, at: float, *, visible: bool) -> Iterator[Step]:
        """Hide or show the page; a page that is shown again sends one at once."""
        self._visible = visible
        if visible:
            yield self._heartbeat(at)

    def _heartbeat(self, at: float) -> Step:
        self._sent = at
        return Step(at, "heartbeat", {"queued": 0, "dropped": 0, "visible": self._visible})


class _Student:
    """One run through the notebook. ``now`` is the simulated time in seconds."""

    def __init__(self, random: Random, character: Character, end: float, exercises: tuple[Exercise, ...]) -> None:
        self.random = random
        self.character = character
        self.exercises = exercises
        # An average student finishes shortly before the end, including the time to read and think.
        self.share = end * 1.6 / len(exercises) * character.pace
        self.now = random.triangular(0.5, min(30.0, end * 0.2), 2.0)
        self.execution_count = 0
        self.waiting = False

    def work(self) -> Iterator[Step]:
        yield self._step("session_started", {"client": _CLIENT})
        yield self._step("notebook_opened", {"cells": list(CELLS.values())})
        pauses_at = self.random.randrange(len(self.exercises)) if self.character.pauses else None
        for number, exercise in enumerate(self.exercises):
            if number == pauses_at:
                yield from self._pause()
            yield from self._solve(exercise)
            self._pass(self.share * 0.05)
            yield self._step("notebook_saved", {"manual": self.random.random() < 0.4})
        self._pass(self.share * 0.2)
        yield from ending(self.now, None)

    def _solve(self, exercise: Exercise) -> Iterator[Step]:
        self._pass(SELECT_DELAY_S)
        yield self._step("cell_selected", exercise=exercise)
        self._pass(self.share * self.random.uniform(0.1, 0.25))
        helped = False
        mistake = self.random.choice(exercise.mistakes)
        for tries in range(_MAX_TRIES):
            chance = 0.54 + 0.8 * (self.character.skill - exercise.difficulty) + 0.06 * tries + (0.3 if helped else 0.0)
            succeeds = self.random.random() < min(0.95, max(0.06, chance))
            attempt = self.random.choice(exercise.solutions) if succeeds else mistake
            yield from self._edit(exercise, attempt.code, first=tries == 0)
            if isinstance(attempt, Solution):
                yield from self._run(exercise, attempt)
                if self.waiting and self.random.random() < 0.9:
                    # Solved without help from staff.
                    self.waiting = False
                    yield self._step("help_cancelled", exercise=exercise)
                return
            yield from self._run(exercise, attempt)
            self._pass(self.share * self.random.uniform(0.05, 0.2))
            if (
                tries + 1 >= _STUCK_AFTER
                and not (helped or self.waiting)
                and self.random.random() > self.character.shyness
            ):
                yield from self._ask(exercise)
                helped = True
            # On a hard exercise the student often repeats the same mistake; otherwise another one follows.
            if self.random.random() > 0.3 + 0.5 * exercise.difficulty:
                mistake = self.random.choice(exercise.mistakes)
        # The student skips this exercise.

    def _edit(self, exercise: Exercise, code: str, *, first: bool) -> Iterator[Step]:
        bursts = self.random.randint(1, 3)
        for burst in range(1, bursts + 1):
            # However fast a student types, a cell's changes are reported once in two seconds.
            self._pass(max(EDIT_PERIOD_S, self.share * self.random.uniform(0.02, 0.07)))
            data: dict[str, Any] = {"length": max(1, len(code) * burst // bursts)}
            if first and self.random.random() < 0.06:
                data["pasted_length"] = data["length"]
            yield self._step("cell_edited", data, exercise)

    def _run(self, exercise: Exercise, attempt: Mistake | Solution) -> Iterator[Step]:
        self.execution_count += 1
        run_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        yield Step(self.now, "cell_execution_started", {"execution_id": run_id}, exercise, attempt.code)
        endless = isinstance(attempt, Mistake) and attempt.endless
        seconds = self.random.uniform(8, 40) if endless else self.random.lognormvariate(-3.2, 0.8)
        seconds = min(seconds, max(2.0, self.share))
        self.now += seconds
        yield self._step("cell_executed", self._outcome(run_id, attempt, seconds), exercise)
        if endless and self.random.random() < 0.25:
            self._pass(2)
            yield self._step("kernel_restarted", {"reason": "user"})
            self.execution_count = 0

    def _outcome(self, run_id: str, attempt: Mistake | Solution, seconds: float) -> dict[str, Any]:
        outputs: list[dict[str, Any]] = []
        if attempt.stdout:
            outputs.append(
                {"type": "stream", "name": "stdout", "text": attempt.stdout, "size": len(attempt.stdout.encode())}
            )
        data: dict[str, Any] = {
            "execution_id": run_id,
            "execution_count": self.execution_count,
            "status": "ok",
            "duration_ms": max(1, round(seconds * 1000)),
            "code": attempt.code,
            "outputs": outputs,
        }
        if isinstance(attempt, Mistake):
            # An interrupt is not an error in the code.
            data["status"] = "aborted" if attempt.endless else "error"
            data["error"] = {
                "name": attempt.error,
                "value": attempt.value,
                "traceback": format_traceback(attempt, self.execution_count),
            }
        elif attempt.result is not None:
            size = len(attempt.result.encode())
            outputs.append({"type": "result", "mime": "text/plain", "text": attempt.result, "size": size})
        return data

    def _ask(self, exercise: Exercise) -> Iterator[Step]:
        message = self.random.choice(_QUESTIONS)
        yield self._step("help_requested", {"message": message} if message else {}, exercise)
        self.waiting = True
        self._pass(self.random.uniform(20, 80))

    def _pause(self) -> Iterator[Step]:
        yield self._step("_visible", {"visible": False})
        self._pass(self.share * self.random.uniform(1.0, 2.0))
        yield self._step("_visible", {"visible": True})

    def _pass(self, seconds: float) -> None:
        self.now += seconds

    def _step(self, kind: str, data: Mapping[str, Any] | None = None, exercise: Exercise | None = None) -> Step:
        return Step(self.now, kind, data or {}, exercise)
