"""Hazard: a route changes something, or shows a student's work, and the audit log does not say who did it.

Each such route has an act below, which is done and whose entries are read, or stands in ``NO_ENTRY`` with the reason. A new
route that is in neither fails. What each entry says is tested in ``audit_test.py`` and in the tests of its subject.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from fastapi.routing import iter_route_contexts

from cell_monitor_api.main import create_api
from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.storage.postgres import failed_events, sign_in_links
from cell_monitor_core.storage.postgres.failed_events import FailedRecord

PASSWORD = "correct horse battery"
Route = tuple[str, str]

NO_ENTRY: Final[Mapping[Route, str]] = {
    ("POST", "/api/v1/events"): "what a student does is recorded as events",
    ("POST", "/api/v1/test/events/{test_id}"): "events of a test, which are recorded nowhere and change no figure",
    ("POST", "/api/v1/auth/refresh"): "a token of a sign-in that has its entry",
    ("POST", "/api/v1/auth/logout"): "ends one's own sign-in in one browser, and nobody's right",
    ("POST", "/api/v1/courses/{course_id}/help/{request_id}/claim"): "help_actions keeps who did it and when",
    ("POST", "/api/v1/courses/{course_id}/help/{request_id}/release"): "help_actions keeps who did it and when",
    ("POST", "/api/v1/courses/{course_id}/help/{request_id}/resolve"): "help_actions keeps who did it and when",
}
"""Routes that change something without an entry, and why nobody misses one."""

TRIED_ELSEWHERE: Final[Mapping[Route, tuple[str, str]]] = {
    ("GET", "/api/v1/auth/hub/callback"): (
        "hub_sign_in_test.py",
        "test_the_audit_log_has_the_sign_in_the_hub_s_roles_and_a_refusal",
    ),
    ("GET", "/api/v1/auth/oidc/callback"): (
        "oidc_sign_in_test.py",
        "test_the_audit_log_has_the_sign_in_the_role_of_the_groups_and_a_refusal",
    ),
}
"""Routes whose acts need another server: the file and the name of the test that reads their entries."""


def routes_to_enter() -> set[Route]:
    """Return the routes that change something, sign somebody in, or show one student's work."""
    return {
        (method, route.path)
        for route in iter_route_contexts(create_api(None).routes)
        for method in route.methods or ()
        if method not in {"GET", "HEAD", "OPTIONS"}
        or (method == "GET" and ("{student_id}" in route.path or route.path.endswith("/callback")))
    }


class Acts:
    """Does acts, and notes of which routes they were."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.done: set[Route] = set()
        self._seen: list[UUID] = []

    async def do(
        self,
        method: str,
        path: str,
        *expected: str,
        who: str | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
        query: dict[str, str] | None = None,
        **names: Any,
    ) -> Any:
        """Do one act and assert its entries, each with who did it; return the answer's body."""
        client, pool = self.site.client, self.site.process.pool
        await self._new(pool)
        answer = await client.request(
            method,
            "/api/v1" + path.format(course_id="c1", **names),
            headers=headers if who is None else self.site.bearer(who, admin=who == "root"),
            json=body,
            params=query,
        )
        assert answer.is_success, (method, path, answer.text)
        entries = await self._new(pool)
        assert sorted(entry["action"] for entry in entries) == sorted(expected), (method, path)
        assert {entry["actor_kind"] for entry in entries} <= {"person", "key"}, (method, path)
        if who is not None:
            assert {entry["actor_id"] for entry in entries} == {self.site.ids[who]}, (method, path)
        self.done.add((method, "/api/v1" + path))
        return answer.json() if answer.content else None

    async def _new(self, pool: Any) -> list[Any]:
        rows = await pool.fetch("SELECT * FROM audit_entries WHERE entry_id <> ALL($1::uuid[])", self._seen)
        self._seen += [row["entry_id"] for row in rows]
        return list(rows)


@pytest.fixture
async def site(make_site: Any) -> AsyncIterator[Any]:
    """A running API where groups can be linked and services act as people."""
    async with make_site(api_hub_url="http://127.0.0.1:9/hub/api", api_act_as_keys=True) as made:
        yield made


async def test_every_act_is_entered_with_who_did_it_or_excused_by_name(site: Any) -> None:
    await site.course("c1", ivy="instructor", ann="student")
    await site.person("root", admin=True)
    acts = Acts(site)
    await members(acts)
    await settings(acts)
    await joining(acts)
    await keys(acts)
    await work(acts)
    await sign_ins(acts)
    routes = routes_to_enter()
    assert routes - acts.done - set(NO_ENTRY) - set(TRIED_ELSEWHERE) == set(), "routes without an act or an excuse"
    assert set(NO_ENTRY) | set(TRIED_ELSEWHERE) <= routes, "excuses without a route"
    assert not acts.done & set(NO_ENTRY), "excused, and entered"


def test_the_tests_that_are_named_exist() -> None:
    for file, name in TRIED_ELSEWHERE.values():
        assert f"async def {name}(" in Path(__file__).with_name(file).read_text(encoding="utf-8")


async def members(acts: Acts) -> None:
    await acts.do("POST", "/courses", "course_created", who="root", body={"course_id": "c9", "title": "Nine"})
    new = {"members": [{"username": "eve", "role": "student"}]}
    path = "/courses/{course_id}/members"
    added = await acts.do("PUT", path, "member_added", who="ivy", body=new)
    person_id = added["members"][0]["person_id"]
    await acts.do("DELETE", path + "/{person_id}", "member_removed", who="ivy", person_id=person_id)


async def settings(acts: Acts) -> None:
    changes = {"title": "Physics", "thresholds": {"idle_s": 900}, "ruling_source": "roster"}
    entries = ("course_renamed", "thresholds_changed", "ruling_source_changed")
    await acts.do("PATCH", "/courses/{course_id}/settings", *entries, who="root", body=changes)
    link = {"issuer": "jupyterhub", "group": "staff", "role": "assistant"}
    await acts.do("POST", "/courses/{course_id}/group-links", "group_linked", who="root", body=link)
    await acts.do("DELETE", "/courses/{course_id}/group-links", "group_unlinked", who="root", query=link)


async def joining(acts: Acts) -> None:
    path = "/courses/{course_id}/join-code"

    async def join(code: str) -> str:
        body = {"code": code, "name": "Tanaka", "secret": secrets.token_urlsafe(32)}
        await acts.do("POST", "/auth/join", "member_added", body=body)
        return str(
            await acts.site.process.pool.fetchval(
                "SELECT person_id FROM memberships WHERE source = 'join' AND role IS NOT NULL"
            )
        )

    code = (await acts.do("POST", path, "joining_opened", who="ivy", body={}))["code"]
    merged = ("joined_merged", "member_removed")
    into = {"into": str(acts.site.ids["ann"])}
    person_id = await join(code)
    await acts.do(
        "POST", "/courses/{course_id}/members/{person_id}/merge", *merged, who="ivy", body=into, person_id=person_id
    )
    await join(code)
    await acts.do("DELETE", path, "joining_closed", who="ivy")
    await acts.do("DELETE", "/courses/{course_id}/joined", "member_removed", who="ivy")


async def keys(acts: Acts) -> None:
    key = {"name": "lab", "scopes": ["events:write"], "username": "ann"}
    made = await acts.do("POST", "/api-keys", "api_key_created", who="root", body=key)
    proof = {"authorization": f"ApiKey {made['key']}"}
    await acts.do("POST", "/auth/token", "api_key_used", headers=proof, body={"audience": "ingest"})
    await acts.do("DELETE", "/api-keys/{key_id}", "api_key_revoked", who="root", key_id=made["key_id"])


async def work(acts: Acts) -> None:
    ann = acts.site.ids["ann"]
    path = "/courses/{course_id}/students/{student_id}"
    await acts.do("GET", path, "work_opened", who="ivy", student_id=ann)
    await acts.do("GET", path + "/runs", "work_opened", who="root", student_id=ann)
    failed = FailedRecord("postgres", 0, "1-0", 0, "data_error", "refused", record(ann), ann, uuid4(), "c1")
    await failed_events.insert(acts.site.process.pool, acts.site.keyring, [failed])
    await acts.do("POST", "/failed-events/replay", "failed_events_replayed", who="root", body={})


def record(person_id: UUID) -> bytes:
    """Return an event as the worker keeps one that failed."""
    return encode_record(StreamRecord(person_id.bytes, "c1", 1, json.dumps({"event_id": str(uuid4())}).encode()))


async def sign_ins(acts: Acts) -> None:
    ivy = await acts.site.person("ivy", password=PASSWORD)
    body = {"username": "ivy", "password": PASSWORD}
    await acts.do("POST", "/auth/login", "signed_in", body=body)
    link = await sign_in_links.create(acts.site.process.pool, ivy, timedelta(minutes=1))
    await acts.do("POST", "/auth/link", "signed_in", body={"link": link})
    await acts.do("POST", "/auth/password", "password_changed", body={"new": "a horse that is correct"})
    await acts.do("POST", "/auth/logout-everywhere", "signed_out_everywhere")
