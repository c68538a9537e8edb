"""Every kind of request to ingest gets its documented answer, and its neighbours are stored."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
import types
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from cell_monitor_api.exceptions import BodyTooLarge
from cell_monitor_api.handlers.ingest import decompress
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.events.limits import MAX_BODY_BYTES
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.telemetry import metrics


def fault(answer):
    [detail] = answer.json()["detail"]
    assert set(detail) <= {"type", "msg", "loc"}
    assert detail["msg"]
    return answer.status_code, detail["type"]


@pytest.fixture(params=["fast", "reference"])
def client(request, site):
    """Both ways to ingest."""
    return site.client if request.param == "fast" else site.reference


@pytest.fixture
async def course(site):
    await site.course("c1", ann="student", tim="student")
    return "c1"


async def test_accepted_means_queued_exactly_as_sent(site, client, course, make_event):
    event = make_event("cell_executed", unknown_field={"kept": [1, "é", None]})
    body = json.dumps({"events": [event]}, ensure_ascii=False).encode()
    before = time.time() * 1000
    answer = await client.post(
        "/api/v1/events", headers={**site.sender("ann"), "content-type": "application/json"}, content=body
    )
    assert answer.status_code == 200
    assert answer.json() == {"results": [{"event_id": event["event_id"], "status": "accepted"}], "notices": []}
    [record] = await site.queued("c1")
    assert json.loads(record.event) == event
    assert record.person_id == site.ids["ann"].bytes
    assert before - 1000 <= record.received_at <= time.time() * 1000 + 1000
    assert record.test_id is None


async def test_results_stand_in_the_order_of_the_events(site, client, course, make_event):
    good = [make_event() for _ in range(3)]
    events = [
        good[0],
        {"event_id": "nonsense", "type": "cell_selected"},
        make_event("Dance!"),
        good[1],
        make_event(schema_version=0),
        make_event(event_id=str(uuid4())),
        make_event(course="elsewhere"),
        make_event(seq="first"),
        "no event",
        good[0],
        make_event("cell_executed", padding="x" * 70_000),
        good[2],
    ]
    answer = await site.send("ann", *events, client=client)
    assert answer.status_code == 200
    assert [(result["status"], result.get("reason")) for result in answer.json()["results"]] == [
        ("accepted", None),
        ("rejected", "invalid_event_id"),
        ("rejected", "invalid_event"),
        ("accepted", None),
        ("rejected", "invalid_event"),
        ("rejected", "invalid_event_id"),
        ("rejected", "course_forbidden"),
        ("rejected", "invalid_event"),
        ("rejected", "invalid_event"),
        ("duplicate", None),
        ("rejected", "event_too_large"),
        ("accepted", None),
    ]
    ids = [result["event_id"] for result in answer.json()["results"]]
    assert ids == [event["event_id"] if isinstance(event, dict) else None for event in events]
    # An entry may contain a duplicate in addition to new events; PostgreSQL stores it once.
    assert set(await site.queued_ids("c1")) == {event["event_id"] for event in good}


async def test_events_of_a_newer_extension_are_queued_exactly_as_sent(site, client, course, make_event):
    newer = [
        make_event("cell_moved", data={"from": 3, "to": 1}),
        make_event("cell_executed", schema_version=2, data=["another form"]),
    ]
    answer = await site.send("ann", *newer, newer[0], make_event("cell_moved", course="elsewhere"), client=client)
    assert answer.status_code == 200
    assert [(result["status"], result.get("reason")) for result in answer.json()["results"]] == [
        ("accepted", None),
        ("accepted", None),
        ("duplicate", None),
        ("rejected", "course_forbidden"),
    ]
    queued = {record.event for record in await site.queued("c1")}
    assert sorted((json.loads(event) for event in queued), key=lambda event: event["event_id"]) == newer


@pytest.mark.parametrize("days", [-20_000, -32, 2, 3_000_000])
async def test_an_id_that_a_wrong_clock_made_is_kept(site, client, course, make_event, days):
    moment = int((time.time() + days * 86_400) * 1000)
    event = make_event(event_id=str(UUID(int=(moment << 80) | (UUID(new_event_id()).int & ((1 << 80) - 1)))))
    [result] = (await site.send("ann", event, client=client)).json()["results"]
    assert result == {"event_id": event["event_id"], "status": "accepted"}
    assert await site.queued_ids("c1") == [event["event_id"]]


@pytest.mark.parametrize(
    "occurred_at", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"]
)
async def test_no_clock_gets_an_event_refused(site, client, course, make_event, occurred_at):
    event = make_event(occurred_at=occurred_at)
    [result] = (await site.send("ann", event, client=client)).json()["results"]
    assert result == {"event_id": event["event_id"], "status": "accepted"}


async def test_how_long_an_event_waited_is_queued_with_it(site, client, course, make_event):
    # A clock that is ten hours ahead: the distance between its own times is what it is.
    asked, sent = "2026-04-01T19:00:00.000Z", "2026-04-01T19:20:00.500Z"
    waited = make_event(occurred_at=asked)
    measured, unknown = make_event(occurred_at=asked), make_event(occurred_at=asked)
    for body in (
        {"sent_at": sent, "events": [waited]},
        {"sent_at": sent, "waited_ms": [7], "events": [measured]},
        {"events": [unknown]},
    ):
        answer = await client.post("/api/v1/events", headers=site.sender("ann"), json=body)
        assert [result["status"] for result in answer.json()["results"]] == ["accepted"]
    queued = {json.loads(record.event)["event_id"]: record.waited_ms for record in await site.queued("c1")}
    assert queued == {waited["event_id"]: 1_200_500, measured["event_id"]: 7, unknown["event_id"]: 0}


async def test_anothers_event_of_the_same_id_neither_hides_mine_nor_is_revealed(site, client, make_event):
    await site.course("c1", ann="student", tim="student")
    event = make_event()
    for username in ("ann", "tim"):
        [result] = (await site.send(username, event, client=client)).json()["results"]
        assert result["status"] == "accepted"
    assert {record.person_id for record in await site.queued("c1")} == {site.ids[name].bytes for name in ("ann", "tim")}
    [result] = (await site.send("tim", event, client=client)).json()["results"]
    assert result["status"] == "duplicate"


async def test_a_replayed_batch_is_queued_once(site, client, course, make_event):
    events = [make_event() for _ in range(70)]
    first = await site.send("ann", *events, client=client)
    assert {result["status"] for result in first.json()["results"]} == {"accepted"}
    for _ in range(4):
        again = await site.send("ann", *events, client=client)
        assert {result["status"] for result in again.json()["results"]} == {"duplicate"}
    assert await site.queued_ids("c1") == sorted(event["event_id"] for event in events)


async def test_no_token_stores_nothing(site, client, course, make_event):
    body = {"events": [make_event()]}
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}):
        answer = await client.post("/api/v1/events", json=body, headers=headers)
        assert fault(answer) == (401, "not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert await site.queued("c1") == []


async def test_a_token_of_another_issuer_is_nothing(site, client, course, make_event):
    foreign = TokenIssuer(SigningKeys.generate())
    headers = site.sender("ann", issuer=foreign)
    answer = await client.post("/api/v1/events", json={"events": [make_event()]}, headers=headers)
    assert fault(answer) == (401, "not_authenticated")


async def test_a_token_of_another_installation_with_the_same_keys_is_nothing(make_site, make_event):
    async with make_site(token_issuer="https://monitor.example.org") as site:
        await site.course("c1", ann="student")
        body = {"events": [make_event()]}
        before = TokenIssuer(site.process.signing.issuer.signing_keys)
        for path in ("/api/v1/events", "/api/v1/me"):
            headers = (
                site.sender("ann", issuer=before) if path.endswith("events") else site.bearer("ann", issuer=before)
            )
            answer = await site.client.request(
                "POST" if path.endswith("events") else "GET", path, json=body, headers=headers
            )
            assert fault(answer) == (401, "not_authenticated"), path
        assert (await site.client.post("/api/v1/events", json=body, headers=site.sender("ann"))).status_code == 200


async def test_a_token_ends_while_it_is_in_use(site, client, course, make_event, monkeypatch):
    headers = site.sender("ann")
    body = {"events": [make_event()]}
    assert (await client.post("/api/v1/events", json=body, headers=headers)).status_code == 200
    later = time.time() + 601
    monkeypatch.setattr(site.process.ingest_verifier, "_clock", lambda: later)
    answer = await client.post("/api/v1/events", json=body, headers=headers)
    assert fault(answer) == (401, "token_expired")


async def test_tokens_for_other_services_or_without_the_scope_do_not_send(site, client, course, make_event):
    body = {"events": [make_event()]}
    answer = await client.post("/api/v1/events", json=body, headers=site.bearer("ann", "api"))
    assert fault(answer) == (401, "not_authenticated")
    answer = await client.post("/api/v1/events", json=body, headers=site.bearer("ann", "ingest", scopes=["test:write"]))
    assert fault(answer) == (403, "insufficient_scope")


async def test_a_batch_of_nothing_but_foreign_events_is_refused_as_a_whole(site, client, course, make_event):
    await site.course("c2", bob="student")
    answer = await site.send("ann", make_event(course="c2"), make_event(course="c2"), client=client)
    assert fault(answer) == (403, "course_forbidden")
    assert await site.queued("c2") == []


async def test_the_only_membership_is_the_course(site, client, make_event):
    await site.course("c1", ann="student", tim="student", ova="observer")
    await site.course("c2", tim="student")
    await site.person("eve")

    async def first_result(username, **changes):
        return (await site.send(username, make_event(**changes), client=client)).json()["results"][0]

    assert (await first_result("ann"))["status"] == "accepted"
    assert (await first_result("ova"))["status"] == "accepted"
    assert (await first_result("tim"))["reason"] == "course_required"
    assert (await first_result("tim", course="c2"))["status"] == "accepted"
    assert (await first_result("eve"))["reason"] == "no_course"
    assert len(await site.queued("c1")) == 2
    assert len(await site.queued("c2")) == 1


async def test_only_json_in_utf_8_is_taken(site, client, course, make_event):
    body = json.dumps({"events": [make_event()]}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=shift_jis", ""):
        answer = await client.post("/api/v1/events", content=body, headers={**site.sender("ann"), "content-type": kind})
        assert fault(answer) == (415, "unsupported_media_type")
    answer = await client.post(
        "/api/v1/events",
        content=json.dumps({"events": [make_event()]}).encode("utf-16"),
        headers={**site.sender("ann"), "content-type": "application/json"},
    )
    assert fault(answer) == (400, "invalid_body")
    headers = {**site.sender("ann"), "content-type": "application/json", "content-encoding": "br"}
    assert fault(await client.post("/api/v1/events", content=body, headers=headers)) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"events": {}}', b'{"event": []}', b'{"events": []} x'])
async def test_bodies_that_are_no_request_are_refused(site, client, course, body):
    headers = {**site.sender("ann"), "content-type": "application/json"}
    assert fault(await client.post("/api/v1/events", content=body, headers=headers)) == (400, "invalid_body")


async def test_batches_over_the_limits_are_refused(site, client, course, make_event):
    answer = await site.send("ann", *[make_event() for _ in range(201)], client=client)
    assert fault(answer) == (413, "too_many_events")
    large = json.dumps({"events": [make_event(padding="x" * 60_000) for _ in range(18)]}).encode()
    headers = {**site.sender("ann"), "content-type": "application/json"}
    assert fault(await client.post("/api/v1/events", content=large, headers=headers)) == (413, "body_too_large")

    async def parts():
        for start in range(0, len(large), 50_000):
            yield large[start : start + 50_000]

    assert fault(await client.post("/api/v1/events", content=parts(), headers=headers)) == (413, "body_too_large")
    assert await site.queued("c1") == []
    accepted = await site.send("ann", *[make_event() for _ in range(200)], client=client)
    assert accepted.status_code == 200
    assert len(await site.queued("c1")) == 200


async def test_gzip_is_unpacked_within_the_limit(site, client, course, make_event):
    headers = {**site.sender("ann"), "content-type": "application/json", "content-encoding": "gzip"}
    event = make_event()
    packed = gzip.compress(json.dumps({"events": [event]}).encode())
    assert (await client.post("/api/v1/events", content=packed, headers=headers)).status_code == 200
    assert await site.queued_ids("c1") == [event["event_id"]]
    bomb = gzip.compress(b'{"events": [' + b" " * 50_000_000 + b"]}")
    assert fault(await client.post("/api/v1/events", content=bomb, headers=headers)) == (413, "body_too_large")
    for broken in (packed[:-3], packed + b"x", b"not gzip"):
        assert fault(await client.post("/api/v1/events", content=broken, headers=headers)) == (400, "invalid_body")


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory():
    bomb = gzip.compress(bytes(200 * MAX_BODY_BYTES), 9)
    assert len(bomb) < MAX_BODY_BYTES
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        decompress(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_BODY_BYTES


async def test_a_flooding_sender_is_slowed_down_and_their_neighbour_is_not(make_site, make_event):
    async with make_site(api_bucket_events=200, api_bucket_refill_per_s=50) as site:
        await site.course("c1", ann="student", tim="student")
        batch = [make_event() for _ in range(150)]
        assert (await site.send("ann", *batch)).status_code == 200
        limited = metrics.RATE_LIMITED.labels("ingest").value
        refused = await site.send("ann", *[make_event() for _ in range(100)])
        assert fault(refused) == (429, "rate_limited")
        assert metrics.RATE_LIMITED.labels("ingest").value == limited + 1
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        neighbour = make_event()
        assert (await site.send("tim", neighbour)).status_code == 200
        assert len(await site.queued("c1")) == 151


async def test_asking_for_notices_is_not_free_of_the_limit(make_site):
    async with make_site(api_bucket_events=200, api_bucket_refill_per_s=0.01) as site:
        await site.course("c1", ann="student")
        statuses = [(await site.send("ann")).status_code for _ in range(202)]
        assert statuses[:200] == [200] * 200
        assert statuses[200:] == [429, 429]


async def test_one_failing_partition_takes_nothing_else_with_it(site, client, make_event):
    await site.course("c1", tim="student")
    await site.course("c2", tim="student")
    producer = site.process.ingest.producer
    append = producer.append

    async def failing(channel, items):
        if channel == "course:c2":
            raise LogUnavailable("test", retry_after=9)
        return await append(channel, items)

    producer.append = failing
    events = [make_event(course=course) for course in ("c1", "c2", "c1")]
    answer = await site.send("tim", *events, client=client)
    assert answer.status_code == 200
    assert answer.headers["retry-after"] == "9"
    assert [(result["status"], result.get("reason")) for result in answer.json()["results"]] == [
        ("accepted", None),
        ("retry", "log_unavailable"),
        ("accepted", None),
    ]
    refused = await site.send("tim", make_event(course="c2"), {"broken": True}, client=client)
    assert fault(refused) == (503, "log_unavailable")
    assert refused.headers["retry-after"] == "9"
    producer.append = append
    answer = await site.send("tim", *events, client=client)
    assert [result["status"] for result in answer.json()["results"]] == ["duplicate", "accepted", "duplicate"]
    assert await site.queued_ids("c2") == [events[1]["event_id"]]


async def test_everything_is_counted(site, course, make_event):
    def totals():
        return [
            metrics.EVENTS_RECEIVED.value,
            metrics.EVENTS_ACCEPTED.value,
            metrics.EVENTS_DUPLICATE.value,
            metrics.EVENTS_REJECTED.labels("invalid_event").value,
            metrics.INGEST_REQUESTS.labels(200).value,
            metrics.INGEST_REQUESTS.labels(400).value,
        ]

    before = totals()
    event = make_event()
    await site.send("ann", event, make_event("Dance!"))
    await site.send("ann", event)
    await site.client.post(
        "/api/v1/events", headers={**site.sender("ann"), "content-type": "application/json"}, content=b"{"
    )
    assert [after - then for after, then in zip(totals(), before, strict=True)] == [3, 1, 1, 1, 2, 1]


async def test_a_slow_upload_does_not_count_as_our_slowness(site, course, make_event, monkeypatch):
    now = time.perf_counter()
    clock = types.SimpleNamespace(perf_counter=lambda: now, time=time.time)
    monkeypatch.setattr("cell_monitor_api.handlers.ingest.time", clock)
    body = json.dumps({"events": [make_event()]}).encode()

    async def slow():
        nonlocal now
        yield body[:5]
        now += 20
        yield body[5:]

    headers = {**site.sender("ann"), "content-type": "application/json"}
    count, seconds = sum(metrics.INGEST_SECONDS.counts), metrics.INGEST_SECONDS.sum
    assert (await site.client.post("/api/v1/events", content=slow(), headers=headers)).status_code == 200
    assert sum(metrics.INGEST_SECONDS.counts) == count + 1
    assert metrics.INGEST_SECONDS.sum - seconds < 20


async def test_a_slow_body_ends(site, course, monkeypatch):
    monkeypatch.setattr("cell_monitor_api.handlers.ingest.BODY_TIMEOUT_S", 0.05)

    async def slow():
        yield b'{"events":'
        await asyncio.Event().wait()

    headers = {**site.sender("ann"), "content-type": "application/json"}
    for client in (site.client, site.reference):
        answer = await client.post("/api/v1/events", content=slow(), headers=headers)
        assert fault(answer) == (408, "request_timeout")


async def test_notices_have_the_state_of_help_requests(site, client, course, make_event):
    await site.course("c1", ivy="instructor")
    event_id = new_event_id()
    await site.process.pool.execute(
        """
        INSERT INTO help_requests (request_id, event_id, course_id, person_id, status, requested_at, claimed_by, claimed_at,
                                   context)
        VALUES ($1, $2, 'c1', $3, 'claimed', $4, $5, $6, '{"notebook": {"id": "nb1", "path": "week1.ipynb"}}')
        """,
        uuid4(),
        event_id,
        site.ids["ann"],
        datetime.now(UTC) - timedelta(minutes=30),
        site.ids["ivy"],
        datetime(2026, 4, 1, 9, 0, 0, 123_000, tzinfo=UTC),
    )
    expected = [
        {
            "kind": "help",
            # The sender's own id: all by which the browser knows the request.
            "request_id": event_id,
            # What its cancellation names, wherever the student is by then.
            "course": "c1",
            "notebook": {"id": "nb1", "path": "week1.ipynb", "title": None},
            "status": "claimed",
            "by": "Ivy Doe",
            "at": "2026-04-01T09:00:00.123Z",
        }
    ]
    assert (await site.send("ann", client=client)).json() == {"results": [], "notices": expected}
    assert (await site.send("ann", make_event("heartbeat"), client=client)).json()["notices"] == expected
    assert (await site.send("ann", make_event("help_requested"), client=client)).json()["notices"] == expected
    assert (await site.send("ann", make_event(), client=client)).json()["notices"] == []
    assert (await site.send("tim", client=client)).json()["notices"] == []
