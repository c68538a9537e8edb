"""Hazards: the simulator loses or duplicates events, or ignores the API's ``Retry-After``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor.simulation.client import ApiClient, ApiError, NoCourseError, Tally, retry_after_seconds

Answer = Callable[[httpx.Request], httpx.Response]


class FakeApi:
    """A transport that answers token requests, and batches with ``answers`` in order; the last one is repeated."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.batches: list[list[str]] = []
        self.tokens = 0
        self.naps: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/auth/token":
            assert request.headers["authorization"] == "ApiKey cm_key"
            self.tokens += 1
            return httpx.Response(
                200, json={"access_token": f"t{self.tokens}", "token_type": "bearer", "expires_in": 600}
            )
        self.batches.append([event["event_id"] for event in json.loads(request.content)["events"]])
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(request)

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)


def answer_all(status: str, reason: str | None = None) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        results = [
            {"event_id": event["event_id"], "status": status} | ({"reason": reason} if reason else {})
            for event in json.loads(request.content)["events"]
        ]
        return httpx.Response(200, json={"results": results, "notices": []})

    return answer


def refuse(status: int, **headers: str) -> Answer:
    detail = [{"type": "busy", "msg": "come back later"}]
    return lambda _request: httpx.Response(status, headers=headers, json={"detail": detail})


EVENTS: list[dict[str, Any]] = [{"event_id": f"e{number}"} for number in range(3)]


@pytest.fixture
async def make_client() -> AsyncIterator[Callable[[FakeApi], tuple[ApiClient, Tally]]]:
    clients: list[ApiClient] = []

    def make(api: FakeApi) -> tuple[ApiClient, Tally]:
        tally = Tally()
        client = ApiClient(
            "http://api",
            "cm_key",
            tally=tally,
            random=Random(1),
            sleep=api.sleep,
            transport=httpx.MockTransport(api),
        )
        clients.append(client)
        return client, tally

    yield make
    for client in clients:
        await client.aclose()


async def test_busy_api_gets_the_same_events_again_after_retry_after(make_client: Any) -> None:
    api = FakeApi(refuse(503, **{"retry-after": "7"}), refuse(429, **{"retry-after": "3"}), answer_all("accepted"))
    client, tally = make_client(api)
    await client.send("sim-001", EVENTS)
    assert api.batches == [["e0", "e1", "e2"]] * 3
    assert 7 <= api.naps[0] <= 8.75
    assert 3 <= api.naps[1] <= 3.75
    assert (tally.sent, tally.statuses["accepted"], tally.waits) == (3, 3, 2)


async def test_only_events_answered_retry_are_sent_again(make_client: Any) -> None:
    def half(request: httpx.Request) -> httpx.Response:
        events = json.loads(request.content)["events"]
        results = [
            {"event_id": event["event_id"], "status": "retry" if event["event_id"] == "e1" else "accepted"}
            for event in events
        ]
        return httpx.Response(200, json={"results": results, "notices": []})

    api = FakeApi(half, answer_all("duplicate"))
    client, tally = make_client(api)
    await client.send("sim-001", EVENTS)
    assert api.batches == [["e0", "e1", "e2"], ["e1"]]
    assert dict(tally.statuses) == {"accepted": 2, "duplicate": 1}
    assert tally.sent == 3


async def test_rejected_events_are_counted_by_reason_and_never_sent_again(make_client: Any) -> None:
    api = FakeApi(answer_all("rejected", "course_forbidden"))
    client, tally = make_client(api)
    await client.send("sim-001", EVENTS)
    assert len(api.batches) == 1
    assert tally.reasons == {"course_forbidden": 3}


async def test_expired_token_is_replaced_without_losing_events(make_client: Any) -> None:
    api = FakeApi(refuse(401), answer_all("accepted"))
    client, tally = make_client(api)
    await client.send("sim-001", EVENTS)
    assert api.tokens == 2
    assert tally.statuses["accepted"] == 3


async def test_token_of_a_student_is_requested_once(make_client: Any) -> None:
    api = FakeApi(answer_all("accepted"))
    client, _ = make_client(api)
    for _ in range(5):
        await client.send("sim-001", EVENTS)
    await client.send("sim-002", EVENTS)
    assert api.tokens == 2


async def test_refusal_of_the_whole_batch_shows_the_message_of_the_api(make_client: Any) -> None:
    client, _ = make_client(FakeApi(refuse(413)))
    with pytest.raises(ApiError, match="413 busy: come back later"):
        await client.send("sim-001", EVENTS)


async def test_error_of_an_unreachable_api_contains_its_address(make_client: Any) -> None:
    def gone(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    api = FakeApi(gone)
    client, _ = make_client(api)
    with pytest.raises(ApiError, match="http://api"):
        await client.send("sim-001", EVENTS)
    assert len(api.naps) >= 5


async def test_unknown_course_is_distinguished_from_other_refusals(make_client: Any) -> None:
    client, _ = make_client(FakeApi(answer_all("accepted")))

    def missing(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/auth/token"):
            return httpx.Response(200, json={"access_token": "t", "token_type": "bearer", "expires_in": 600})
        return httpx.Response(404, json={"detail": [{"type": "not_found", "msg": "no"}]})

    client._http._transport = httpx.MockTransport(missing)
    with pytest.raises(NoCourseError, match="no course 'physics'"):
        await client.enrol("physics", [{"username": "a", "role": "student"}])


@given(st.one_of(st.none(), st.text(max_size=12)), st.integers(0, 100))
def test_wait_is_bounded_and_never_zero(header: str | None, tries: int) -> None:
    wait = retry_after_seconds(header, tries=tries, random=Random(0))
    assert 0 < wait <= 37.5


async def test_the_time_of_the_api_leaves_out_what_waits_in_the_simulator(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def slow(request: httpx.Request) -> httpx.Response:
        nonlocal now
        now += 0.05
        return answer_all("accepted")(request)

    client, tally = make_client(FakeApi(slow))
    await client.send("sim-001", EVENTS)
    # Every slot is taken: the next request waits here, and the API knows nothing of it.
    async with contextlib.AsyncExitStack() as slots:
        while not client._slots.locked():
            await slots.enter_async_context(client._slots)
        waiting = asyncio.create_task(client.send("sim-001", EVENTS))
        await asyncio.sleep(0)
        now += 9
    await waiting
    assert tally.seconds[-1] == pytest.approx(0.05)
    assert tally.queued_seconds[-1] == pytest.approx(9)


async def test_an_api_that_does_not_know_the_time_of_sending_gets_the_events_without_it(make_client: Any) -> None:
    bodies = []

    def older(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content).keys())
        if "sent_at" in bodies[-1]:
            return refuse(400)(request)
        return answer_all("accepted")(request)

    client, tally = make_client(FakeApi(older))
    await client.send("sim-001", EVENTS)
    await client.send("sim-001", EVENTS)
    assert bodies == [{"sent_at", "events"}, {"events"}, {"events"}]
    assert tally.statuses["accepted"] == 6
