"""Hazards: what was held over an outage reads as new, a clock decides how long it was held, an older monitor refuses it."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_cell_monitor.ingest_body import read_batch
from jupyterlab_cell_monitor.spool import Record, Spool
from jupyterlab_cell_monitor.waits import MAX_WAIT_MS, HoldClock, Moment, browser_waits, hold_clock

MINUTE = 60_000
Eventually = Callable[..., Awaitable[None]]


class Hands:
    """A computer's clocks, moved by the test."""

    def __init__(self) -> None:
        self.ticks = 5000.0
        self.wall = 1_775_034_000.0

    def clock(self, boot: str = "b007") -> HoldClock:
        return HoldClock(boot, lambda: self.ticks, lambda: self.wall)

    def pass_(self, seconds: float, *, wall_set_by: float = 0.0) -> None:
        self.ticks += seconds
        self.wall += seconds + wall_set_by


async def send(forwarder: Any, events: list[Any], **times: Any) -> Any:
    return await forwarder.submit(read_batch(json.dumps({**times, "events": events}).encode()), traceparent=None)


async def test_what_waited_in_the_spool_over_an_outage_does_not_read_as_new(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Eventually
) -> None:
    hands = Hands()
    asked, later = make_event(type="help_requested"), make_event()
    async with open_forwarder(clock=hands.clock()) as forwarder:
        api.stop()
        await send(forwarder, [asked], waited_ms=[1500])
        # Somebody sets the clock right meanwhile: what passed is what passed.
        hands.pass_(15 * 60, wall_set_by=-36_000)
        await send(forwarder, [later], sent_at="2026-04-01T09:00:03.123Z")
        hands.pass_(5 * 60)
        api.start()
        await eventually(lambda: len(api.stored) == 2, lambda: api.requests)
    waits = {
        event["event_id"]: wait
        for seen in api.requests
        for event, wait in zip(seen.events, seen.waited_ms, strict=True)
    }
    assert waits == {asked["event_id"]: 20 * MINUTE + 1500, later["event_id"]: 5 * MINUTE + 3000}


@pytest.mark.parametrize(
    ("boot", "set_by", "held_ms"),
    [
        # Another process of the same boot: the monotonic clock goes on.
        ("b007", 7200, 20 * MINUTE),
        # The computer was started again: the wall clock is all that there is.
        ("07e2", 0, 20 * MINUTE),
        # It was set back meanwhile, or by years: nothing negative, and nothing beyond the bound.
        ("07e2", -36_000, 0),
        ("07e2", 400 * 86_400, MAX_WAIT_MS),
    ],
)
async def test_the_wait_goes_on_over_a_restart_of_the_jupyter_server(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Eventually, boot: str, set_by: float, held_ms: int
) -> None:
    hands = Hands()
    async with open_forwarder(clock=hands.clock()) as forwarder:
        api.stop()
        await send(forwarder, [make_event()])
    hands.pass_(20 * 60, wall_set_by=set_by)
    if boot != "b007":
        hands.ticks = 3.0
    api.start()
    async with open_forwarder(clock=hands.clock(boot)) as forwarder:
        await eventually(lambda: api.stored, lambda: api.requests)
    assert [seen.waited_ms for seen in api.requests] == [[held_ms]]


async def test_what_an_older_version_spooled_is_sent_and_reads_as_new(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Eventually, tmp_path: Path
) -> None:
    older = Spool(tmp_path / "spool" / "0", 100_000)
    older.append([Record(json.dumps(make_event()).encode())])
    older.close()
    async with open_forwarder():
        await eventually(lambda: api.stored, lambda: api.requests)
    assert [seen.waited_ms for seen in api.requests] == [[0]]


def test_a_moment_survives_the_disk_and_an_older_version_reads_past_it(tmp_path: Path) -> None:
    records = [
        Record(b"{}", "t-1", None, 1500, Moment("b007-1", 5, 1_775_034_000_123)),
        Record(b"{}", None, f"00-{'a' * 32}-{'b' * 16}-01", 0, Moment("b007-1", 5, -1)),
    ]
    spool = Spool(tmp_path, 100_000)
    for record in records:
        spool.append([record])
        chunk = spool.read(1, 10_000)
        assert chunk.records == [record]
        spool.acknowledge(chunk.end)
    spool.append(records)
    (segment,) = tmp_path.glob("*.seg")
    # An older version takes the text before the first space for the test's name, and the rest for a trace or for none.
    assert [line.rpartition(b"CMS1")[2][8:].partition(b" ")[0] for line in segment.read_bytes().split(b"\n{}")[:2]] == [
        b"t-1",
        b"",
    ]
    spool.close()


async def test_what_the_browser_says_of_the_waits_goes_straight_through(
    api: Any, open_forwarder: Any, make_event: Any
) -> None:
    async with open_forwarder() as forwarder:
        await send(forwarder, [make_event(), make_event()], sent_at="2026-04-01T09:00:00.123Z", waited_ms=[3, 0])
    [seen] = api.requests
    assert (seen.sent_at, seen.waited_ms) == ("2026-04-01T09:00:00.123Z", [3, 0])


async def test_a_monitor_of_an_older_release_gets_every_event_all_the_same(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Eventually
) -> None:
    api.knows_waits = False
    async with open_forwarder() as forwarder:
        for _ in range(3):
            answer = await send(forwarder, [make_event()], sent_at="2026-04-01T09:00:00Z", waited_ms=[1])
            assert [result["status"] for result in answer.body["results"]] == ["accepted"]
        api.stop()
        await send(forwarder, [make_event(), make_event()], waited_ms=[1, 1])
        api.start()
        await eventually(lambda: len(api.stored) == 5, lambda: api.requests)
        assert forwarder.status()["dropped_events"] == 0
    # It is not asked with every request whether it was upgraded.
    assert api.refused == 1


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"waited_ms": [5, 7]}, [5, 7]),
        ({"waited_ms": [5]}, [0, 0]),
        ({"waited_ms": [-5, 2**70]}, [0, MAX_WAIT_MS]),
        ({"waited_ms": ["5", None]}, [0, 0]),
        ({"sent_at": "2026-04-01T09:00:02.123Z"}, [2000, 0]),
        ({"sent_at": "2026-04-01T08:00:00Z"}, [0, 0]),
        ({"sent_at": "9999-12-31T23:59:59Z"}, [MAX_WAIT_MS, 0]),
        ({"sent_at": "yesterday"}, [0, 0]),
        ({"sent_at": 17, "waited_ms": {}}, [0, 0]),
        ({}, [0, 0]),
    ],
)
def test_no_claim_of_a_browser_gives_anything_but_a_bounded_wait(times: dict[str, Any], expected: list[int]) -> None:
    events = [{"occurred_at": "2026-04-01T09:00:00.123Z"}, "no event"]
    assert browser_waits(events, times.get("sent_at"), times.get("waited_ms")) == expected


def test_this_computers_clock_never_runs_back() -> None:
    clock = hold_clock()
    before = clock.now()
    assert 0 <= clock.held_ms(before) < 60_000
    if sys.platform == "linux":
        # The next process knows that it is the same clock.
        assert hold_clock().now().clock == before.clock
