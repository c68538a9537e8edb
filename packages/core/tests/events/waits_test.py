"""Hazards: a wrong clock decides how long an event waited, costs the event, or an older sender is not understood."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.events.codec import IngestRequest, decode_request
from cell_monitor_core.events.waits import MAX_WAIT_MS

MADE = datetime(2026, 4, 1, 9, tzinfo=UTC)
ANY_DATE = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001 - the clock's own


def text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def request(**times: Any) -> IngestRequest:
    return decode_request(json.dumps({**times, "events": [{}, {}]}).encode())


def waits(made: IngestRequest, *occurred: str) -> list[int]:
    return [made.waits.of_event(position, each) for position, each in enumerate(occurred)]


@pytest.mark.parametrize("off", [timedelta(), timedelta(hours=10), timedelta(days=-2000), timedelta(days=60_000)])
def test_only_the_distance_on_the_senders_clock_counts_however_wrong_it_is(off: timedelta) -> None:
    sent = MADE + off + timedelta(minutes=20)
    made = request(sent_at=text(sent))
    assert waits(made, text(MADE + off), text(sent)) == [20 * 60_000, 0]


def test_a_measured_wait_counts_and_not_a_clock_that_was_set_meanwhile() -> None:
    made = request(sent_at=text(MADE - timedelta(hours=10)), waited_ms=[1500, 0])
    assert waits(made, text(MADE), text(MADE)) == [1500, 0]


def test_an_older_sender_says_nothing_and_its_events_are_new() -> None:
    assert waits(request(), text(MADE - timedelta(days=9)), text(MADE)) == [0, 0]
    assert waits(request(sent_at=None, waited_ms=None), text(MADE), text(MADE)) == [0, 0]


def test_a_clock_set_back_before_sending_is_no_negative_wait() -> None:
    assert waits(request(sent_at=text(MADE)), text(MADE + timedelta(hours=10)), text(MADE)) == [0, 0]
    assert waits(request(waited_ms=[-5, -(2**62)]), text(MADE), text(MADE)) == [0, 0]


def test_no_claim_reaches_further_back_than_the_bound() -> None:
    assert waits(request(waited_ms=[MAX_WAIT_MS + 1, 2**62]), text(MADE), text(MADE)) == [MAX_WAIT_MS] * 2
    assert waits(request(sent_at="9999-12-31T23:59:59Z"), "0001-01-01T00:00:00Z", text(MADE)) == [MAX_WAIT_MS] * 2


@pytest.mark.parametrize(
    "sent_at", ["", "yesterday", "2026-04-01T09:00:00", "2026-02-30T09:00:00Z", "+275760-09-13", "9" * 99]
)
def test_a_time_of_sending_that_cannot_be_read_is_no_reason_to_lose_the_events(sent_at: str) -> None:
    made = request(sent_at=sent_at)
    assert len(made.events) == 2
    assert waits(made, text(MADE), text(MADE)) == [0, 0]


@pytest.mark.parametrize(
    "body",
    [
        b'{"sent_at":"2026-04-01T09:00:02Z","waited_ms":[3],"events":[{"a":1}]}',
        b'{ "sent_at" : "2026-04-01T09:00:02Z", "waited_ms": [ 3 ] , "events" : [{"a":1}] } ',
        b'{"events":[{"a":1}],"waited_ms":[3],"sent_at":"2026-04-01T09:00:02Z"}',
        b'{"waited_ms":[3],"sent_at":"2026-04-01T09:00:02Z","events":[{"a":1}]}',
        b'{"waited_ms":[3],"events":[{"a":1}]}',
    ],
)
def test_the_order_and_the_spelling_of_the_keys_do_not_matter(body: bytes) -> None:
    made = decode_request(body)
    assert [json.loads(bytes(raw)) for raw in made.events] == [{"a": 1}]
    assert waits(made, "2026-04-01T09:00:00Z") == [3]


@given(ANY_DATE, ANY_DATE, st.none() | st.lists(st.integers(), min_size=2, max_size=2))
def test_no_clock_gives_a_wait_outside_of_the_bounds(
    sent: datetime, made: datetime, measured: list[int] | None
) -> None:
    times = {} if measured is None else {"waited_ms": measured}
    found = waits(request(sent_at=text(sent), **times), text(made), text(sent))
    assert all(0 <= wait <= MAX_WAIT_MS for wait in found)
