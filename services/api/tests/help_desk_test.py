"""Hazards: two staff members take the same request; an action is not published because Redis was unavailable."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from cell_monitor_core.channels import course_channel
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.storage.ports import Draft, StoreUnavailable
from cell_monitor_core.telemetry import metrics

URL = "/api/v1/courses/c1/help"


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


@pytest.fixture
async def desk(site, make_event):
    await site.course("c1", ivy="instructor", ben="assistant", ann="student")
    await site.course("c2", ivy="instructor", tim="student")
    event = make_event("help_requested")
    await site.store("ann", "c1", event)
    site.help_id = str(help_request_id(site.ids["ann"], UUID(event["event_id"])))
    return site


async def act(site, who, action, help_id=None):
    return await site.client.post(f"{URL}/{help_id or site.help_id}/{action}", headers=site.bearer(who))


async def published(site):
    recovery = await site.process.broker.recover(
        course_channel("c1"), (await site.process.broker.position(course_channel("c1"))).epoch, 0, limit=100
    )
    return [(publication.kind, json.loads(bytes(publication.state))) for publication in recovery.publications]


async def test_claiming_is_seen_by_everybody(desk):
    await desk.process.broker.position(course_channel("c1"))
    answer = await act(desk, "ivy", "claim")
    assert answer.status_code == 200
    assert answer.json()["published"] is True
    state = answer.json()["help"]
    assert (state["status"], state["claimed_by"]) == ("claimed", str(desk.ids["ivy"]))
    kinds = dict(await published(desk))
    assert kinds["help"] == state
    assert kinds["student"]["help"]["status"] == "claimed"
    [notice] = (await desk.send("ann")).json()["notices"]
    assert (notice["status"], notice["by"]) == ("claimed", "Ivy Doe")
    listed = await desk.client.get(URL, headers=desk.bearer("ben"))
    assert listed.json()["help"] == [state]


async def test_only_one_takes_a_request(desk):
    answers = await asyncio.gather(act(desk, "ivy", "claim"), act(desk, "ben", "claim"))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    [refused] = [answer for answer in answers if answer.status_code == 409]
    assert fault(refused) == (409, "help_already_claimed")
    winner = "Ben" if answers[0] is refused else "Ivy"
    assert winner in refused.json()["detail"][0]["msg"]
    # A repeated click of the winner is no fault.
    again = await act(desk, winner.lower(), "claim")
    assert again.status_code == 200


async def test_a_request_given_back_is_anybodys(desk):
    await act(desk, "ivy", "claim")
    assert (await act(desk, "ivy", "release")).json()["help"]["status"] == "open"
    assert (await act(desk, "ben", "claim")).json()["help"]["claimed_by"] == str(desk.ids["ben"])


async def test_a_closed_request_stays_closed(desk):
    await desk.process.broker.position(course_channel("c1"))
    await act(desk, "ivy", "claim")
    resolved = await act(desk, "ivy", "resolve")
    assert (resolved.json()["help"]["status"], resolved.json()["help"]["resolved_by"]) == (
        "resolved",
        str(desk.ids["ivy"]),
    )
    for who, action in (("ben", "claim"), ("ben", "resolve"), ("ivy", "release")):
        assert fault(await act(desk, who, action)) == (409, "help_closed")
    assert (await desk.client.get(URL, headers=desk.bearer("ben"))).json() == {"help": []}
    closed = await desk.client.get(URL, headers=desk.bearer("ben"), params={"status": "closed"})
    assert [state["request_id"] for state in closed.json()["help"]] == [desk.help_id]
    counters = [state for kind, state in await published(desk) if kind == "course"]
    assert counters[-1]["help_open"] == 0


async def test_requests_of_other_courses_are_not_there(desk):
    url = f"/api/v1/courses/c2/help/{desk.help_id}/claim"
    assert fault(await desk.client.post(url, headers=desk.bearer("ivy"))) == (404, "not_found")
    assert fault(await act(desk, "ivy", "claim", str(uuid4()))) == (404, "not_found")
    assert (await act(desk, "ivy", "claim", "nonsense")).status_code == 422


async def test_an_action_is_done_although_redis_is_unavailable_and_is_published_later(desk):
    process = desk.process
    await process.broker.position(course_channel("c1"))
    publisher = process.help_desk._publisher
    publisher._retry_s = 0.01
    publish = process.broker.publish

    async def unavailable(channel, drafts):
        raise StoreUnavailable("test")

    process.broker.publish = unavailable
    answer = await act(desk, "ivy", "claim")
    assert answer.status_code == 200
    assert answer.json()["published"] is False
    assert answer.json()["help"]["status"] == "claimed"
    assert publisher.pending == 1
    process.broker.publish = publish
    async with asyncio.timeout(60):
        while publisher.pending:
            await asyncio.sleep(0.01)
    assert ("help", answer.json()["help"]) in await published(desk)
    # What comes late does not put anything back.
    assert (await act(desk, "ivy", "resolve")).json()["published"] is True
    last = [state for kind, state in await published(desk) if kind == "help"][-1]
    assert last["status"] == "resolved"


async def test_what_is_published_and_what_came_too_late_is_counted_by_kind(desk):
    def totals():
        return [
            *(metrics.PUBLICATIONS_PUBLISHED.labels(kind).value for kind in ("help", "student", "course")),
            *(metrics.PUBLICATIONS_SUPPRESSED.labels(kind).value for kind in ("help", "student", "course")),
            sum(metrics.PUBLISH_SECONDS.counts),
        ]

    before = totals()
    await act(desk, "ivy", "claim")
    await act(desk, "ivy", "resolve")
    publisher = desk.process.help_desk._publisher
    assert await publisher.publish(course_channel("c1"), [Draft("help", desk.help_id, 1, b"{}")])
    assert [after - then for after, then in zip(totals(), before, strict=True)] == [2, 2, 1, 1, 0, 0, 3]


async def test_what_waits_for_redis_is_bounded(desk):
    publisher = desk.process.help_desk._publisher

    async def unavailable(channel, drafts):
        raise StoreUnavailable("test")

    desk.process.broker.publish = unavailable
    for _ in range(1005):
        await publisher.publish("course:c1", [Draft("help", "h1", 1, b"{}")])
    assert publisher.pending == 1000
    publisher._pending.clear()
