"""Hazard: staff still read, or act on, the work of somebody who is no student of the course any more."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from cell_monitor_core.channels import course_channel
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.publishing import draft_of
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import memberships, student_states
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.memberships import Source

COURSE = "/api/v1/courses/c1"
CHANNEL = course_channel("c1")

LEAVE: dict[str, Callable[[Any], Awaitable[object]]] = {
    "removed": lambda site: memberships.remove(site.process.pool, "c1", site.ids["ann"]),
    "now of the staff": lambda site: memberships.upsert_many(
        site.process.pool, "c1", {site.ids["ann"]: "assistant"}, source=Source.HUB
    ),
}
leaving = pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE.keys())


@pytest.fixture
async def left_behind(site: Any, make_event: Any) -> Any:
    """A course in which ann has run a cell that failed and asked for help, and asked once before; tim as well."""
    await site.course("c1", ivy="instructor", ann="student", tim="student")
    await site.course("c2", ann="student", ivy="instructor")
    site.help_ids, site.asked = {}, {}
    for who in ("ann", "tim"):
        first, second = make_event("help_requested", seq=2), make_event("help_requested", seq=4)
        cancelled = make_event("help_cancelled", seq=3, data={"request_id": first["event_id"]})
        await site.store(who, "c1", make_event("cell_executed"), first, cancelled, second)
        site.asked[who] = second["event_id"]
        site.help_ids[who] = [str(help_request_id(site.ids[who], UUID(each["event_id"]))) for each in (first, second)]
    return site


async def read(site: Any, path: str) -> str:
    answer = await site.client.get(f"{COURSE}{path}", headers=site.bearer("ivy"))
    assert answer.status_code == 200, answer.text
    return answer.text


PATHS = {
    "snapshot": "/state",
    "students": "/students",
    "help queue": "/help",
    "closed requests": "/help?status=closed",
}


@leaving
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
async def test_nothing_of_them_is_in_what_staff_read(left_behind: Any, leave: Any, path: str) -> None:
    ann, tim = str(left_behind.ids["ann"]), str(left_behind.ids["tim"])
    before = await read(left_behind, path)
    assert ann in before
    assert tim in before
    await leave(left_behind)
    now = json.loads(await read(left_behind, path))
    # As an assistant they are listed among the staff.
    now.pop("staff", None)
    assert ann not in json.dumps(now)
    assert tim in json.dumps(now)


@leaving
async def test_they_count_nowhere(left_behind: Any, leave: Any) -> None:
    async def counts() -> list[int]:
        counters = json.loads(await read(left_behind, "/state"))["counters"]
        [cell] = json.loads(await read(left_behind, "/cells"))["cells"]
        answer = await left_behind.client.get("/api/v1/courses", headers=left_behind.bearer("ivy"))
        [course] = [each for each in answer.json()["courses"] if each["course_id"] == "c1"]
        return [
            *(counters[name] for name in ("students", "help_open", "runs")),
            *(course[name] for name in ("students", "help_open", "need_help")),
            cell["students"],
            cell["runs"],
        ]

    assert await counts() == [2] * 8
    await leave(left_behind)
    assert await counts() == [1] * 8


@leaving
@pytest.mark.parametrize("path", ["", "/runs"])
async def test_they_cannot_be_opened_by_their_id(left_behind: Any, leave: Any, path: str) -> None:
    url = f"{COURSE}/students/{left_behind.ids['ann']}{path}"
    assert (await left_behind.client.get(url, headers=left_behind.bearer("ivy"))).status_code == 200
    await leave(left_behind)
    assert (await left_behind.client.get(url, headers=left_behind.bearer("ivy"))).status_code == 404


@leaving
@pytest.mark.parametrize("action", ["claim", "release", "resolve"])
async def test_nobody_acts_on_their_request(left_behind: Any, leave: Any, action: str) -> None:
    help_id = left_behind.help_ids["ann"][1]
    await leave(left_behind)
    answer = await left_behind.client.post(f"{COURSE}/help/{help_id}/{action}", headers=left_behind.bearer("ivy"))
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (404, "not_found")
    acted = await left_behind.process.pool.fetchval("SELECT count(*) FROM help_actions")
    assert acted == 0


@leaving
async def test_what_they_sent_before_is_stored_and_shown_to_nobody(
    left_behind: Any, leave: Any, make_event: Any
) -> None:
    """Events that were accepted just before wait in the queue."""
    await leave(left_behind)
    records = [
        StreamRecord(left_behind.ids[who].bytes, "c1", 1_775_034_000_000, json.dumps(event).encode())
        for who in ("ann", "tim")
        for event in (
            make_event("cell_executed", seq=9),
            make_event("help_cancelled", seq=8, data={"request_id": left_behind.asked[who]}),
        )
    ]
    applied = await PostgresFactStore(left_behind.process.pool, left_behind.keyring).apply(records)
    assert applied.stored == 4
    tim = str(left_behind.ids["tim"])
    assert [state.student_id for state in applied.students["c1"]] == [tim]
    assert {state.student_id for state in applied.help["c1"]} == {tim}
    keys = [("c1", left_behind.ids[who]) for who in ("ann", "tim")]
    shown = await student_states.shown_states(left_behind.process.pool, left_behind.keyring, keys)
    assert list(shown) == [keys[1]]


async def test_a_page_that_reconnects_recovers_nothing_of_a_member_who_was_removed(left_behind: Any) -> None:
    broker = left_behind.process.broker
    before = await broker.position(CHANNEL)
    keys = [("c1", left_behind.ids["ann"])]
    states = await student_states.shown_states(left_behind.process.pool, left_behind.keyring, keys)
    await broker.publish(CHANNEL, [draft_of(state) for state in states.values()])
    at = await broker.position(CHANNEL)
    answer = await left_behind.client.delete(
        f"{COURSE}/members/{left_behind.ids['ann']}", headers=left_behind.bearer("ivy")
    )
    assert answer.status_code == 204
    # The page that has followed until now goes on, and fetches the list of students because of the counters.
    live = await broker.recover(CHANNEL, at.epoch, at.offset, limit=100)
    assert live.recovered
    [counters] = [json.loads(bytes(each.state)) for each in live.publications]
    assert counters["students"] == 1
    behind = await broker.recover(CHANNEL, before.epoch, before.offset, limit=100)
    assert (behind.recovered, behind.publications) == (False, [])


async def test_they_are_shown_no_request_that_nobody_else_sees(left_behind: Any) -> None:
    courses = {"c2": "student"}
    [notice, *_] = (await left_behind.send("ann")).json()["notices"]
    assert notice["status"] == "open"
    await LEAVE["removed"](left_behind)
    answer = await left_behind.client.post(
        "/api/v1/events", headers=left_behind.sender("ann", courses=courses), json={"events": []}
    )
    assert answer.json()["notices"] == []


async def test_they_are_seen_again_once_they_are_back(left_behind: Any) -> None:
    await LEAVE["removed"](left_behind)
    await memberships.upsert_many(left_behind.process.pool, "c1", {left_behind.ids["ann"]: "student"})
    snapshot = json.loads(await read(left_behind, "/state"))
    assert len(snapshot["students"]) == len(snapshot["help"]) == snapshot["counters"]["help_open"] == 2
