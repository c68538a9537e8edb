"""Hazards: what an operator must see is not entered, or under another's name; an instructor reads another course's log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cell_monitor_core.auth.audit import AuditAction
from cell_monitor_core.storage.postgres import audit, memberships, sign_in_links

PASSWORD = "correct horse battery"
SITE, COURSE = "/api/v1/audit", "/api/v1/courses/c1/audit"


@pytest.fixture
async def staffed(site: Any) -> Any:
    await site.course("c1", ivy="instructor", tim="assistant", ann="student", bob="student")
    await site.course("c2", hugo="instructor", zoe="student")
    await site.person("root", admin=True)
    await site.process.pool.execute("DELETE FROM audit_entries")
    return site


async def read(site: Any, url: str = SITE, caller: str = "root", **query: Any) -> list[dict[str, Any]]:
    """The newest entries, oldest first."""
    answer = await site.client.get(url, headers=site.bearer(caller, admin=caller == "root"), params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"][::-1]


def summary(entry: dict[str, Any]) -> tuple[str | None, ...]:
    who = entry["actor"]["username"] if entry["actor"] else entry["actor_kind"]
    whom = entry["subject"]["username"] if entry["subject"] else None
    return who, entry["action"], whom, entry["course_id"]


async def test_what_an_instructor_changes_is_entered_under_their_name(staffed: Any) -> None:
    url, headers = "/api/v1/courses/c1/members", staffed.bearer("ivy")
    added = await staffed.client.put(url, headers=headers, json={"members": [{"username": "eve", "role": "student"}]})
    person_id = added.json()["members"][0]["person_id"]
    assert (await staffed.client.delete(f"{url}/{person_id}", headers=headers)).status_code == 204
    refused = await staffed.client.put(
        url, headers=headers, json={"members": [{"username": "ann", "role": "instructor"}]}
    )
    assert refused.status_code == 403
    found = await read(staffed)
    assert [summary(entry) for entry in found] == [
        ("ivy", "member_added", "eve", "c1"),
        ("ivy", "member_removed", "eve", "c1"),
    ]
    assert [(entry["role_from"], entry["role_to"], entry["source"]) for entry in found] == [
        (None, "student", "roster"),
        ("student", None, "roster"),
    ]


async def test_what_an_admin_does_is_entered_under_their_name_and_so_is_what_their_key_does(staffed: Any) -> None:
    headers = staffed.bearer("root", admin=True)
    body = {"course_id": "c3", "title": "Three"}
    assert (await staffed.client.post("/api/v1/courses", headers=headers, json=body)).status_code == 201
    key = {"name": "roster", "scopes": ["admin"]}
    made = (await staffed.client.post("/api/v1/api-keys", headers=headers, json=key)).json()
    token = await staffed.client.post(
        "/api/v1/auth/token", headers={"authorization": f"ApiKey {made['key']}"}, json={"audience": "api"}
    )
    by_key = {"authorization": f"Bearer {token.json()['access_token']}"}
    member = {"members": [{"username": "eve", "role": "student"}]}
    assert (await staffed.client.put("/api/v1/courses/c3/members", headers=by_key, json=member)).status_code == 200
    revoked = await staffed.client.delete(f"/api/v1/api-keys/{made['key_id']}", headers=headers)
    assert revoked.status_code == 204
    found = await read(staffed)
    assert [summary(entry) for entry in found] == [
        ("root", "course_created", None, "c3"),
        ("root", "api_key_created", None, None),
        ("key", "api_key_used", None, None),
        ("key", "member_added", "eve", "c3"),
        ("root", "api_key_revoked", None, None),
    ]
    assert found[3]["actor_key_id"] == made["key_id"]
    assert {entry["key_id"] for entry in found} == {None, made["key_id"]}


async def test_sign_ins_refused_sign_ins_and_signing_out_everywhere_are_entered(staffed: Any) -> None:
    await staffed.person("ivy", password=PASSWORD)

    async def sign_in(username: str, password: str) -> int:
        answer = await staffed.client.post("/api/v1/auth/login", json={"username": username, "password": password})
        return int(answer.status_code)

    assert [await sign_in("ivy", "wrong"), await sign_in("ivy", "wrong"), await sign_in("nobody", "wrong")] == [401] * 3
    assert await sign_in("ivy", PASSWORD) == 200
    await sign_in_links.create(staffed.process.pool, staffed.ids["ivy"], timedelta(minutes=1))
    assert (await staffed.client.post("/api/v1/auth/logout-everywhere")).status_code == 204
    link = await sign_in_links.create(staffed.process.pool, staffed.ids["ann"], timedelta(minutes=1))
    for expected in (200, 401):
        answer = await staffed.client.post("/api/v1/auth/link", json={"link": link})
        assert (answer.status_code == 200) == (expected == 200)
    found = await read(staffed)
    refused = [entry for entry in found if entry["action"] == "sign_in_refused"]
    assert sum(entry["count"] for entry in refused) == 4
    assert {(summary(entry)[2], entry["way"]) for entry in refused} == {
        ("ivy", "password"), (None, "password"), ("ann", "link_used"),
    }  # fmt: skip
    assert {entry["address"] for entry in refused} == {"192.0.2.7"}
    assert {entry["actor_kind"] for entry in refused} == {"nobody"}
    rest = [(*summary(entry)[:2], entry["way"]) for entry in found if entry not in refused]
    assert rest == [
        ("ivy", "signed_in", "password"),
        ("ivy", "sign_in_link_ended", None),
        ("ivy", "signed_out_everywhere", None),
        ("ann", "signed_in", "link"),
    ]
    assert [(summary(entry)[2], entry["cause"]) for entry in found if entry["action"] == "sign_in_link_ended"] == [
        ("ivy", "signed_out_everywhere")
    ]
    # What was typed is stored nowhere, nor is the address readable.
    rows = await staffed.process.pool.fetch("SELECT t::text AS row FROM audit_entries t")
    assert not any(word in row["row"] for row in rows for word in ("wrong", "192.0.2.7", "ivy"))


async def test_a_changed_password_is_entered_and_so_is_a_wrong_present_one(staffed: Any) -> None:
    link = await sign_in_links.create(staffed.process.pool, staffed.ids["ivy"], timedelta(minutes=1))
    assert (await staffed.client.post("/api/v1/auth/link", json={"link": link})).status_code == 200
    body = {"new": "a horse that is correct"}
    assert (await staffed.client.post("/api/v1/auth/password", json=body)).status_code == 200
    wrong = body | {"present": "not this one"}
    refused = await staffed.client.post("/api/v1/auth/password", json=wrong)
    assert refused.status_code >= 400
    assert [(*summary(entry)[:3], entry["way"]) for entry in await read(staffed)] == [
        ("ivy", "signed_in", None, "link"),
        ("ivy", "password_changed", None, None),
        ("nobody", "sign_in_refused", "ivy", "password"),
    ]


async def test_nobody_is_signed_in_where_the_entry_cannot_be_written(staffed: Any, monkeypatch: Any) -> None:
    await staffed.person("ivy", password=PASSWORD)

    async def fail(*_arguments: Any, **_options: Any) -> None:
        raise asyncpg.DiskFullError("no space left")

    monkeypatch.setattr(audit, "record", fail)
    answer = await staffed.client.post("/api/v1/auth/login", json={"username": "ivy", "password": PASSWORD})
    assert answer.status_code >= 500
    assert await staffed.process.pool.fetchval("SELECT count(*) FROM sign_ins") == 0


async def test_opening_a_student_is_entered_once_and_asks_the_database_no_more(staffed: Any) -> None:
    base = "/api/v1/courses/c1/students"
    ann = staffed.ids["ann"]
    for _ in range(3):
        for url in (f"{base}/{ann}", f"{base}/{ann}/runs"):
            assert (await staffed.client.get(url, headers=staffed.bearer("ivy"))).status_code == 200
    # Another process, or this one after its memory is full.
    staffed.process.audit_log._entered.clear()
    started = await _window(staffed)
    assert (await staffed.client.get(f"{base}/{ann}/runs", headers=staffed.bearer("ivy"))).status_code == 200
    assert (await staffed.client.get(f"{base}/{ann}", headers=staffed.bearer("tim"))).status_code == 200
    assert (await staffed.client.get(f"{base}/{ann}", headers=staffed.bearer("root", admin=True))).status_code == 200
    assert (await staffed.client.get(f"{base}/{staffed.ids['zoe']}", headers=staffed.bearer("ivy"))).status_code == 404
    found = [summary(entry) for entry in await read(staffed)]
    assert set(found) == {(who, "work_opened", "ann", "c1") for who in ("ivy", "tim", "root")}
    assert len(found) <= 3 + (await _window(staffed) - started)


async def _window(site: Any) -> int:
    return int(await site.process.pool.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) / 600)"))


async def test_within_ten_minutes_opening_the_same_student_asks_the_database_nothing(staffed: Any) -> None:
    from cell_monitor_api.services.audit_log import AuditLog
    from cell_monitor_core.auth.audit import Actor

    class Counting:
        def __init__(self, pool: Any) -> None:
            self.pool, self.asked = pool, 0

        async def execute(self, *arguments: Any) -> Any:
            self.asked += 1
            return await self.pool.execute(*arguments)

    now = [1000.0]
    pool = Counting(staffed.process.pool)
    log = AuditLog(pool, staffed.keyring, staffed.index, clock=lambda: now[0])
    ivy = Actor.person(staffed.ids["ivy"])
    for _ in range(50):
        await log.work_opened(ivy, "c1", staffed.ids["ann"])
    assert pool.asked == 1
    now[0] += 601
    await log.work_opened(ivy, "c1", staffed.ids["ann"])
    assert pool.asked == 2


async def test_an_instructor_reads_the_log_of_their_course_and_no_other(staffed: Any) -> None:
    for course_id, student, instructor in (("c1", "ann", "ivy"), ("c2", "zoe", "hugo")):
        url = f"/api/v1/courses/{course_id}/students/{staffed.ids[student]}"
        assert (await staffed.client.get(url, headers=staffed.bearer(instructor))).status_code == 200
    assert [summary(entry) for entry in await read(staffed, COURSE, "ivy")] == [("ivy", "work_opened", "ann", "c1")]
    # No filter reaches beyond it.
    for query in ({"course": "c2"}, {"person": "zoe"}, {"person": "hugo"}, {"course_id": "c2"}):
        assert {entry["course_id"] for entry in await read(staffed, COURSE, "ivy", **query)} <= {"c1"}
    page = await staffed.client.get(SITE, headers=staffed.bearer("root", admin=True), params={"limit": 1})
    assert page.json()["entries"][0]["course_id"] == "c2"
    foreign = {"before": page.json()["next_before"]}
    assert {entry["course_id"] for entry in await read(staffed, COURSE, "ivy", **foreign)} <= {"c1"}
    for caller, status in (("tim", 403), ("ann", 403), ("hugo", 404)):
        assert (await staffed.client.get(COURSE, headers=staffed.bearer(caller))).status_code == status
    for caller in ("ivy", "tim", "ann"):
        assert (await staffed.client.get(SITE, headers=staffed.bearer(caller))).status_code == 403


async def test_filters_and_pages(staffed: Any) -> None:
    ann, zoe = staffed.ids["ann"], staffed.ids["zoe"]
    pool = staffed.process.pool
    await memberships.upsert_many(pool, "c1", {ann: "assistant"})
    await memberships.upsert_many(pool, "c2", {zoe: "assistant"})
    await memberships.remove(pool, "c2", zoe)
    assert [summary(entry)[1:3] for entry in await read(staffed, course="c2")] == [
        ("role_changed", "zoe"), ("member_removed", "zoe"),
    ]  # fmt: skip
    assert len(await read(staffed, person="ANN")) == 1
    assert await read(staffed, person="no such person") == []
    assert len(await read(staffed, action=["role_changed"])) == 2
    assert len(await read(staffed, action=["role_changed", "member_removed"])) == 3
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await read(staffed, since=tomorrow) == []
    assert len(await read(staffed, until=tomorrow)) == 3
    headers = staffed.bearer("root", admin=True)
    first = (await staffed.client.get(SITE, headers=headers, params={"limit": 2})).json()
    rest = (await staffed.client.get(SITE, headers=headers, params={"before": first["next_before"]})).json()
    assert [len(first["entries"]), len(rest["entries"]), rest["next_before"]] == [2, 1, None]


@pytest.mark.parametrize(
    "query",
    [
        {"before": "x"},
        {"since": "2026-04-01T09:00:00"},
        {"until": "yesterday"},
        {"action": "everything"},
        {"course": "../c2"},
        {"person": ""},
        {"limit": 0},
        {"limit": 201},
    ],
)
async def test_a_wrong_question_is_refused_with_the_parameter_named(staffed: Any, query: dict[str, Any]) -> None:
    answer = await staffed.client.get(SITE, headers=staffed.bearer("root", admin=True), params=query)
    assert 400 <= answer.status_code < 423
    assert next(iter(query)) in str(answer.json()["detail"])


def test_each_action_has_one_name() -> None:
    assert len({str(action) for action in AuditAction}) == len(AuditAction)
