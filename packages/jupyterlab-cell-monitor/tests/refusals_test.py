"""Hazard: what the monitor refuses or the spool deletes is reported as recorded, or is reported without end."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from jupyterlab_cell_monitor.answers import Answer
from jupyterlab_cell_monitor.forwarder import Forwarder
from jupyterlab_cell_monitor.ingest_body import read_batch
from jupyterlab_cell_monitor.refusals import SENTENCES, Refusals


async def submit(forwarder: Forwarder, *events: dict[str, Any], **fields: Any) -> Answer:
    return await forwarder.submit(read_batch(json.dumps({"events": events, **fields}).encode()), traceparent=None)


def statuses(answer: Answer) -> list[str]:
    assert isinstance(answer.body, dict)
    return [result["status"] for result in answer.body["results"]]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    return Refusals(logging.getLogger("refusals-test"), clock=clock, wall_clock=lambda: 1_800_000_000.0)


def refused(reason: object, count: int = 1) -> list[dict[str, Any]]:
    return [{"status": "rejected", "reason": reason}] * count


def accepted(count: int = 1) -> list[dict[str, Any]]:
    return [{"status": "accepted"}] * count


def test_a_course_that_cannot_be_decided_is_reported_until_an_event_is_accepted(refusals: Refusals) -> None:
    refusals.note([{}, {}], refused("course_required", 2))
    assert refusals.current() == [{"reason": "course_required", "course": None, "events": 2, "everything": True}]
    assert refusals.everything
    status = refusals.by_code()["course_required"]
    assert (status["events"], status["last_at"], status["current"]) == (2, "2027-01-15T08:00:00Z", True)
    assert "CELL_MONITOR_COURSE" in status["sentence"]
    refusals.note([{}], accepted())
    assert refusals.current() == []
    assert not refusals.everything
    # The count stays: the work of that time is not recorded.
    assert refusals.by_code()["course_required"]["events"] == 2
    assert not refusals.by_code()["course_required"]["current"]


def test_the_notebooks_of_another_course_are_not_reported_as_refused(refusals: Refusals) -> None:
    refusals.note([{"course": "a"}, {}], [*accepted(), *refused("course_required")])
    refusals.note([{"course": "a"}], accepted())
    assert [(entry["course"], entry["everything"]) for entry in refusals.current()] == [(None, True)]


def test_one_invalid_event_among_good_ones_is_reported_for_ten_minutes(refusals: Refusals, clock: Clock) -> None:
    refusals.note([{}, {}], [*accepted(), *refused("invalid_event")])
    refusals.note([{}], accepted())
    assert refusals.current() == [
        {"reason": "invalid_event", "course": None, "events": 1, "everything": False, "notebook": None}
    ]
    clock.now += 601
    assert refusals.current() == []


def test_an_invalid_event_says_nothing_of_the_other_notebooks_of_its_course(refusals: Refusals) -> None:
    refusals.note([{"notebook": {"id": "a"}}], refused("invalid_event"))
    refusals.note([{"notebook": {"id": "b"}}], accepted())
    assert [(entry["notebook"], entry["everything"]) for entry in refusals.current()] == [("a", True)]
    refusals.note([{"notebook": {"id": "a"}}], accepted())
    assert [(entry["notebook"], entry["everything"]) for entry in refusals.current()] == [("a", False)]


def test_a_notebook_with_the_longest_id_is_distinguished_from_others(refusals: Refusals) -> None:
    # The contract allows 128 characters.
    refusals.note([{"notebook": {"id": "x" * 128}}], refused("invalid_event"))
    refusals.note([{"notebook": {"id": "y" * 129}}], refused("invalid_event"))
    assert [(entry["notebook"], entry["events"]) for entry in refusals.current()] == [("x" * 128, 1), (None, 1)]


def test_hostile_notebook_ids_are_reported_as_none(refusals: Refusals) -> None:
    for notebook in ("x" * 5000, {"id": ["a"]}, {"id": "x" * 5000}, None):
        refusals.note([{"notebook": notebook}], refused("invalid_event"))
    assert [(entry["notebook"], entry["events"]) for entry in refusals.current()] == [(None, 4)]
    refusals.note([{"notebook": {"id": "a"}}], accepted())
    assert not refusals.everything


def test_the_state_is_not_refused_when_no_more_events_are_refused(refusals: Refusals, clock: Clock) -> None:
    refusals.note([{}], refused("course_required"))
    for _ in range(5):
        # An open page sends an event a minute.
        clock.now += 60
        refusals.note([{}], refused("course_required"))
        assert refusals.everything
    clock.now += 151
    assert not refusals.everything


async def test_a_refusal_does_not_hide_that_events_are_spooled(api: Any, open_forwarder: Any, make_event: Any) -> None:
    api.status_of = lambda _: "rejected"
    async with open_forwarder() as forwarder:
        await submit(forwarder, make_event())
        assert forwarder.status()["state"] == "refused"
        api.stop()
        await submit(forwarder, make_event())
        assert (forwarder.status()["state"], forwarder.status()["spooled_events"]) == ("unavailable", 1)


def test_a_refusal_that_is_not_repeated_is_not_current_without_end(refusals: Refusals, clock: Clock) -> None:
    refusals.note([{"course": "x"}], refused("course_forbidden"))
    clock.now += 601
    assert not refusals.everything
    assert not refusals.by_code()["course_forbidden"]["current"]


def test_hostile_courses_and_codes_do_not_grow_what_is_kept(refusals: Refusals) -> None:
    for number in range(500):
        refusals.note([{"course": f"c{number}"}], refused(f"code_{number}"))
        refusals.note([{"course": ["?"]}], refused("<b>not a code</b>" * 1000))
        refusals.note([{"course": "x" * 5000}], refused({"not": "a code"}))
    assert len(refusals.current()) <= 17
    assert len(refusals.by_code()) <= 33
    assert refusals.by_code()["other"]["events"] >= 1000
    assert all("<b>" not in code for code in refusals.by_code())
    assert refusals.events == 1500


def test_the_log_has_a_line_for_each_change_and_none_for_each_event(
    refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "refusals-test")
    for _ in range(50):
        refusals.note([{}, {}], refused("no_course", 2))
    refusals.note([{}], accepted())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert SENTENCES["no_course"] in caplog.text
    assert "100 events" in caplog.text


async def test_a_student_who_is_added_to_the_roster_is_recorded_with_the_next_event(
    api: Any, open_forwarder: Any, make_event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterlab_cell_monitor.tokens._RENEW_SECONDS", 0.0)
    # The API decides by the courses that the token names, as the real one does: an old token goes on being refused.
    roster = {"enrolled": False}
    enrolled_tokens: set[str] = set()
    exchange = api.exchange

    def exchanging(authorization: str) -> Any:
        reply = exchange(authorization)
        if roster["enrolled"]:
            enrolled_tokens.add(f"token-{api.exchanges}")
        return reply

    api.exchange = exchanging
    api.reason_of = lambda _: "no_course"
    api.status_of = lambda _: (
        "accepted"
        if api.requests[-1].headers["authorization"].removeprefix("Bearer ") in enrolled_tokens
        else "rejected"
    )
    async with open_forwarder() as forwarder:
        answer = await submit(forwarder, make_event())
        assert answer.body["refusals"] == [{"reason": "no_course", "course": None, "events": 1, "everything": True}]
        assert forwarder.status()["state"] == "refused"
        assert forwarder.status()["refused"]["no_course"]["events"] == 1
        roster["enrolled"] = True
        answer = await submit(forwarder, make_event())
        assert statuses(answer) == ["accepted"]
        assert "refusals" not in answer.body
        assert forwarder.status()["state"] == "ok"


async def test_a_refused_sender_does_not_ask_for_a_token_with_each_event(
    api: Any, open_forwarder: Any, make_event: Any
) -> None:
    api.status_of = lambda _: "rejected"
    async with open_forwarder() as forwarder:
        for _ in range(20):
            await submit(forwarder, make_event())
    assert api.exchanges == 1


async def test_a_token_exchange_that_fails_does_not_take_the_refused_senders_token(
    api: Any, open_forwarder: Any, make_event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterlab_cell_monitor.tokens._RENEW_SECONDS", 0.0)
    api.status_of = lambda _: "rejected"
    async with open_forwarder() as forwarder:
        await submit(forwarder, make_event())
        api.exchange_status = 503
        answer = await submit(forwarder, make_event())
        assert statuses(answer) == ["rejected"]
        api.status_of = lambda _: "accepted"
        assert statuses(await submit(forwarder, make_event())) == ["accepted"]


async def test_events_refused_from_the_spool_are_reported_to_the_page(
    api: Any, open_forwarder: Any, make_event: Any, eventually: Any
) -> None:
    api.status_of = lambda _: "rejected"
    api.stop()
    async with open_forwarder() as forwarder:
        answer = await submit(forwarder, make_event(), make_event())
        assert statuses(answer) == ["accepted", "accepted"]
        assert "refusals" not in answer.body
        api.start()
        await eventually(lambda: forwarder.status()["state"] == "refused", forwarder.status)
        assert (await submit(forwarder)).body["refusals"][0]["events"] == 2
        assert forwarder.status()["dropped_events"] == 2


async def test_events_that_a_full_spool_deletes_are_reported_to_the_page(
    api: Any, open_forwarder: Any, make_event: Any
) -> None:
    api.stop()
    async with open_forwarder(max_bytes=65536) as forwarder:
        for _ in range(40):
            answer = await submit(forwarder, *(make_event(padding="x" * 200) for _ in range(10)))
        status = forwarder.status()
        assert answer.body["refusals"] == [
            {"reason": "spool_full", "course": None, "events": status["dropped_events"], "everything": False}
        ]
        assert status["refused"]["spool_full"]["events"] == status["dropped_events"] > 0


async def test_the_outcomes_of_a_test_run_are_not_the_students(api: Any, open_forwarder: Any, make_event: Any) -> None:
    api.status_of = lambda _: "rejected"
    async with open_forwarder() as forwarder:
        answer = await submit(forwarder, make_event(), test_id="t-1")
        assert statuses(answer) == ["rejected"]
        assert "refusals" not in answer.body
        assert forwarder.status()["state"] == "ok"
