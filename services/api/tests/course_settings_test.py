"""A course's settings: a change overwrites nothing that it does not name, and is what the audit log says."""

from __future__ import annotations

import pytest

from cell_monitor_core.storage.postgres import course_links, memberships
from cell_monitor_core.storage.postgres.course_links import CourseLink
from cell_monitor_core.storage.postgres.memberships import Source

URL = "/api/v1/courses/c1/settings"
DEFAULTS = {"stuck_errors": 3, "kernel_deaths": 3, "long_run_s": 180, "idle_s": 480, "offline_s": 60}


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor", ann="student")
    await site.person("root", admin=True)
    return site


async def patch(site, caller, **changes):
    return await site.client.patch(URL, headers=site.bearer(caller, admin=caller == "root"), json=changes)


async def test_what_a_change_does_not_name_stays(ivy):
    assert (await patch(ivy, "root", ruling_source="roster")).status_code == 200
    assert (await patch(ivy, "ivy", thresholds={"idle_s": 900})).status_code == 200
    answer = (await patch(ivy, "ivy", title="Physics 1")).json()
    assert (answer["title"], answer["thresholds"]) == ("Physics 1", {**DEFAULTS, "idle_s": 900})
    # To leave it out and to say that none rules are two things.
    assert answer["ruling_source"] == "roster"
    assert (await patch(ivy, "root", ruling_source=None)).json()["ruling_source"] is None
    state = (await ivy.client.get("/api/v1/courses/c1/state", headers=ivy.bearer("ivy"))).json()
    assert state["course"]["thresholds"]["idle_s"] == 900
    assert state["course"]["title"] == "Physics 1"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"thresholds": {"offline_s": 59}}, "offline_s"),
        ({"thresholds": {"stuck_errors": 101}}, "stuck_errors"),
        ({"thresholds": {"idle_s": "900"}}, "idle_s"),
        ({"thresholds": {"idle_s": 900.5}}, "idle_s"),
        ({"thresholds": {"idles": 900}}, "idles"),
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": "  "}, "title"),
        ({"title": "\u202e\u200b"}, "title"),
        ({"ruling_source": "join"}, "ruling_source"),
    ],
)
async def test_a_value_out_of_bounds_is_refused_with_its_place_and_changes_nothing(ivy, changes, place):
    answer = await patch(ivy, "root", **({"title": "Mine"} | changes))
    assert answer.status_code == 422
    assert place in answer.json()["detail"][0]["loc"]
    stored = (await ivy.client.get(URL, headers=ivy.bearer("ivy"))).json()
    assert (stored["title"], stored["thresholds"], stored["ruling_source"]) == ("Course c1", DEFAULTS, None)


async def test_only_an_admin_of_the_site_decides_whose_word_counts(ivy):
    answer = await patch(ivy, "ivy", title="Mine", ruling_source="roster")
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (403, "permission_denied")
    assert (await ivy.client.get(URL, headers=ivy.bearer("ivy"))).json()["title"] == "Course c1"


async def test_who_loses_a_role_by_a_ruling_source_no_longer_reads_the_course(ivy):
    ids = {name: await ivy.person(name) for name in ("ivy", "ann")}
    await memberships.upsert_many(ivy.process.pool, "c1", {ids["ivy"]: "student"}, source=Source.HUB)
    assert (await patch(ivy, "root", ruling_source="hub")).status_code == 200
    assert (await ivy.client.get(URL, headers=ivy.bearer("ivy"))).status_code == 403
    members = (await ivy.client.get("/api/v1/courses/c1/members", headers=ivy.bearer("root", admin=True))).json()[
        "members"
    ]
    # The Hub has not spoken of Ann: the roster still counts.
    assert {each["username"]: each["role"] for each in members} == {"ivy": "student", "ann": "student"}


@pytest.mark.parametrize("source", ["roster", "hub", "lti", "oidc"])
async def test_each_source_that_is_offered_can_be_made_the_ruling_one(ivy, source):
    answer = await patch(ivy, "root", ruling_source=source)
    assert answer.status_code == 200, answer.text
    assert answer.json()["ruling_source"] == source
    assert sorted(answer.json()["ruling_sources"]) == ["hub", "lti", "oidc", "roster"]


async def test_who_loses_a_role_by_the_sign_in_services_word_no_longer_reads_the_course(ivy):
    tim = await ivy.person("tim")
    await memberships.upsert_many(ivy.process.pool, "c1", {ivy.ids["ivy"]: "observer"}, source=Source.OIDC)
    await memberships.upsert_many(ivy.process.pool, "c1", {tim: "assistant"}, source=Source.OIDC)
    await memberships.remove(ivy.process.pool, "c1", tim, source=Source.OIDC)
    await memberships.upsert_many(ivy.process.pool, "c1", {tim: "student"})
    assert (await patch(ivy, "root", ruling_source="oidc")).status_code == 200
    assert await memberships.role_of(ivy.process.pool, "c1", ivy.ids["ivy"]) == "observer"
    assert await memberships.role_of(ivy.process.pool, "c1", tim) is None


async def test_a_link_that_would_give_nothing_is_refused_with_its_place(make_site):
    provider = "http://127.0.0.1:9/realm"
    client = {"api_oidc_client_id": "cell-monitor", "api_oidc_client_secret": "s" * 32}
    settings = client | {"public_url": "http://127.0.0.1:8900", "api_oidc_issuer": provider}
    hub = {"api_hub_url": "http://127.0.0.1:9/hub/api"}
    claim = {"api_oidc_groups_claim": "groups"}
    for configured, issuer, role, place in (
        (settings | claim | hub, provider, "student", "role"),
        (settings | claim | hub, "hub", "observer", "issuer"),
        # Without the claim the provider's groups are not read.
        (settings, provider, "observer", "issuer"),
        ({}, "jupyterhub", "student", "issuer"),
        (settings | claim | hub, provider, "observer", None),
        (settings | claim | hub, "jupyterhub", "student", None),
    ):
        async with make_site(**configured) as site:
            await site.course("c1", ivy="instructor")
            await site.person("root", admin=True)
            root = site.bearer("root", admin=True)
            link = {"issuer": issuer, "group": "staff", "role": role}
            answer = await site.client.post("/api/v1/courses/c1/group-links", headers=root, json=link)
            if place is None:
                assert link in answer.json()["links"], answer.text
                continue
            (detail,) = answer.json()["detail"]
            assert (answer.status_code, detail["type"], detail["loc"]) == (422, "invalid_parameter", ["body", place])
            known = (await site.client.get(URL, headers=root)).json()
            assert issuer not in known["issuers"] or known["staff_only_issuers"] == [issuer]


async def test_the_audit_log_tells_settings_from_roles(make_site):
    async with make_site(api_hub_url="http://127.0.0.1:9/hub/api") as site:
        await site.course("c1", ivy="instructor", ann="student")
        await site.person("root", admin=True)
        await _check_entries(site)


async def _check_entries(ivy):
    await patch(ivy, "ivy", title="Physics 1", thresholds={"idle_s": 900})
    link = {"issuer": "jupyterhub", "group": "Physics staff", "role": "assistant"}
    done = await ivy.client.post("/api/v1/courses/c1/group-links", headers=ivy.bearer("root", admin=True), json=link)
    assert done.json()["links"] == [link]
    answer = await ivy.client.get("/api/v1/courses/c1/audit?limit=3", headers=ivy.bearer("ivy"))
    linked, thresholds, renamed = answer.json()["entries"]
    assert (renamed["setting_from"], renamed["setting_to"], renamed["role_to"]) == ("Course c1", "Physics 1", None)
    assert (thresholds["setting_from"], thresholds["setting_to"]) == ({"idle_s": 480}, {"idle_s": 900})
    assert (linked["group"], linked["role_to"], linked["setting_to"]) == ("Physics staff", "assistant", None)
    assert (linked["actor"]["username"], renamed["actor"]["username"]) == ("root", "ivy")


async def test_the_rules_by_which_groups_give_roles_are_those_that_are_configured(make_site):
    hub = {
        "api_hub_url": "http://127.0.0.1:9/hub/api",
        "api_hub_group_pattern": "course-(?P<course>.+)-(?P<role>[a-z]+)",
        "api_hub_roles": {"teachers": "instructor"},
    }
    token = {"api_hub_token": "s" * 32, "public_url": "http://127.0.0.1:8900"}
    rule = {
        "issuer": "jupyterhub",
        "pattern": "course-(?P<course>.+)-(?P<role>[a-z]+)",
        "roles": {"teachers": "instructor"},
    }
    for settings, expected in (
        ({}, []),
        # Properties are read with the whole roster only.
        (hub, [{**rule, "property": None}]),
        (hub | token, [{**rule, "property": "cell_monitor"}]),
        (hub | token | {"api_hub_roster_s": 0}, [{**rule, "property": None}]),
    ):
        async with make_site(**settings) as site:
            await site.course("c1", ivy="instructor")
            answer = await site.client.get(URL, headers=site.bearer("ivy"))
            assert answer.json()["rules"] == expected


async def test_properties_of_groups_are_shown_apart_from_the_links(ivy):
    said = [CourseLink("jupyterhub", "4711", "observer", "c1"), CourseLink("jupyterhub", "4712", "student", "c2")]
    await ivy.course("c2")
    async with ivy.process.pool.acquire() as connection, connection.transaction():
        await course_links.set_properties(connection, "jupyterhub", said)
    answer = (await ivy.client.get(URL, headers=ivy.bearer("ivy"))).json()
    assert (answer["links"], answer["properties"]) == (
        [],
        [{"issuer": "jupyterhub", "group": "4711", "role": "observer"}],
    )


async def test_the_groups_of_a_provider_have_a_rule_once_their_claim_is_configured(make_site):
    provider = {
        "public_url": "http://127.0.0.1:8900",
        "api_oidc_issuer": "http://127.0.0.1:9/realm",
        "api_oidc_client_id": "cell-monitor",
        "api_oidc_client_secret": "s" * 32,
    }
    rule = {"issuer": "http://127.0.0.1:9/realm", "pattern": None, "roles": {}, "property": None}
    for settings, expected in ((provider, []), (provider | {"api_oidc_groups_claim": "groups"}, [rule])):
        async with make_site(**settings) as site:
            await site.course("c1", ivy="instructor")
            assert (await site.client.get(URL, headers=site.bearer("ivy"))).json()["rules"] == expected


@pytest.mark.parametrize("unseen", [" ", "\u202e\u200b", "\u3164", "---"])
async def test_a_course_and_a_key_get_no_name_that_nobody_can_read(ivy, unseen):
    for path, body, place in (
        ("courses", {"course_id": "c9", "title": unseen}, "title"),
        ("api-keys", {"name": unseen, "scopes": ["courses:read"]}, "name"),
    ):
        answer = await ivy.client.post(f"/api/v1/{path}", headers=ivy.bearer("root", admin=True), json=body)
        (detail,) = answer.json()["detail"]
        assert (answer.status_code, detail["loc"][-1]) == (422, place), path
        assert "read" in detail["msg"]
    assert (
        await ivy.client.get("/api/v1/courses/c9/settings", headers=ivy.bearer("root", admin=True))
    ).status_code == 404
    keys = (await ivy.client.get("/api/v1/api-keys", headers=ivy.bearer("root", admin=True))).json()["api_keys"]
    assert unseen not in [key["name"] for key in keys]
