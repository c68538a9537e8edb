"""Every route, for every kind of caller: allowed, refused, or hidden. New routes are found, not listed."""

from __future__ import annotations

from uuid import uuid4

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from cell_monitor_api.dependencies import AUTHORISED
from cell_monitor_api.main import create_api
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.storage.postgres import memberships

PUBLIC = {
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/refresh"),
    ("POST", "/api/v1/auth/logout"),
    ("POST", "/api/v1/auth/token"),
    ("GET", "/api/v1/auth/jwks.json"),
    ("GET", "/api/v1/config"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
}

OK, UNKNOWN, DENIED, HIDDEN = "allowed", 401, 403, 404
CALLERS = (
    "nobody",
    "ingest token",
    "student",
    "observer",
    "assistant",
    "instructor",
    "outsider",
    "stranger",
    "removed",
    "admin",
    "former admin",
    "reading service",
    "roster service",
    "admin service",
    "reading key of an instructor",
)


def _expected(default, **exceptions):
    return {caller: exceptions.get(caller.replace(" ", "_"), default) for caller in CALLERS}


_ANYBODY = {"nobody": UNKNOWN, "ingest_token": UNKNOWN}
EXPECTED = {
    "caller": _expected(OK, **_ANYBODY),
    "event sender": _expected(UNKNOWN, ingest_token=OK),
    "test sender": _expected(UNKNOWN, ingest_token=OK),
    "site admin": _expected(DENIED, **_ANYBODY, admin=OK, admin_service=OK),
    "course reader": _expected(
        OK, **_ANYBODY, student=DENIED, outsider=HIDDEN, stranger=HIDDEN, removed=HIDDEN, former_admin=HIDDEN,
        roster_service=DENIED,
    ),
    "helper": _expected(
        DENIED, **_ANYBODY, assistant=OK, instructor=OK, admin=OK, outsider=HIDDEN, stranger=HIDDEN, removed=HIDDEN,
        former_admin=HIDDEN,
    ),
    "roster editor": _expected(
        DENIED, **_ANYBODY, instructor=OK, admin=OK, roster_service=OK, admin_service=OK, outsider=HIDDEN,
        stranger=HIDDEN, removed=HIDDEN, former_admin=HIDDEN,
    ),
}  # fmt: skip

# A service has no name and no account, so these have nothing to tell it.
SPECIAL = {
    ("GET", "/api/v1/me"): {"reading service": UNKNOWN, "roster service": UNKNOWN, "admin service": UNKNOWN},
    ("GET", "/api/v1/courses"): {"roster service": DENIED},
}


def _dependencies(dependant):
    for inner in dependant.dependencies:
        yield inner.call
        yield from _dependencies(inner)


def _routes():
    found = []
    for route in iter_route_contexts(create_api(None).routes):
        if isinstance(route.original_route, APIRoute):
            # The last one found decides: those that it depends on come after it in the walk.
            kinds = [AUTHORISED[call] for call in _dependencies(route.dependant) if call in AUTHORISED]
            kind = next((kind for kind in kinds if kind != "caller"), kinds[0] if kinds else "public")
            found += [(method, route.path, kind) for method in sorted(route.methods)]
    return found


ROUTES = _routes()


def test_only_these_routes_are_public():
    assert {(method, path) for method, path, kind in ROUTES if kind == "public"} == PUBLIC
    assert {kind for _, _, kind in ROUTES} - {"public"} <= set(AUTHORISED.values())


def test_every_role_is_tried():
    assert set(Role) <= set(CALLERS)


@pytest.fixture
async def callers(make_site, make_event):
    async with make_site(test_mode=True) as site:
        roles = {role: role for role in ("student", "observer", "assistant", "instructor")}
        await site.course("c1", **roles, removed="instructor", second="student")
        await site.course("c2", outsider="instructor")
        await site.person("stranger")
        await site.person("boss", admin=True)
        await site.person("former")
        await site.process.pool.execute(
            "DELETE FROM memberships WHERE course_id = 'c1' AND person_id = $1", site.ids["removed"]
        )
        help_event = make_event("help_requested", cell=None)
        await site.store("student", "c1", help_event)
        site.help_id = help_event["event_id"]

        def service(*scopes):
            site.ids["service"] = "0d1e5bd3-4d6c-5f8a-9d6a-8a2b7e7d7a11"
            return site.bearer("service", "api", scopes=scopes, admin="admin" in scopes)

        headers = {
            "nobody": {},
            "ingest token": site.sender("instructor"),
            "stranger": site.bearer("stranger"),
            "outsider": site.bearer("outsider"),
            # Their tokens still say what they were.
            "removed": site.bearer("removed"),
            "former admin": site.bearer("former", admin=True),
            "admin": site.bearer("boss", admin=True),
            "reading service": service("courses:read"),
            "roster service": service("roster:write"),
            "admin service": service("admin"),
            "reading key of an instructor": site.bearer("instructor", "api", scopes=("courses:read",)),
            **{role: site.bearer(role) for role in roles},
        }
        yield site, headers


def _request(site, method, path, make_event):
    student_id = site.ids["student"]
    url = (
        path.replace("{course_id}", "c1")
        .replace("{student_id}", str(student_id))
        .replace("{person_id}", str(site.ids["second"]))
        .replace("{request_id}", site.help_id)
        .replace("{test_id}", "t1")
    )
    options = {}
    if path.endswith("/activity"):
        options["params"] = {"start": "2026-04-01T09:00:00Z", "stop": "2026-04-01T10:00:00Z", "every": 60}
    if path.endswith("/members"):
        options["json"] = {"members": [{"username": "new", "role": "student"}]}
    if (method, path) == ("POST", "/api/v1/courses"):
        options["json"] = {"course_id": f"c-{uuid4()}", "title": "New"}
    if (method, path) == ("POST", "/api/v1/api-keys"):
        options["json"] = {"name": "k", "scopes": ["courses:read"]}
    if method == "POST" and "events" in path:
        options["json"] = {"events": [make_event()]}
    return url, options


@pytest.mark.parametrize(("method", "path", "kind"), [route for route in ROUTES if route[2] != "public"])
async def test_who_may(callers, make_event, method, path, kind):
    site, headers = callers
    assert set(headers) == set(CALLERS)
    for caller in CALLERS:
        expected = (EXPECTED[kind] | SPECIAL.get((method, path), {}))[caller]
        url, options = _request(site, method, path, make_event)
        if "{key_id}" in path:
            key_id = await site.process.pool.fetchval(
                "INSERT INTO api_keys (key_id, key_hash, name, scopes, expires_at) "
                "VALUES (substr(md5(random()::text), 1, 16), sha256(random()::text::bytea), 'k', '{}', now() + '1 day') "
                "RETURNING key_id"
            )
            url = url.replace("{key_id}", key_id)
        if "{person_id}" in path:
            await memberships.upsert_many(site.process.pool, "c1", {site.ids["second"]: "student"})
        if kind == "helper":
            await site.process.pool.execute("UPDATE help_requests SET status = 'open', claimed_by = NULL")
        answer = await site.client.request(method, url, headers=headers[caller], **options)
        outcome = OK if answer.status_code < 300 else answer.status_code
        assert outcome == expected, (caller, answer.status_code, answer.text)
        if outcome != OK:
            assert answer.json()["detail"][0]["type"] in {
                "not_authenticated", "permission_denied", "insufficient_scope", "not_found",
            }  # fmt: skip


async def test_a_course_that_is_not_there_looks_like_one_of_others(callers, make_event):
    site, headers = callers
    for method, path, _ in ROUTES:
        if "{course_id}" not in path:
            continue
        url, options = _request(site, method, path, make_event)
        missing = await site.client.request(method, url.replace("/c1/", "/c9/"), headers=headers["outsider"], **options)
        foreign = await site.client.request(method, url, headers=headers["outsider"], **options)
        assert missing.status_code == foreign.status_code == 404
        assert missing.content == foreign.content
        by_admin = await site.client.request(method, url.replace("/c1/", "/c9/"), headers=headers["admin"], **options)
        assert by_admin.status_code == 404


async def test_a_removed_assistant_loses_access_within_seconds(callers):
    site, headers = callers
    now = 0.0
    site.process.access._clock = lambda: now
    url = "/api/v1/courses/c1/state"
    assert (await site.client.get(url, headers=headers["assistant"])).status_code == 200
    await site.process.pool.execute("DELETE FROM memberships WHERE person_id = $1", site.ids["assistant"])
    now += 5.1
    assert (await site.client.get(url, headers=headers["assistant"])).status_code == 404


async def test_the_test_road_is_closed_unless_opened(site, make_event):
    await site.course("c1", ann="student")
    for method in ("POST", "GET"):
        for headers in (site.sender("ann"), {}):
            answer = await site.client.request(method, "/api/v1/test/events/t1", headers=headers)
            assert answer.status_code == 404
            assert answer.json()["detail"][0]["type"] == "not_found"
