"""Courses and members: what an instructor decides, and what only an admin does."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from cell_monitor_core.auth.passwords import hash_password
from cell_monitor_core.auth.tokens import TokenVerifier
from cell_monitor_core.channels import course_channel
from cell_monitor_core.storage.postgres import accounts, courses, memberships, people
from cell_monitor_core.storage.postgres.memberships import Source

PASSWORD = "correct horse battery"
URL = "/api/v1/courses/c1/members"


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


async def can_sign_in(site, username, password):
    answer = await site.client.post("/api/v1/auth/login", json={"username": username, "password": password})
    return answer.status_code == 200


async def put(site, caller, *members, **options):
    return await site.client.put(URL, headers=site.bearer(caller, **options), json={"members": list(members)})


async def roster_key(site):
    """The header of a program that fills rosters."""
    _, key = await site.key("roster:write")
    answer = await site.client.post(
        "/api/v1/auth/token", headers={"authorization": f"ApiKey {key}"}, json={"audience": "api"}
    )
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor")
    return site


async def test_an_open_page_counts_students_who_were_added_or_removed(ivy):
    broker, channel = ivy.process.broker, course_channel("c1")
    start = await broker.position(channel)

    async def counted() -> list[int]:
        recovery = await broker.recover(channel, start.epoch, start.offset, limit=10)
        return [json.loads(bytes(each.state))["students"] for each in recovery.publications]

    added = await put(ivy, "ivy", {"username": "ann", "role": "student"}, {"username": "tim", "role": "student"})
    assert await counted() == [2]
    await put(ivy, "ivy", {"username": "ann", "role": "student"}, {"username": "ivy", "role": "instructor"})
    assert await counted() == [2]
    person_id = added.json()["members"][0]["person_id"]
    assert (await ivy.client.delete(f"{URL}/{person_id}", headers=ivy.bearer("ivy"))).status_code == 204
    # What was published of a former student is recovered by nobody: the page fetches the course as it is now.
    assert not (await broker.recover(channel, start.epoch, start.offset, limit=10)).recovered
    state = (await ivy.client.get("/api/v1/courses/c1/state", headers=ivy.bearer("ivy"))).json()
    assert state["counters"]["students"] == 1


async def test_members_are_added_and_brought_up_to_date(ivy):
    first = await put(
        ivy,
        "ivy",
        {"username": "Ann", "display_name": "Ann A.", "role": "student"},
        {"username": "tim", "role": "student"},
    )
    assert first.status_code == 200
    members = first.json()["members"]
    assert [(member["username"], member["role"]) for member in members] == [("Ann", "student"), ("tim", "student")]
    await ivy.person("boss", admin=True)
    again = await put(ivy, "boss", {"username": "Ann", "display_name": "Ann Ä.", "role": "assistant"}, admin=True)
    assert again.json()["members"] == [
        {
            "person_id": members[0]["person_id"],
            "username": "Ann",
            "role": "assistant",
            "effective_role": "assistant",
        }
    ]
    state = (await ivy.client.get("/api/v1/courses/c1/state", headers=ivy.bearer("ivy"))).json()
    assert [student["username"] for student in state["students"]] == ["tim"]
    assert {(member["display_name"], member["role"]) for member in state["staff"]} == {
        ("Ivy Doe", "instructor"),
        ("Ann Ä.", "assistant"),
    }


async def test_names_are_not_readable_in_the_database(ivy):
    await put(ivy, "ivy", {"username": "annabelle", "display_name": "Annabelle Q.", "role": "student"})
    rows = await ivy.process.pool.fetch("SELECT * FROM people")
    assert all(b"nnabelle" not in value for row in rows for value in row.values() if isinstance(value, bytes))


async def test_an_instructor_cannot_make_an_account_and_later_act_as_its_person(ivy):
    """What was possible: a password for a name, and then an admin gives that person another course."""
    made = {"username": "zoe", "role": "student", "password": PASSWORD}
    refused = await put(ivy, "ivy", {"username": "ann", "role": "student"}, made)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "members", 1]
    assert "cell-monitor sign-in-link USERNAME" in refused.json()["detail"][0]["msg"]
    assert PASSWORD not in refused.text
    del made["password"]
    assert (await put(ivy, "ivy", made)).status_code == 200
    zoe = await people.find(ivy.process.pool, ivy.keyring, ivy.index, "zoe")
    await ivy.course("c2")
    await memberships.upsert_many(ivy.process.pool, "c2", {zoe.person_id: "instructor"})
    assert not await can_sign_in(ivy, "zoe", PASSWORD)
    assert await ivy.process.pool.fetchval("SELECT count(*) FROM local_accounts") == 0


async def test_not_even_an_admin_sets_somebody_elses_password_by_a_roster(ivy):
    await ivy.person("boss", admin=True)
    await ivy.person("zoe", password=PASSWORD)
    changed = {"username": "zoe", "role": "student", "password": "another password"}
    assert (await put(ivy, "boss", changed, admin=True)).status_code == 422
    assert await can_sign_in(ivy, "zoe", PASSWORD)


@pytest.mark.parametrize("role", ["instructor", "assistant", "observer"])
async def test_only_an_admin_gives_a_role_that_sees_students(ivy, role):
    """What was possible: a key that fills rosters added an instructor with a password, and so read everything."""
    await ivy.course("c1", tim="student")
    await ivy.person("boss", admin=True)
    key = await roster_key(ivy)
    for headers in (ivy.bearer("ivy"), key):
        for username in ("tim", "mole"):
            members = [{"username": "ann", "role": "student"}, {"username": username, "role": role}]
            refused = await ivy.client.put(URL, headers=headers, json={"members": members})
            assert fault(refused) == (403, "permission_denied")
            assert refused.json()["detail"][0]["loc"] == ["body", "members", 1, "role"]
    # All or none: neither the person nor the neighbour was added.
    assert await ivy.process.pool.fetchval("SELECT count(*) FROM people") == 3
    assert await memberships.role_of(ivy.process.pool, "c1", ivy.ids["tim"]) == "student"
    given = await put(ivy, "boss", {"username": "tim", "role": role}, admin=True)
    assert given.json()["members"][0]["effective_role"] == role


async def test_a_whole_roster_can_be_sent_again_with_its_staff_and_a_role_lowered(ivy):
    await ivy.course("c1", tim="assistant")
    whole = [{"username": "ivy", "role": "instructor"}, {"username": "tim", "role": "assistant"}]
    again = await put(ivy, "ivy", *whole, {"username": "ann", "role": "student"})
    assert [member["effective_role"] for member in again.json()["members"]] == ["instructor", "assistant", "student"]
    lowered = await put(ivy, "ivy", {"username": "tim", "role": "student"})
    assert lowered.json()["members"][0]["effective_role"] == "student"
    assert fault(await put(ivy, "ivy", {"username": "tim", "role": "assistant"})) == (403, "permission_denied")


@pytest.mark.parametrize("whose", ["ivy", "boss"])
@pytest.mark.parametrize("act", ["lower", "remove"])
async def test_an_instructor_ends_neither_their_own_role_nor_an_admins(ivy, whose, act):
    await ivy.person("boss", admin=True)
    await ivy.course("c1", boss="instructor")

    async def asked(caller, **options):
        if act == "remove":
            return await remove(ivy, caller, whose, **options)
        # All or none: the neighbour is not added either.
        return await put(
            ivy, caller, {"username": "ann", "role": "student"}, {"username": whose, "role": "student"}, **options
        )

    refused = await asked("ivy")
    assert fault(refused) == (403, "member_protected")
    assert "only an admin of the site" in refused.json()["detail"][0]["msg"]
    if act == "lower":
        assert refused.json()["detail"][0]["loc"] == ["body", "members", 1, "role"]
    assert await memberships.role_of(ivy.process.pool, "c1", ivy.ids[whose]) == "instructor"
    assert await people.find(ivy.process.pool, ivy.keyring, ivy.index, "ann") is None
    # An admin of the site does it, to themselves, too.
    assert (await asked("boss", admin=True)).is_success
    assert await memberships.role_of(ivy.process.pool, "c1", ivy.ids[whose]) == (None if act == "remove" else "student")


@pytest.mark.parametrize("caller", ["ivy", "key"])
async def test_neither_an_instructor_nor_a_key_ends_or_lowers_the_role_of_an_instructor(ivy, caller):
    await ivy.person("boss", admin=True)
    await ivy.course("c1", kai="instructor", tim="assistant", oda="observer")
    headers = ivy.bearer("ivy") if caller == "ivy" else await roster_key(ivy)
    for role in ("student", "observer", "assistant"):
        body = {"members": [{"username": "ann", "role": "student"}, {"username": "kai", "role": role}]}
        refused = await ivy.client.put(URL, headers=headers, json=body)
        # A lower role of the staff is not theirs to give either.
        assert refused.status_code == 403
        assert refused.json()["detail"][0]["loc"] == ["body", "members", 1, "role"]
    refused = await ivy.client.put(URL, headers=headers, json={"members": [{"username": "kai", "role": "student"}]})
    removed = await ivy.client.delete(f"{URL}/{ivy.ids['kai']}", headers=headers)
    for answer in (refused, removed):
        assert fault(answer) == (403, "member_protected")
        said = answer.json()["detail"][0]["msg"]
        assert "is an instructor" in said
        assert "ask an admin" in said
    assert await memberships.role_of(ivy.process.pool, "c1", ivy.ids["kai"]) == "instructor"
    assert await people.find(ivy.process.pool, ivy.keyring, ivy.index, "ann") is None
    # The other roles of the staff are the course's to end.
    assert (await ivy.client.delete(f"{URL}/{ivy.ids['tim']}", headers=headers)).status_code == 204
    lowered = await ivy.client.put(URL, headers=headers, json={"members": [{"username": "oda", "role": "student"}]})
    assert lowered.json()["members"][0]["effective_role"] == "student"
    # An admin of the site does it.
    assert (await remove(ivy, "boss", "kai", admin=True)).status_code == 204


@pytest.mark.parametrize("whose", ["ivy", "kai"])
async def test_a_roster_that_rules_does_not_let_an_instructor_lower_a_role_that_the_hub_gave(ivy, whose):
    pool = ivy.process.pool
    await ivy.person("boss", admin=True)
    await ivy.person("kai")
    both = {ivy.ids[name]: "instructor" for name in ("ivy", "kai")}
    await memberships.upsert_many(pool, "c1", both, source=Source.HUB)
    # The roster has not spoken of either, so that what the Hub says counts.
    await pool.execute("DELETE FROM memberships WHERE source = 'roster'")
    await pool.execute("UPDATE courses SET ruling_source = 'roster' WHERE course_id = 'c1'")
    refused = await put(ivy, "ivy", {"username": whose, "role": "student"})
    assert fault(refused) == (403, "member_protected")
    assert await memberships.role_of(pool, "c1", ivy.ids[whose]) == "instructor"
    # The source that gave the role ends it.
    await memberships.remove(pool, "c1", ivy.ids[whose], source=Source.HUB)
    assert await memberships.role_of(pool, "c1", ivy.ids[whose]) is None


async def test_what_a_list_may_not_do_is_named_line_by_line(ivy):
    await ivy.person("boss", admin=True)
    await ivy.course("c1", boss="assistant", kai="instructor", tim="assistant")
    lines = {
        "ann": "student", "eve": "instructor", "kai": "student", "tim": "student", "zoe": "observer", "boss": "student",
        "ivy": "student",
    }  # fmt: skip
    refused = await put(ivy, "ivy", *({"username": name, "role": role} for name, role in lines.items()))
    assert refused.status_code == 403
    assert [(each["type"], each["loc"]) for each in refused.json()["detail"]] == [
        ("permission_denied", ["body", "members", 1, "role"]),
        ("member_protected", ["body", "members", 2, "role"]),
        ("permission_denied", ["body", "members", 4, "role"]),
        ("member_protected", ["body", "members", 5, "role"]),
        ("member_protected", ["body", "members", 6, "role"]),
    ]
    assert await memberships.role_of(ivy.process.pool, "c1", ivy.ids["tim"]) == "assistant"


async def test_a_key_that_fills_rosters_does_not_end_an_admins_role(ivy):
    await ivy.person("boss", admin=True)
    await ivy.course("c1", boss="assistant", tim="assistant")
    key = await roster_key(ivy)
    refused = await ivy.client.delete(f"{URL}/{ivy.ids['boss']}", headers=key)
    assert fault(refused) == (403, "member_protected")
    assert (await ivy.client.delete(f"{URL}/{ivy.ids['tim']}", headers=key)).status_code == 204


async def test_an_admin_who_is_a_student_of_the_course_is_the_instructors_to_remove(ivy):
    await ivy.person("boss", admin=True)
    await ivy.course("c1", boss="student")
    assert (await remove(ivy, "ivy", "boss")).status_code == 204


async def test_a_role_that_another_source_gave_is_not_the_rosters_to_repeat(ivy):
    hugo = await ivy.person("hugo")
    await memberships.upsert_many(ivy.process.pool, "c1", {hugo: "assistant"}, source=Source.HUB)
    refused = await put(ivy, "ivy", {"username": "hugo", "role": "assistant"})
    assert fault(refused) == (403, "permission_denied")
    # Removed at the Hub, they would have kept the role.
    await memberships.remove(ivy.process.pool, "c1", hugo, source=Source.HUB)
    assert await memberships.role_of(ivy.process.pool, "c1", hugo) is None


async def test_an_instructor_cannot_rename_somebody_who_belongs_elsewhere(ivy):
    await ivy.course("c2", zoe="instructor")
    await ivy.person("boss", admin=True)
    for username in ("zoe", "boss"):
        taken = {"username": username, "role": "student", "display_name": "Mine"}
        assert (await put(ivy, "ivy", taken)).status_code == 200
        [student] = [
            student
            for student in (await ivy.client.get("/api/v1/courses/c1/students", headers=ivy.bearer("ivy"))).json()[
                "students"
            ]
            if student["username"] == username
        ]
        assert student["display_name"] == f"{username.title()} Doe"


async def test_names_that_differ_in_case_are_two_people(ivy):
    answer = await put(ivy, "ivy", {"username": "tanaka", "role": "student"}, {"username": "Tanaka", "role": "student"})
    lower, upper = [UUID(member["person_id"]) for member in answer.json()["members"]]
    assert lower != upper
    for person_id, password in ((lower, PASSWORD), (upper, "another password")):
        await accounts.set_password(ivy.process.pool, person_id, hash_password(password))
    assert await can_sign_in(ivy, "tanaka", PASSWORD)
    assert await can_sign_in(ivy, "Tanaka", "another password")
    # Neither password opens the other's account, and a third spelling opens none.
    assert not await can_sign_in(ivy, "Tanaka", PASSWORD)
    assert not await can_sign_in(ivy, "TANAKA", PASSWORD)
    assert not await can_sign_in(ivy, "TANAKA", "another password")


async def test_the_answer_says_what_counts_where_another_source_rules(ivy):
    await put(ivy, "ivy", {"username": "tim", "role": "student"}, {"username": "ann", "role": "student"})
    pool = ivy.process.pool
    tim, ann = [await people.find(pool, ivy.keyring, ivy.index, name) for name in ("tim", "ann")]
    await courses.set_ruling_source(pool, "c1", Source.HUB)
    await memberships.upsert_many(pool, "c1", {tim.person_id: "observer", ann.person_id: "student"}, source=Source.HUB)
    await memberships.remove(pool, "c1", ann.person_id, source=Source.HUB)
    await ivy.person("boss", admin=True)
    changes = {"username": "tim", "role": "instructor"}, {"username": "ann", "role": "student"}
    answer = await put(ivy, "boss", *changes, admin=True)
    assert [(member["role"], member["effective_role"]) for member in answer.json()["members"]] == [
        ("instructor", "observer"),
        ("student", None),
    ]


async def test_a_member_of_another_source_cannot_be_removed_here_and_keeps_what_it_gave(ivy):
    await ivy.course("c1", tim="student")
    pool, tim = ivy.process.pool, ivy.ids["tim"]
    await memberships.upsert_many(pool, "c1", {tim: "assistant"}, source=Source.HUB)
    assert (await remove(ivy, "ivy", "tim")).status_code == 204
    assert await memberships.role_of(pool, "c1", tim) == "assistant"
    refused = await remove(ivy, "ivy", "tim")
    assert fault(refused) == (409, "managed_elsewhere")
    assert "hub" in refused.json()["detail"][0]["msg"]
    await memberships.remove(pool, "c1", tim, source=Source.HUB)
    assert fault(await remove(ivy, "ivy", "tim")) == (404, "not_found")


async def remove(site, caller, username, course_id="c1", **options):
    return await site.client.delete(
        f"/api/v1/courses/{course_id}/members/{site.ids[username]}", headers=site.bearer(caller, **options)
    )


async def test_a_removed_member_sees_nothing_more_and_is_seen_no_more(ivy):
    await ivy.course("c2", tim="assistant")
    await ivy.course("c3")
    await ivy.process.pool.execute("INSERT INTO memberships VALUES ('c1', $1, 'assistant')", ivy.ids["tim"])
    ivy.roles["tim"]["c1"] = "assistant"
    state = "/api/v1/courses/{}/state"
    # What the database said is remembered for seconds: a removal by this process counts at once.
    assert (await ivy.client.get(state.format("c1"), headers=ivy.bearer("tim"))).status_code == 200
    answer = await remove(ivy, "ivy", "tim")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await ivy.client.get(state.format("c1"), headers=ivy.bearer("tim"))).status_code == 404
    staff = (await ivy.client.get(state.format("c1"), headers=ivy.bearer("ivy"))).json()["staff"]
    assert [member["display_name"] for member in staff] == ["Ivy Doe"]
    # Only this course was ivy's to decide on.
    assert (await ivy.client.get(state.format("c2"), headers=ivy.bearer("tim"))).status_code == 200
    assert fault(await remove(ivy, "ivy", "tim", "c2")) == (404, "not_found")
    assert fault(await remove(ivy, "ivy", "tim")) == (404, "not_found")


async def test_a_student_who_left_and_comes_back_finds_what_they_did(ivy, make_event):
    await put(ivy, "ivy", {"username": "ann", "role": "student"})
    ivy.ids["ann"] = await ivy.process.pool.fetchval("SELECT person_id FROM memberships WHERE role = 'student'")
    await ivy.store("ann", "c1", make_event("cell_executed"))
    url = "/api/v1/courses/c1/students"
    [before] = (await ivy.client.get(url, headers=ivy.bearer("ivy"))).json()["students"]
    assert before["runs"] == 1
    assert (await remove(ivy, "ivy", "ann")).status_code == 204
    assert (await ivy.client.get(url, headers=ivy.bearer("ivy"))).json()["students"] == []
    await put(ivy, "ivy", {"username": "ann", "role": "student"})
    assert (await ivy.client.get(url, headers=ivy.bearer("ivy"))).json()["students"] == [before]


async def test_a_removed_members_next_token_names_the_course_no_more(ivy):
    await ivy.course("c1", tim="observer")
    await ivy.person("tim", password=PASSWORD)
    assert await can_sign_in(ivy, "tim", PASSWORD)
    assert (await remove(ivy, "ivy", "tim")).status_code == 204
    token = (await ivy.client.post("/api/v1/auth/refresh")).json()["access_token"]
    assert TokenVerifier(ivy.process.signing, "gateway").verify(token).courses == {}


@pytest.mark.parametrize(
    "members",
    [
        [{"username": "ann", "role": "owner"}],
        [{"username": "ann"}],
        [{"username": " ann", "role": "student"}],
        [{"username": "a\nb", "role": "student"}],
        [{"username": "ann", "role": "student"}, {"username": "ann", "role": "student"}],
        [{"username": "ann", "role": "student", "password": "short"}],
        [{"username": "ann", "role": "student", "is_admin": True}],
        [{"username": f"u{number}", "role": "student"} for number in range(501)],
        "ann",
    ],
)
async def test_other_rosters_are_refused(ivy, members):
    answer = await ivy.client.put(URL, headers=ivy.bearer("ivy"), json={"members": members})
    assert answer.status_code == 422
    assert await ivy.process.pool.fetchval("SELECT count(*) FROM people") == 1


async def test_every_bad_member_of_a_list_is_named_with_its_reason(ivy):
    members = [{"username": f" u{number}", "role": "student"} for number in range(500)]
    members[7] = {"username": "ann", "role": "student", "display_name": "x" * 201}
    refused = await put(ivy, "ivy", *members)
    faults = refused.json()["detail"]
    assert [each["loc"][2] for each in faults] == list(range(500))
    assert {each["type"] for each in faults[:7]} == {"string_pattern_mismatch"}
    assert (faults[7]["type"], faults[7]["loc"][3]) == ("string_too_long", "display_name")
    # More faults than that are counted.
    worse = [{"username": " u", "role": "owner"} for _ in range(300)]
    faults = (await put(ivy, "ivy", *worse)).json()["detail"]
    assert (len(faults), faults[-1]["type"]) == (501, "more_errors")
    assert "100 more" in faults[-1]["msg"]


async def test_each_user_name_that_appears_twice_is_named_by_its_place(ivy):
    names = ["ann", "ben", "ann", "chen", "ben", "ann"]
    refused = await put(ivy, "ivy", *({"username": name, "role": "student"} for name in names))
    assert refused.status_code == 422
    assert "members 2, 4, 5" in refused.json()["detail"][0]["msg"]


async def test_five_hundred_members_at_once(ivy):
    members = [{"username": f"student{number}", "role": "student"} for number in range(500)]
    answer = await put(ivy, "ivy", *members)
    assert [member["username"] for member in answer.json()["members"]] == [member["username"] for member in members]
    assert (await put(ivy, "ivy")).json() == {"members": []}


async def test_courses_are_added_by_admins_once(ivy):
    await ivy.person("boss", admin=True)
    headers = ivy.bearer("boss", admin=True)
    body = {"course_id": "c2", "title": "データ分析"}
    added = await ivy.client.post("/api/v1/courses", headers=headers, json=body)
    assert (added.status_code, added.json()) == (201, body)
    again = await ivy.client.post("/api/v1/courses", headers=headers, json=body)
    assert fault(again) == (409, "course_exists")
    for bad in ({"course_id": "C 2", "title": "x"}, {"course_id": "c3", "title": ""}, {"course_id": "c3"}):
        assert (await ivy.client.post("/api/v1/courses", headers=headers, json=bad)).status_code == 422
    listed = (await ivy.client.get("/api/v1/courses", headers=headers)).json()["courses"]
    assert {course["course_id"]: course["role"] for course in listed} == {"c1": None, "c2": None}
    own = (await ivy.client.get("/api/v1/courses", headers=ivy.bearer("ivy"))).json()["courses"]
    assert own == [
        {
            "course_id": "c1",
            "title": "Course c1",
            "role": "instructor",
            "students": 0,
            "help_open": 0,
            "active": 0,
            "running": 0,
            "left": 0,
            "need_help": 0,
        }
    ]


async def test_a_body_without_end_is_cut_off(ivy):
    async def endless():
        while True:
            yield b" " * 65_536

    answer = await ivy.client.put(
        URL, headers={**ivy.bearer("ivy"), "content-type": "application/json"}, content=endless()
    )
    assert fault(answer) == (413, "body_too_large")


async def test_the_list_names_the_role_that_counts_and_its_sources(ivy):
    await put(
        ivy,
        "ivy",
        {"username": "zoe", "display_name": "Zoë Z.", "role": "student"},
        {"username": "ann", "role": "student"},
        {"username": "Ann", "role": "student"},
    )
    zoe = await people.find(ivy.process.pool, ivy.keyring, ivy.index, "zoe")
    await memberships.upsert_many(ivy.process.pool, "c1", {zoe.person_id: "assistant"})
    hub = await ivy.person("hugo")
    await memberships.upsert_many(ivy.process.pool, "c1", {hub: "student"}, source=Source.HUB)
    await memberships.upsert_many(ivy.process.pool, "c1", {ivy.ids["ivy"]: "assistant"}, source=Source.HUB)
    gone = await ivy.person("gone")
    await memberships.upsert_many(ivy.process.pool, "c1", {gone: "student"})
    await memberships.remove(ivy.process.pool, "c1", gone)
    await ivy.course("c2", other="student")

    answer = await ivy.client.get(URL, headers=ivy.bearer("ivy"))
    assert [
        (member["username"], member["role"], member["sources"], member["site_admin"])
        for member in answer.json()["members"]
    ] == [
        ("ivy", "instructor", {"hub": "assistant", "roster": "instructor"}, False),
        ("zoe", "assistant", {"roster": "assistant"}, False),
        ("Ann", "student", {"roster": "student"}, False),
        ("ann", "student", {"roster": "student"}, False),
        ("hugo", "student", {"hub": "student"}, False),
    ]
    assert answer.json()["members"][1]["display_name"] == "Zoë Z."
