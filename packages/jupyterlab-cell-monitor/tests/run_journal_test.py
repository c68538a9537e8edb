"""Hazard: a Jupyter server that is killed forgets the runs that it followed, or another server takes them for its own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_cell_monitor.run_follower import PAGE_SECONDS, RECOVERED_SECONDS, RunFollower
from jupyterlab_cell_monitor.run_journal import RecoveredRuns, RunJournal
from jupyterlab_cell_monitor.waits import HoldClock

LOG = logging.getLogger("cell-monitor-test")
RUN = "0b7d3a52-8a55-4a52-b0fb-0a5f6f0b6c11"
START = {
    "event_id": "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0e",
    "type": "cell_execution_started",
    "schema_version": 1,
    "occurred_at": "2026-04-01T09:00:00.000Z",
    "session_id": "6f1c4f0e-6f59-4f0e-9d5d-2d8f3a1b0c01",
    "seq": 3,
    "notebook": {"id": "n", "path": "week1.ipynb"},
    "cell": {"id": "c", "source_id": "c", "index": 0, "type": "code"},
    "data": {"execution_id": RUN},
}


class Clock:
    """A computer's clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.hold = HoldClock("boot", lambda: self.seconds, lambda: self.seconds)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Callable[[Clock], RunJournal]]:
    """Make journals of servers that share one folder; they are closed with the test."""
    made: list[RunJournal] = []

    def make(clock: Clock) -> RunJournal:
        made.append(RunJournal(tmp_path / "runs", LOG, clock.hold))
        return made[-1]

    yield make
    for each in made:
        await each.close()


def kill(killed: RunJournal) -> None:
    """What the system does to the locks of a process that is gone."""
    assert killed._lock is not None
    killed._lock.close()


async def opened(one: RunJournal) -> RecoveredRuns:
    found = await one.open()
    assert found is not None
    return found


async def test_the_next_server_reports_the_run_as_aborted_when_its_page_had_time_to_do_it(
    tmp_path: Path, journal: Any
) -> None:
    clock, follower = Clock(), RunFollower()
    first = journal(clock)
    assert (await opened(first)).runs == []
    left = {**START, "event_id": START["event_id"][:-1] + "a", "type": "session_ended", "seq": 4}
    follower.observe([START, left | {"data": {"reason": "hidden", "ends_runs": False}}], 5.0)
    await first.save(follower.saved())
    kill(first)
    clock.seconds += 3600

    found = await opened(journal(clock))
    assert found.ago_s == 3600
    follower = RunFollower()
    follower.recover(found.runs, 50.0, found.ago_s)
    # A browser that saw the end has it in its store.
    assert follower.due(50.0 + PAGE_SECONDS) == []
    (lost,) = follower.due(50.0 + RECOVERED_SECONDS)
    end, closed = lost.events
    assert (end["type"], end["event_id"], end["data"]["status"]) == (
        "cell_executed",
        "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0f",
        "aborted",
    )
    assert (end["seq"], closed["type"], closed["seq"]) == (5, "session_ended", 6)
    assert end["data"]["outputs_truncated"]
    # The monitor counts it at the time at which this student's server was last known to be alive.
    assert lost.times == [50.0 - 3600] * 2


async def test_an_end_that_the_browser_had_kept_counts_instead(tmp_path: Path, journal: Any) -> None:
    clock, follower = Clock(), RunFollower()
    first = journal(clock)
    await first.open()
    follower.observe([START], 5.0)
    await first.save(follower.saved())
    kill(first)
    follower = RunFollower()
    follower.recover((await opened(journal(clock))).runs, 0.0, 0.0)
    end = {**START, "type": "cell_executed", "seq": 4, "event_id": "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0f"}
    follower.observe([end], 1.0)
    assert (follower.due(1000.0), follower.open_runs, follower.saved()) == ([], 0, [])


async def test_two_servers_of_one_student_do_not_take_each_others_runs(tmp_path: Path, journal: Any) -> None:
    clock = Clock()
    first, second = journal(clock), journal(clock)
    await first.open()
    await second.open()
    await first.save([{"n": 1}])
    await second.save([{"n": 2}])
    third = journal(clock)
    assert (await opened(third)).runs == []
    kill(first)
    kill(second)
    fourth = journal(clock)
    assert (await opened(fourth)).runs == [{"n": 1}, {"n": 2}]
    # A kill before the first save of the new process loses none, and reports none twice.
    kill(fourth)
    assert (await opened(journal(clock))).runs == [{"n": 1}, {"n": 2}]


async def test_a_file_that_a_disk_damaged_stops_nothing(tmp_path: Path, journal: Any) -> None:
    clock = Clock()
    first = journal(clock)
    await first.open()
    await first.save([{"n": 1}])
    await first.close()
    for text in ("", "{", "[]", '{"saved":{"clock":"boot"},"runs":[]}', '{"saved":5,"runs":5}', "[" * 100_000):
        (tmp_path / "runs/0.json").write_text(text, "utf-8")
        damaged = journal(clock)
        assert (await opened(damaged)).runs == []
        await damaged.save([{"n": 2}])
        await damaged.close()
        after = journal(clock)
        assert (await opened(after)).runs == [{"n": 2}]
        await after.close()


async def test_a_directory_that_cannot_be_used_is_reported_and_runs_are_followed_without_it(
    tmp_path: Path, journal: Any, caplog: Any
) -> None:
    (tmp_path / "runs").write_text("a file")
    broken = journal(Clock())
    assert await broken.open() is None
    await broken.save([{"n": 1}])
    await broken.close()
    assert "Open runs cannot be stored" in caplog.text


async def test_the_file_is_the_students_alone_and_is_written_only_when_a_run_begins_or_ends(
    tmp_path: Path, journal: Any
) -> None:
    one = journal(Clock())
    await one.open()
    await one.save([])
    path = tmp_path / "runs/0.json"
    assert not path.exists()
    await one.save([{"n": 1}])
    assert path.stat().st_mode & 0o777 == 0o600
    written = path.stat().st_ino
    await one.save([{"n": 1}])
    assert path.stat().st_ino == written
    await one.save([])
    assert path.stat().st_ino != written


def test_what_was_changed_by_hand_is_not_taken() -> None:
    follower = RunFollower()
    follower.observe([START], 0.0)
    (good,) = follower.saved()
    odd = [
        5,
        {},
        *({**good, name: 5} for name in ("execution_id", "start_id", "shared", "began")),
        {**good, "seq": "1"},
    ]
    follower = RunFollower()
    follower.recover([*odd, {**good, "session_end": 5}], 0.0, 0.0)
    assert follower.open_runs == 1
