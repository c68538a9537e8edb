"""Events of a class, generated from a seed: valid, varied, and cheap enough to generate 20,000 of them.

The class is not realistic (``cell-monitor simulate`` is) but covers every event type and every branch of the derived
state: streaks, restarts in the middle of a run, cancelled help, several sessions per student.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

__all__ = ["StudentTraffic", "class_traffic"]

_ERRORS = ("NameError", "TypeError", "IndexError", "KeyError", "ZeroDivisionError")


def _uuid7(moment: datetime, rng: random.Random) -> str:
    """Return a UUIDv7 (RFC 9562, 5.7) with a given time."""
    milliseconds = int(moment.timestamp() * 1000)
    value = (milliseconds << 80) | (7 << 76) | (rng.getrandbits(12) << 64) | (0b10 << 62) | rng.getrandbits(62)
    return str(UUID(int=value))


@dataclass
class StudentTraffic:
    """One student's events in order of time."""

    username: str
    events: list[dict[str, Any]] = field(default_factory=list)


class _Author:
    """Generates one student's events with simulated times."""

    def __init__(self, username: str, course: str, start: datetime, rng: random.Random) -> None:
        self.traffic = StudentTraffic(username)
        self._course = course
        self._now = start
        self._rng = rng
        self._sequence = 0
        self._session = ""
        self._help = ""
        self._count = 0
        self._notebook = {"id": "nb-1", "path": "week1/exercises.ipynb", "title": "Exercises"}

    def _write(self, kind: str, data: dict[str, Any] | None = None, cell: int | None = None) -> str:
        self._now += timedelta(milliseconds=self._rng.randint(1, 900))
        self._sequence += 1
        event: dict[str, Any] = {
            "event_id": _uuid7(self._now, self._rng),
            "type": kind,
            "schema_version": 1,
            "occurred_at": self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": self._session,
            "seq": self._sequence,
            "notebook": self._notebook,
            "course": self._course,
            "data": data or {},
        }
        if cell is not None:
            event["cell"] = {
                "id": f"cell-{cell}",
                "source_id": f"exercise-{cell}",
                "index": cell,
                "type": "code",
                "heading": f"Exercise {cell}",
                "ordinal": 1,
            }
        self.traffic.events.append(event)
        return str(event["event_id"])

    def open(self) -> None:
        self._session = _uuid7(self._now, self._rng)
        self._sequence = 0
        self._write("session_started", {"client": {"extension_version": "0.1.0"}})
        self._write("notebook_opened", {"cells": []})

    def close(self) -> None:
        self._write("notebook_closed")
        self._write("session_ended", {"reason": "closed"})

    def run(self, cell: int) -> None:
        self._count += 1
        execution = _uuid7(self._now, self._rng)
        self._write("cell_execution_started", {"execution_id": execution}, cell)
        luck = self._rng.random()
        if luck < 0.03:
            self._write("kernel_restarted", {"reason": "user"})
        status = "ok" if luck > 0.4 else "aborted" if luck < 0.06 else "error"
        data: dict[str, Any] = {
            "execution_id": execution,
            "status": status,
            "duration_ms": self._rng.randint(1, 4000),
            "execution_count": self._count,
            "code": f"answer = {self._count}\nprint(answer)",
            "outputs": [{"type": "stream", "name": "stdout", "text": f"{self._count}\n", "size": 3}],
        }
        if status == "error":
            name = self._rng.choice(_ERRORS)
            data["error"] = {"name": name, "value": f"だめ {self._count}", "traceback": f"Traceback …\n{name}: だめ"}
        self._write("cell_executed", data, cell)

    def step(self) -> None:
        luck = self._rng.random()
        cell = self._rng.randint(1, 8)
        if luck < 0.6:
            self.run(cell)
        elif luck < 0.75:
            self._write("cell_edited", {"length": self._rng.randint(1, 900)}, cell)
        elif luck < 0.85:
            self._write("cell_selected", {}, cell)
        elif luck < 0.9:
            self._write("heartbeat", {"queued": 0, "dropped": 0, "visible": True})
        elif luck < 0.93:
            self._write("notebook_saved", {"manual": True})
        elif luck < 0.96 and not self._help:
            self._help = self._write("help_requested", {"message": "どうして赤いのですか。 Why is it red?"}, cell)
        elif luck < 0.98 and self._help:
            self._write("help_cancelled", {"request_id": self._help})
            self._help = ""
        elif luck < 0.985:
            self._write("kernel_died")
        elif luck < 0.99:
            self.close()
            self.open()


def class_traffic(
    *, students: int, events: int, course: str, seed: int = 1, start: datetime | None = None
) -> list[StudentTraffic]:
    """Return ``students`` students with at least ``events`` events in total, the same for the same seed and start."""
    rng = random.Random(seed)  # noqa: S311 - test data
    begin = start or datetime.now(UTC) - timedelta(hours=2)
    authors = [
        _Author(f"traffic-{number:03d}", course, begin + timedelta(milliseconds=number), rng)
        for number in range(students)
    ]
    for author in authors:
        author.open()
    each = -(-events // students)
    for author in authors:
        while len(author.traffic.events) < each:
            author.step()
    return [author.traffic for author in authors]
