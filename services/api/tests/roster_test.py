"""Courses and members: what an instructor decides, and what only an admin does."""

from __future__ import annotations

import pytest

PASSWORD = "correct horse battery"
URL = "/api/v1/courses/c1/members"


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


async def can_sign_in(site, username, password):
    answer = await site.client.post("/api/v1/auth/login", json={"username": username, "password": password})
    return answer.status_code == 200


async def put(site, caller, *members, **options):
    return await site.client.put(URL, headers=site.bearer(caller, **options), json={"members": list(members)})


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor")
    return site


async def test_members_are_added_and_brought_up_to_date(ivy):
    first = await put(
        ivy,
        "ivy",
        {"username": "Ann", "display_name": "Ann A.", "role": "student", "password": PASSWORD},
        {"username": "tim", "role": "student"},
    )
    assert first.status_code == 200
    members = first.json()["members"]
    assert [(member["username"], member["role"]) for member in members] == [("Ann", "student"), ("tim", "student")]
    again = await put(ivy, "ivy", {"username": "ann", "display_name": "Ann Ä.", "role": "assistant"})
    assert again.json()["members"] == [{"person_id": members[0]["person_id"], "username": "ann", "role": "assistant"}]
    state = (await ivy.client.get("/api/v1/courses/c1/state", headers=ivy.bearer("ivy"))).json()
    assert [student["username"] for student in state["students"]] == ["tim"]
    assert {(member["display_name"], member["role"]) for member in state["staff"]} == {
        ("Ivy Doe", "instructor"),
        ("Ann Ä.", "assistant"),
    }
    assert await can_sign_in(ivy, "ann", PASSWORD)
    assert not await can_sign_in(ivy, "tim", PASSWORD)


async def test_names_are_not_readable_in_the_database(ivy):
    await put(ivy, "ivy", {"username": "annabelle", "display_name": "Annabelle Q.", "role": "student"})
    rows = await ivy.process.pool.fetch("SELECT * FROM people")
    assert all(b"nnabelle" not in value for row in rows for value in row.values() if isinstance(value, bytes))


async def test_an_instructor_cannot_take_over_somebody_who_belongs_elsewhere(ivy):
    await ivy.course("c2", zoe="instructor")
    await ivy.person("zoe", password=PASSWORD)
    await ivy.person("boss", admin=True, password=PASSWORD)
    for username in ("zoe", "boss"):
        taken = {"username": username, "role": "student", "password": "another password", "display_name": "Mine"}
        answer = await put(ivy, "ivy", {"username": "ann", "role": "student"}, taken)
        assert fault(answer) == (403, "permission_denied")
        assert answer.json()["detail"][0]["loc"] == ["body", "members", 1, "password"]
        assert await can_sign_in(ivy, username, PASSWORD)
        del taken["password"]
        assert (await put(ivy, "ivy", taken)).status_code == 200
        [student] = [
            student
            for student in (await ivy.client.get("/api/v1/courses/c1/students", headers=ivy.bearer("ivy"))).json()[
                "students"
            ]
            if student["username"] == username
        ]
        assert student["display_name"] == f"{username.title()} Doe"
    # All or none: the neighbour of the refused one was not added.
    assert await ivy.process.pool.fetchval("SELECT count(*) FROM people") == 3
    answer = await put(ivy, "boss", {"username": "zoe", "role": "student", "password": "another password"}, admin=True)
    assert answer.status_code == 200
    assert await can_sign_in(ivy, "zoe", "another password")


async def test_a_new_password_ends_old_sign_ins(ivy):
    await put(ivy, "ivy", {"username": "ann", "role": "student", "password": PASSWORD})
    assert await can_sign_in(ivy, "ann", PASSWORD)
    assert (await ivy.client.post("/api/v1/auth/refresh")).status_code == 200
    await put(ivy, "ivy", {"username": "ann", "role": "student", "password": "another password"})
    assert (await ivy.client.post("/api/v1/auth/refresh")).status_code == 401


@pytest.mark.parametrize(
    "members",
    [
        [{"username": "ann", "role": "owner"}],
        [{"username": "ann"}],
        [{"username": " ann", "role": "student"}],
        [{"username": "a\nb", "role": "student"}],
        [{"username": "ann", "role": "student"}, {"username": "ANN", "role": "student"}],
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
        {"course_id": "c1", "title": "Course c1", "role": "instructor", "students": 0, "help_open": 0, "active": 0}
    ]


async def test_a_body_without_end_is_cut_off(ivy):
    async def endless():
        while True:
            yield b" " * 65_536

    answer = await ivy.client.put(
        URL, headers={**ivy.bearer("ivy"), "content-type": "application/json"}, content=endless()
    )
    assert fault(answer) == (413, "body_too_large")
