"""Hazard: events are lost or reordered because the monitor is unavailable, slow, overloaded or answers nonsense."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_cell_monitor.answers import Answer
from jupyterlab_cell_monitor.forwarder import Forwarder
from jupyterlab_cell_monitor.ingest_body import Batch, batch_body, read_batch

API_KEY = "test-key"
SPOOLED = {"kind": "spooled"}
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def batch(*events: dict[str, Any], **fields: Any) -> Batch:
    return read_batch(json.dumps({"events": events, **fields}).encode())


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]


def statuses(answer: Answer) -> list[str]:
    assert isinstance(answer.body, dict)
    return [result["status"] for result in answer.body["results"]]


async def submit(
    forwarder: Forwarder, *events: dict[str, Any], traceparent: str | None = None, **fields: Any
) -> Answer:
    return await forwarder.submit(batch(*events, **fields), traceparent=traceparent)


async def test_events_and_notices_go_straight_through(api: Any, open_forwarder: Any, make_event: Any) -> None:
    api.notices = [{"kind": "help", "request_id": "r", "status": "claimed", "by": "Prof. X", "at": "now"}]
    events = [make_event() for _ in range(3)]
    async with open_forwarder() as forwarder:
        answer = await submit(forwarder, *events, traceparent=TRACE)
        assert answer.status == 200
        assert answer.body == {
            "results": [{"event_id": event["event_id"], "status": "accepted"} for event in events],
            "notices": api.notices,
        }
        assert forwarder.status() == {"state": "ok", "spooled_events": 0, "spooled_bytes": 0, "dropped_events": 0}
    assert api.order == ids(events)
    assert api.requests[0].headers["traceparent"].endswith("-01")


async def test_unknown_notices_are_not_answered_as_none(api: Any, open_forwarder: Any, make_event: Any) -> None:
    async with open_forwarder() as forwarder:
        for unknown in (None, "?"):
            api.notices = unknown
            assert (await submit(forwarder)).body == {"results": [], "notices": None}
        api.notices = None
        api.status_of = lambda _: "retry"
        assert (await submit(forwarder, make_event())).body["notices"] == [SPOOLED]


async def test_many_requests_at_once_share_one_token_exchange(api: Any, open_forwarder: Any, make_event: Any) -> None:
    async with open_forwarder() as forwarder:
        await asyncio.gather(*(submit(forwarder, make_event()) for _ in range(8)))
    assert len(api.stored) == 8
    assert api.exchanges == 1


async def test_a_revoked_token_is_exchanged_once_and_the_student_notices_nothing(
    api: Any, open_forwarder: Any, make_event: Any
) -> None:
    async with open_forwarder() as forwarder:
        await submit(forwarder, make_event())
        api.revoke_tokens()
        answer = await submit(forwarder, make_event())
        assert statuses(answer) == ["accepted"]
        assert answer.body["notices"] == []
    assert api.exchanges == 2
    assert len(api.stored) == 2


async def test_a_token_near_its_end_is_exchanged_before_it_fails(
    api: Any, open_forwarder: Any, make_event: Any
) -> None:
    api.expires_in = 0
    async with open_forwarder() as forwarder:
        await submit(forwarder, make_event())
        await submit(forwarder, make_event())
    assert api.exchanges == 2


async def test_events_of_an_outage_are_spooled_and_sent_in_order(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Callable[..., Awaitable[None]]
) -> None:
    events = [make_event(seq=n + 1) for n in range(450)]
    async with open_forwarder() as forwarder:
        await submit(forwarder, *events[:2])
        api.stop()
        for start in range(2, 440, 73):
            answer = await submit(forwarder, *events[start : min(start + 73, 440)])
            assert answer.status == 200
            assert set(statuses(answer)) == {"accepted"}
            assert answer.body["notices"] == [SPOOLED]
        status = forwarder.status()
        assert status["state"] == "unavailable"
        assert status["spooled_events"] == 438
        assert status["spooled_bytes"] > 0
        assert status["last_error"]
        api.start()
        # What is new meanwhile queues up behind what is old.
        await submit(forwarder, *events[440:])
        await eventually(lambda: len(api.stored) == 450, lambda: len(api.stored))
        await eventually(lambda: forwarder.status()["spooled_events"] == 0, forwarder.status)
        assert forwarder.status()["state"] == "ok"
    assert api.order == ids(events)


def _problem_of(odd: Any) -> str | None:
    """The problem that an answer must be called, as docs/operations/refusals.md names them."""
    if isinstance(odd, str) or b"x" * 99 in odd[2] or b"results" in odd[2] or odd[0] in {429, 500, 502, 503}:
        return None
    if odd[0] in {302, 404}:
        return "api_address_wrong"
    return "api_key_refused" if b"insufficient_scope" in odd[2] else "request_intercepted"


@pytest.mark.parametrize(
    "odd",
    [
        "drop",
        "hang",
        (200, {}, b"<html>a proxy's page</html>"),
        (200, {}, b'{"results": []}'),
        (200, {}, b'{"results": [{"status": "whatever"}], "notices": []}'),
        (429, {"Retry-After": "0"}, b"{}"),
        (500, {}, b""),
        (503, {"Retry-After": "soon"}, b"{}"),
        (302, {"Location": "http://127.0.0.1:1/"}, b""),
        (403, {}, b'{"detail": [{"type": "insufficient_scope", "msg": ""}]}'),
        (404, {}, b"nobody here"),
        (200, {}, b"x" * (3 * 1024 * 1024)),
        (200, {}, b'{"detail": [{"type": "invalid_body"}]}'),
        *(
            (status, {}, body)
            for status in (400, 401, 403, 411, 413, 415, 422, 431, 451, 511)
            for body in (b"<html>Blocked</html>", b'{"message": "invalid_body"}')
        ),
        (400, {}, b'{"detail": "invalid_body"}'),
        (411, {}, b'{"detail": [{"type": "length_required"}]}'),
        (415, {}, b'{"detail": [{"type": "unsupported_media_type"}]}'),
        (422, {}, b'{"detail": [{"type": "missing", "loc": ["body", "user"]}]}'),
        (502, {}, b"<html>Bad Gateway</html>"),
    ],
    ids=str,
)
async def test_whatever_the_monitor_does_the_event_arrives_once_it_is_well_again(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any, odd: Any
) -> None:
    api.misbehave = lambda _: odd
    event = make_event()
    async with open_forwarder(timeout_s=0.5) as forwarder:
        answer = await submit(forwarder, event)
        assert answer.status == 200
        assert statuses(answer) == ["accepted"]
        # Where the configuration must be changed, the answer says that waiting does not help.
        wrong = _problem_of(odd)
        assert answer.body["notices"] == [{**SPOOLED, "reason": wrong} if wrong else SPOOLED]
        assert forwarder.status()["state"] == ("misconfigured" if wrong else "unavailable")
        assert forwarder.status()["last_error"]
        api.misbehave = lambda _: None
        await eventually(lambda: event["event_id"] in api.stored)
        await eventually(lambda: forwarder.status()["spooled_events"] == 0, forwarder.status)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 413, 422, 500, 503])
async def test_a_proxy_that_answers_the_token_exchange_refuses_no_credential(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any, status: int
) -> None:
    api.exchange_reply = (status, {}, b"<html>Sign in at the campus network</html>")
    event = make_event()
    async with open_forwarder() as forwarder:
        answer = await submit(forwarder, event)
        assert statuses(answer) == ["accepted"]
        [notice] = answer.body["notices"]
        wrong = {302: "api_address_wrong", 404: "api_address_wrong", 500: None, 503: None}
        assert notice.get("reason") == wrong.get(status, "request_intercepted")
        error = forwarder.status()["last_error"]
        assert "refused" not in error
        assert "campus" not in error
        api.exchange_reply = None
        await eventually(lambda: event["event_id"] in api.stored)
        await eventually(lambda: forwarder.status()["spooled_events"] == 0, forwarder.status)
        assert forwarder.status()["state"] == "ok"


async def test_a_proxy_that_takes_less_than_the_monitor_gets_less_and_nothing_is_lost(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterlab_cell_monitor.forwarder._BACKOFF_BASE", 0.01)
    too_large = (413, {}, b"<html>413 Request Entity Too Large</html>")
    api.misbehave = lambda seen: too_large if seen.bytes > 20_000 else None
    events = [make_event() for _ in range(199)]
    giant = make_event(padding="x" * 30_000)
    async with open_forwarder() as forwarder:
        answer = await submit(forwarder, *events[:100], giant, *events[100:])
        assert set(statuses(answer)) == {"accepted"}
        await eventually(lambda: set(ids(events)) <= set(api.stored), lambda: len(api.stored))
        # One that is too large by itself waits behind the others, which is said.
        await eventually(lambda: forwarder.status()["spooled_events"] == 1, forwarder.status)
        await eventually(lambda: forwarder.status()["state"] == "misconfigured", forwarder.status)
        assert forwarder.status()["dropped_events"] == 0
        api.misbehave = lambda _: None
        await eventually(lambda: giant["event_id"] in api.stored)
        await eventually(lambda: forwarder.status()["state"] == "ok", forwarder.status)


async def test_retry_after_is_kept_by_everybody(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    answers = iter([(503, {"Retry-After": "1"}, b"{}")])
    api.misbehave = lambda _: next(answers, None)
    async with open_forwarder() as forwarder:
        await submit(forwarder, make_event())
        # Neither new events nor a look for notices may knock meanwhile.
        await submit(forwarder, make_event())
        assert (await submit(forwarder)).body == {"results": [], "notices": [SPOOLED]}
        await eventually(lambda: len(api.stored) == 2)
    assert api.requests[1].at - api.requests[0].at >= 1


async def test_an_event_that_is_to_be_sent_again_is_kept_and_sent_again(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    events = [make_event() for _ in range(5)]
    late = {events[1]["event_id"], events[3]["event_id"]}
    api.status_of = lambda event: "retry" if event["event_id"] in late else "accepted"
    async with open_forwarder() as forwarder:
        answer = await submit(forwarder, *events)
        assert statuses(answer) == ["accepted"] * 5
        assert [result["event_id"] for result in answer.body["results"]] == ids(events)
        assert answer.body["notices"] == [SPOOLED]
        assert forwarder.status()["spooled_events"] == 2
        late.clear()
        await eventually(lambda: len(api.stored) == 5)


async def test_an_event_from_the_spool_that_is_to_be_sent_again_is_not_forgotten(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    events = [make_event() for _ in range(4)]
    refusals = iter(range(5))
    api.status_of = lambda _: "accepted" if next(refusals, None) is None else "retry"
    api.stop()
    async with open_forwarder() as forwarder:
        await submit(forwarder, *events)
        api.start()
        await eventually(lambda: set(api.stored) == set(ids(events)), lambda: len(api.stored))
        await eventually(lambda: forwarder.status()["spooled_events"] == 0)
        assert forwarder.status()["dropped_events"] == 0


async def test_one_event_that_spoils_its_batch_costs_itself_alone(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    events = [make_event() for _ in range(40)]
    poison = events[17]["event_id"]

    def misbehave(seen: Any) -> Any:
        return (400, {}, b'{"detail": [{"type": "invalid_body"}]}') if poison in ids(seen.events) else None

    api.misbehave = misbehave
    api.stop()
    async with open_forwarder() as forwarder:
        await submit(forwarder, *events)
        api.start()
        await eventually(lambda: len(api.stored) == 39, lambda: len(api.stored))
        await eventually(lambda: forwarder.status()["spooled_events"] == 0)
        assert forwarder.status()["dropped_events"] == 1
    assert poison not in api.stored


async def test_events_of_a_foreign_course_are_refused_without_blocking_the_others(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    foreign = (403, {}, b'{"detail": [{"type": "course_forbidden", "msg": "not yours"}]}')
    api.misbehave = lambda seen: foreign if seen.events and seen.events[0].get("course") == "x" else None
    async with open_forwarder() as forwarder:
        event = make_event(course="x")
        answer = await submit(forwarder, event)
        assert answer.status == 200
        assert answer.body["results"] == [
            {"event_id": event["event_id"], "status": "rejected", "reason": "course_forbidden"}
        ]
        api.stop()
        await submit(forwarder, make_event(course="x"))
        api.start()
        await eventually(lambda: forwarder.status()["spooled_events"] == 0)
        await submit(forwarder, make_event())
        await eventually(lambda: len(api.stored) == 1)


async def test_what_one_server_kept_the_next_one_sends(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    events = [make_event() for _ in range(3)]
    api.stop()
    async with open_forwarder() as forwarder:
        await submit(forwarder, *events)
    api.start()
    async with open_forwarder():
        await eventually(lambda: api.order == ids(events), lambda: api.order)


async def test_a_trace_goes_on_behind_an_outage_and_a_restart_and_holds_only_its_own_events(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    events = [make_event(seq=n + 1) for n in range(6)]
    api.stop()
    async with open_forwarder() as forwarder:
        await submit(forwarder, events[0], traceparent=f"00-{'e' * 32}-{'f' * 16}-00")
        await submit(forwarder, events[1])
        await submit(forwarder, *events[2:4], traceparent=TRACE)
        await submit(forwarder, *events[4:], traceparent=TRACE.replace("b", "c"))
    api.start()
    async with open_forwarder():
        await eventually(lambda: len(api.stored) == 6)
    assert api.order == ids(events)
    # What nobody traces still goes in one request.
    assert [(seen.headers.get("traceparent"), ids(seen.events)) for seen in api.requests] == [
        (None, ids(events[:2])),
        (TRACE, ids(events[2:4])),
        (TRACE.replace("b", "c"), ids(events[4:])),
    ]


async def test_an_event_of_a_trace_that_the_monitor_wants_again_stays_in_its_trace(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    events = [make_event() for _ in range(2)]
    answers = {events[1]["event_id"]: iter(["retry", "retry"])}
    api.status_of = lambda event: next(answers.get(event["event_id"], iter(())), "accepted")
    async with open_forwarder() as forwarder:
        await submit(forwarder, *events, traceparent=TRACE)
        await eventually(lambda: len(api.stored) == 2)
    assert [seen.headers.get("traceparent") for seen in api.requests] == [TRACE] * 3


async def test_a_tests_events_keep_their_own_path_also_from_the_spool(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    api.stop()
    async with open_forwarder() as forwarder:
        await submit(forwarder, make_event(), test_id="t-1")
        await submit(forwarder, make_event())
        await submit(forwarder, make_event(), test_id="t-2")
        api.start()
        await eventually(lambda: len(api.stored) == 3)
    assert [seen.path for seen in api.requests] == [
        "/api/v1/test/events/t-1",
        "/api/v1/events",
        "/api/v1/test/events/t-2",
    ]


async def test_a_full_spool_drops_the_oldest_and_says_how_many(api: Any, open_forwarder: Any, make_event: Any) -> None:
    api.stop()
    async with open_forwarder(max_bytes=65536) as forwarder:
        for _ in range(40):
            await submit(forwarder, *(make_event(padding="x" * 200) for _ in range(10)))
        status = forwarder.status()
        assert status["spooled_bytes"] <= 65536
        assert status["dropped_events"] > 0
        assert status["dropped_events"] + status["spooled_events"] == 400


async def test_a_refused_key_is_said_and_a_new_key_file_heals_it_without_a_restart(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterlab_cell_monitor.tokens._REFUSED_SECONDS", 0.1)
    key = tmp_path / "key"
    key.write_text("an old key")
    async with open_forwarder(read_key=key.read_text) as forwarder:
        answer = await submit(forwarder, make_event())
        assert statuses(answer) == ["accepted"]
        assert answer.body["notices"] == [{**SPOOLED, "reason": "api_key_refused"}]
        status = forwarder.status()
        assert status["state"] == "misconfigured"
        assert "API key" in status["last_error"]
        assert "an old key" not in status["last_error"]
        key.write_text(API_KEY)
        await eventually(lambda: len(api.stored) == 1)
        await eventually(lambda: forwarder.status()["state"] == "ok")


async def test_a_token_exchange_that_is_overloaded_is_not_a_wrong_key(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    api.exchange_status = 503
    async with open_forwarder() as forwarder:
        await submit(forwarder, make_event())
        assert forwarder.status()["state"] == "unavailable"
        api.exchange_status = 200
        await eventually(lambda: len(api.stored) == 1)


async def test_without_a_spool_the_browser_must_keep_its_events(api: Any, open_forwarder: Any, make_event: Any) -> None:
    api.stop()
    async with open_forwarder(spool=False) as forwarder:
        answer = await submit(forwarder, make_event())
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        api.start()
        assert statuses(await submit(forwarder, make_event())) == ["accepted"]


async def test_without_an_address_nothing_is_spooled_and_the_front_end_is_notified(
    make_event: Any, tmp_path: Path
) -> None:
    opened = []
    forwarder = Forwarder(None, lambda: opened.append(1), logging.getLogger("t"))  # type: ignore[func-returns-value,arg-type]
    answer = await submit(forwarder, make_event())
    assert answer.status == 200
    assert statuses(answer) == ["rejected"]
    assert answer.body["notices"] == [{"kind": "off"}]
    assert forwarder.status()["state"] == "off"
    assert not opened
    await forwarder.close()


def test_a_batch_of_events_is_one_body_again(make_event: Any) -> None:
    events = [make_event(course="線形代数 \ud800"), make_event()]
    read = read_batch(json.dumps({"events": events}).encode())
    again = read_batch(batch_body([json.dumps(event).encode() for event in read.events]))
    assert again.events == events
