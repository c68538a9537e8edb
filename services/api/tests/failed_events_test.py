"""Hazards: a route of failed events shows what is in them, is open to others than admins, or replays without a bound."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from cell_monitor_core.administration import failed_events as service
from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.storage.postgres import failed_events
from cell_monitor_core.storage.postgres.failed_events import FailedRecord

URL = "/api/v1/failed-events"
SECRET = "print(my_answer)"


@pytest.fixture
async def failing(site: Any) -> Any:
    """A site where three events of ann in c1, and one each of c2 and of no course, could not be processed."""
    await site.course("c1", ivy="instructor", ann="student")
    await site.course("c2", hugo="instructor")
    await site.person("root", admin=True)
    courses = ["c1", "c1", "c1", "c2", None]
    await failed_events.insert(
        site.process.pool, site.keyring,
        [
            FailedRecord(
                "postgres", 0, f"{number}-0", 0 if course else -1, "data_error" if course else "invalid_entry",
                "PostgreSQL refuses it", record(site.ids["ann"], course) if course else b"\xc1", site.ids["ann"], uuid4(), course,
            )
            for number, course in enumerate(courses, 1)
        ],
    )  # fmt: skip
    return site


def record(person: UUID, course: str) -> bytes:
    event = {"event_id": str(uuid4()), "data": {"code": SECRET}}
    return encode_record(StreamRecord(person.bytes, course, 1, json.dumps(event).encode()))


async def get(site: Any, url: str = URL, **query: Any) -> Any:
    answer = await site.client.get(url, headers=site.bearer("root", admin=True), params=query)
    assert answer.status_code == 200, answer.text
    assert SECRET not in answer.text
    return answer.json()


async def replay(site: Any, **body: Any) -> Any:
    answer = await site.client.post(f"{URL}/replay", headers=site.bearer("root", admin=True), json=body)
    assert answer.status_code == 200, answer.text
    assert SECRET not in answer.text
    return answer.json()


async def test_an_admin_sees_what_waits_and_why_and_nothing_of_what_is_in_it(failing: Any) -> None:
    waiting = await get(failing, f"{URL}/waiting")
    groups = [(group["reason"], group["course_id"], group["count"]) for group in waiting["groups"]]
    assert (waiting["total"], groups) == (
        5, [("data_error", "c1", 3), ("data_error", "c2", 1), ("invalid_entry", None, 1)],
    )  # fmt: skip
    first = await get(failing, limit=3)
    assert [event["course_id"] for event in first["failed_events"]] == [None, "c2", "c1"]
    newest = first["failed_events"][1]
    assert {name: newest[name] for name in ("group", "username", "reason", "detail", "replayed_at")} == {
        "group": "postgres", "username": "ann", "reason": "data_error", "detail": "PostgreSQL refuses it", "replayed_at": None,
    }  # fmt: skip
    rest = await get(failing, limit=3, before=first["next_before"])
    assert ([event["course_id"] for event in rest["failed_events"]], rest["next_before"]) == (["c1", "c1"], None)
    assert [event["course_id"] for event in (await get(failing, course="c2"))["failed_events"]] == ["c2"]
    assert [event["reason"] for event in (await get(failing, without_course="true"))["failed_events"]] == [
        "invalid_entry"
    ]
    assert (await get(failing, group="influxdb"))["failed_events"] == []


async def test_one_course_is_replayed_and_the_audit_log_says_by_whom(failing: Any) -> None:
    report = await replay(failing, course_id="c1", reason="data_error")
    assert {name: report[name] for name in ("queued", "events", "unreadable", "remaining")} == {
        "queued": 3, "events": 3, "unreadable": 0, "remaining": 0,
    }  # fmt: skip
    assert (len(await failing.queued("c1")), await failing.queued("c2")) == (3, [])
    assert (await get(failing, f"{URL}/waiting"))["total"] == 2
    assert len((await get(failing, state="all"))["failed_events"]) == 5
    entry = (await get(failing, "/api/v1/audit", action="failed_events_replayed"))["entries"][0]
    shown = (entry["actor"]["username"], entry["course_id"], entry["reason"], entry["queued"], entry["unreadable"])
    assert shown == ("root", "c1", "data_error", 3, 0)


async def test_a_request_replays_a_bounded_number_and_the_next_goes_on(
    failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_RECORDS", 2)
    monkeypatch.setattr(service, "_PAGE", 2)
    first = await replay(failing)
    assert (first["queued"], first["remaining"]) == (2, 3)
    second = await replay(failing, after=first["after"], newest=first["newest"])
    third = await replay(failing, after=second["after"], newest=second["newest"])
    assert (second["queued"], second["remaining"]) == (2, 1)
    assert (third["queued"], third["unreadable"], third["remaining"]) == (0, 1, 0)
    assert len(await failing.queued("c1") + await failing.queued("c2")) == 4


@pytest.mark.parametrize("caller", ["ivy", "ann"])
async def test_it_is_for_admins_only(failing: Any, caller: str) -> None:
    headers = failing.bearer(caller)
    answers = [
        await failing.client.get(URL, headers=headers),
        await failing.client.get(f"{URL}/waiting", headers=headers),
        await failing.client.post(f"{URL}/replay", headers=headers, json={}),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert await failing.queued("c1") == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"course_id": "c1", "without_course": True}, "course_id"),
        ({"after": 3}, "after"),
        ({"after": -1, "newest": 3}, "after"),
        ({"after": 1, "newest": 2**63}, "newest"),
        ({"course_id": "C 1"}, "course_id"),
        ({"reason": "x\x00"}, "reason"),
        ({"group": "other"}, "group"),
        ({"all": True}, "all"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_replays_nothing(failing: Any, body: Any, field: str) -> None:
    answer = await failing.client.post(f"{URL}/replay", headers=failing.bearer("root", admin=True), json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert await failing.queued("c1") == []


async def test_a_queue_that_takes_nothing_is_answered_with_when_to_try_again(
    failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> Any:
        raise LogUnavailable("the stream is full", retry_after=10)

    monkeypatch.setattr(failing.process.producer, "append", full)
    answer = await failing.client.post(f"{URL}/replay", headers=failing.bearer("root", admin=True), json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert answer.json()["detail"][0]["type"] == "log_unavailable"
    assert (await get(failing, f"{URL}/waiting"))["total"] == 5
