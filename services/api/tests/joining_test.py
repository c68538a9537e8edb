"""Hazards of joining by code: somebody gets in without it, takes over another person, or stays in after being removed."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any
from uuid import UUID

import pytest

from cell_monitor_core.storage.postgres import identities, joined_computers, memberships, people
from cell_monitor_core.storage.postgres.memberships import Source

WRONG = "0000-0000-0000"
FULL_WIDTH = "".join(chr(ord(letter) + 0xFEE0) for letter in "tanaka")


@pytest.fixture
async def opened(site: Any) -> Any:
    """A course of Ivy's with a student on the roster."""
    await site.course("c1", ivy="instructor", tanaka="student")
    return site


async def open_joining(site: Any, course_id: str = "c1", who: str = "ivy") -> str:
    answer = await site.client.post(f"/api/v1/courses/{course_id}/join-code", headers=site.bearer(who), json={})
    assert answer.status_code == 200, answer.text
    code: str = answer.json()["code"]
    return code


def new_secret() -> str:
    return secrets.token_urlsafe(32)


async def join(site: Any, code: str, name: str = "Tanaka", secret: str | None = None, **headers: str) -> Any:
    body = {"code": code, "name": name, "secret": secret or new_secret()}
    return await site.client.post("/api/v1/auth/join", json=body, headers=headers)


async def joined(site: Any, code: str, name: str = "Tanaka") -> str:
    """Join, and return the secret."""
    secret = new_secret()
    answer = await join(site, code, name, secret)
    assert answer.status_code == 201, answer.text
    return secret


async def trade(site: Any, secret: str, audience: str = "ingest", **wish: str) -> Any:
    return await site.client.post(
        "/api/v1/auth/token", headers={"authorization": f"Join {secret}"}, json={"audience": audience} | wish
    )


async def sender(site: Any, secret: str) -> dict[str, str]:
    answer = await trade(site, secret)
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def rows(site: Any, course_id: str = "c1") -> dict[str, dict[str, Any]]:
    """Return the course's rows by the name that is shown, as its instructor sees them; equal names are not allowed."""
    answer = await site.client.get(f"/api/v1/courses/{course_id}/state", headers=site.bearer("ivy"))
    students = answer.json()["students"]
    found = {row["display_name"] or row["username"]: row for row in students}
    assert len(found) == len(students)
    return found


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"][0]["type"]


async def until_refused(site: Any, headers: dict[str, str], event: dict[str, Any]) -> tuple[int, str]:
    """Wait until a sender is refused, long before their token would end by itself; return the error."""
    deadline = time.monotonic() + 60
    body = {"events": [event]}
    while (answer := await site.client.post("/api/v1/events", headers=headers, json=body)).status_code == 200:
        assert time.monotonic() < deadline, "the events are still accepted"
        await asyncio.sleep(0.05)
    return error_of(answer)


async def test_who_has_the_code_joins_and_sends_events_of_this_course_only(opened: Any, make_event: Any) -> None:
    code = await open_joining(opened)
    await opened.course("c2", ivy="instructor")
    answer = await join(opened, code, "  Tanaka  Hanako ", secret := new_secret())
    assert answer.status_code == 201
    assert answer.json() == {"course_id": "c1", "title": "Course c1", "name": "Tanaka Hanako", "name_kept": False}
    headers = await sender(opened, secret)
    event, foreign = make_event(), make_event(course="c2")
    answer = await opened.client.post("/api/v1/events", headers=headers, json={"events": [event, foreign]})
    assert [result["status"] for result in answer.json()["results"]] == ["accepted", "rejected"]
    assert await opened.queued_ids("c1") == [event["event_id"]]
    shown = (await rows(opened))["Tanaka Hanako"]
    assert (shown["joined"], shown["status"]) == (True, "waiting")
    assert (await rows(opened))["Tanaka Doe"]["joined"] is False


async def test_thirty_students_behind_one_address_join_at_once_and_each_is_somebody(opened: Any) -> None:
    code = await open_joining(opened)
    secrets_ = [new_secret() for _ in range(30)]
    answers = await asyncio.gather(
        *(join(opened, code, f"Student {number}", secret) for number, secret in enumerate(secrets_))
    )
    assert [answer.status_code for answer in answers] == [201] * 30
    tokens = await asyncio.gather(*(trade(opened, secret) for secret in secrets_))
    assert [answer.status_code for answer in tokens] == [200] * 30
    found = await rows(opened)
    assert sum(row["joined"] for row in found.values()) == 30
    state = await opened.client.get("/api/v1/courses/c1/join-code", headers=opened.bearer("ivy"))
    assert (state.json()["people"], state.json()["code"]) == (30, code)


async def test_the_code_may_be_typed_as_people_type_it(opened: Any) -> None:
    code = await open_joining(opened)
    full_width = "".join(chr(ord(character) + 0xFEE0) for character in code)
    typed = [code.lower(), code.replace("-", " "), f"  {code.replace('-', '')} ", full_width]
    typed += [code.replace("0", "o").replace("1", "l")]
    for number, text in enumerate(typed):
        assert (await join(opened, text, f"Student {number}")).status_code == 201, text


@pytest.mark.parametrize(
    "typed", [WRONG, "", "x", "K7F2-2M9Q", "' OR true --", "\x00", "K7F2-2M9Q-X4DT-K7F2", "a" * 10_000, "日本語"]
)
async def test_a_wrong_code_lets_nobody_in(opened: Any, typed: str) -> None:
    await open_joining(opened)
    answer = await join(opened, typed)
    assert answer.status_code in {403, 422}, answer.text
    assert list(await rows(opened)) == ["Tanaka Doe"]


async def test_a_code_that_differs_in_one_character_of_its_secret_part_is_wrong(opened: Any) -> None:
    code = await open_joining(opened)
    other = code[:-1] + ("2" if code[-1] != "2" else "3")
    assert error_of(await join(opened, other)) == (403, "invalid_join_code")


@pytest.mark.parametrize("how", ["closed", "renewed", "out of date", "course deleted"])
async def test_a_code_that_does_not_hold_any_more_lets_nobody_in(opened: Any, how: str) -> None:
    code = await open_joining(opened)
    ivy = opened.bearer("ivy")
    pool = opened.process.pool
    if how == "closed":
        assert (await opened.client.delete("/api/v1/courses/c1/join-code", headers=ivy)).status_code == 204
        state = await opened.client.get("/api/v1/courses/c1/join-code", headers=ivy)
        assert (state.json()["code"], state.json()["expires_at"]) == (None, None)
    elif how == "renewed":
        assert await open_joining(opened) != code
    elif how == "out of date":
        await pool.execute("UPDATE join_codes SET expires_at = now()")
        assert (await opened.client.get("/api/v1/courses/c1/join-code", headers=ivy)).json()["code"] is None
    else:
        await pool.execute("DELETE FROM courses WHERE course_id = 'c1'")
    assert error_of(await join(opened, code)) == (403, "invalid_join_code")


async def test_who_joined_before_goes_on_after_joining_is_closed_or_renewed(opened: Any, make_event: Any) -> None:
    secret = await joined(opened, await open_joining(opened))
    await open_joining(opened)
    await opened.client.delete("/api/v1/courses/c1/join-code", headers=opened.bearer("ivy"))
    headers = await sender(opened, secret)
    answer = await opened.client.post("/api/v1/events", headers=headers, json={"events": [make_event()]})
    assert answer.json()["results"][0]["status"] == "accepted"


async def test_a_name_never_reaches_somebody_who_has_it(opened: Any) -> None:
    """By a name typed, nobody becomes a local user, a user of a Hub, or somebody who joined before."""
    pool = opened.process.pool
    (of_hub,) = await people.upsert_many(
        pool, opened.keyring, opened.index, [people.NewPerson("tanaka", "tanaka")], issuer="jupyterhub"
    )
    code = await open_joining(opened)
    first = await joined(opened, code, "tanaka")
    others = [await joined(opened, code, name) for name in ("tanaka", "TANAKA", FULL_WIDTH, "ivy", "jupyterhub")]
    found = [await joined_computers.find(pool, secret) for secret in (first, *others)]
    ids = {computer.person_id for computer in found if computer is not None}
    assert len(ids) == 6
    assert not ids & {of_hub, *opened.ids.values()}
    for computer in found:
        assert computer is not None
        named = await identities.of_person(pool, opened.keyring, computer.person_id)
        assert named == [identities.Identity("join", computer.computer_id)]
    # Nor is a joined person reached by what names them on the pages.
    assert await people.find(pool, opened.keyring, opened.index, found[0].computer_id) is None
    body = {"members": [{"username": found[0].computer_id, "role": "student"}]}
    answer = await opened.client.put("/api/v1/courses/c1/members", headers=opened.bearer("ivy"), json=body)
    assert answer.json()["members"][0]["person_id"] != str(found[0].person_id)
    assert await memberships.role_of(pool, "c1", found[0].person_id) == "student"


async def test_two_students_of_one_name_have_two_rows_that_can_be_distinguished(opened: Any) -> None:
    code = await open_joining(opened)
    await joined(opened, code, "Sato")
    await joined(opened, code, "Sato")
    answer = await opened.client.get("/api/v1/courses/c1/state", headers=opened.bearer("ivy"))
    both = [row for row in answer.json()["students"] if row["display_name"] == "Sato"]
    assert len({row["student_id"] for row in both}) == len({row["username"] for row in both}) == 2


async def test_the_same_secret_once_more_is_the_same_student(opened: Any) -> None:
    code, secret = await open_joining(opened), new_secret()
    answers = await asyncio.gather(*(join(opened, code, "Sato", secret) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    found = await rows(opened)
    assert sorted(found) == ["Sato", "Tanaka Doe"]
    # Without the code it is of no use, and with the code of another course it is refused.
    await opened.course("c2", ivy="instructor")
    other = await open_joining(opened, "c2")
    assert error_of(await join(opened, other, "Sato", secret)) == (403, "invalid_join_code")


async def test_the_same_secret_with_another_name_answers_the_name_on_the_roster(opened: Any) -> None:
    code, secret = await open_joining(opened), new_secret()
    first = (await join(opened, code, "Sato", secret)).json()
    assert (first["name"], first["name_kept"]) == ("Sato", False)
    for typed, kept in (("Sato Hanako", True), ("Sato", False), (" Sato ", False)):
        again = await join(opened, code, typed, secret)
        assert again.status_code == 201
        assert (again.json()["name"], again.json()["name_kept"]) == ("Sato", kept)
        assert sorted(await rows(opened)) == ["Sato", "Tanaka Doe"]
    # Merged with another student, the computer is theirs.
    source = (await rows(opened))["Sato"]["student_id"]
    url = f"/api/v1/courses/c1/members/{source}/merge"
    into = {"into": str(opened.ids["tanaka"])}
    assert (await opened.client.post(url, headers=opened.bearer("ivy"), json=into)).status_code == 204
    again = (await join(opened, code, "Sato", secret)).json()
    assert (again["name"], again["name_kept"]) == ("Tanaka Doe", True)


async def test_the_next_token_of_a_computer_comes_with_what_the_staff_calls_the_student_and_the_course(
    opened: Any,
) -> None:
    code = await open_joining(opened)
    secret = await joined(opened, code, "Hanako")
    assert (await trade(opened, secret)).json()["joined"] == {"name": "Hanako", "title": "Course c1"}
    [username] = [row["username"] for name, row in (await rows(opened)).items() if name == "Hanako"]
    person_id = await opened.process.pool.fetchval("SELECT person_id FROM joined_computers")
    renamed = people.NewPerson(username, "Hanako Yamada")
    again = await people.upsert_many(
        opened.process.pool, opened.keyring, opened.index, [renamed], issuer=joined_computers.ISSUER
    )
    assert again == [person_id]
    await opened.process.pool.execute("UPDATE courses SET title = 'Algebra'")
    assert (await trade(opened, secret)).json()["joined"] == {"name": "Hanako Yamada", "title": "Algebra"}
    # Merged with a student of the roster, it is that student's.
    merged = await opened.client.post(
        f"/api/v1/courses/c1/members/{person_id}/merge",
        headers=opened.bearer("ivy"),
        json={"into": str(opened.ids["tanaka"])},
    )
    assert merged.status_code == 204
    assert (await trade(opened, secret)).json()["joined"]["name"] == "Tanaka Doe"


async def test_a_joined_computer_gets_tokens_for_sending_in_its_own_name_and_no_others(opened: Any) -> None:
    secret = await joined(opened, await open_joining(opened))
    for audience in ("api", "gateway"):
        assert error_of(await trade(opened, secret, audience)) == (403, "insufficient_scope")
    assert error_of(await trade(opened, secret, act_as="tanaka")) == (403, "insufficient_scope")
    headers = await sender(opened, secret)
    assert error_of(await opened.client.get("/api/v1/courses/c1/state", headers=headers)) == (401, "not_authenticated")


@pytest.mark.parametrize("secret", ["", "x", "a" * 43, "A" * 42, "é" * 43, "a" * 600])
async def test_a_secret_that_nobody_has_is_refused(opened: Any, secret: str) -> None:
    await joined(opened, await open_joining(opened))
    answer = await opened.client.post(
        "/api/v1/auth/token",
        headers=[(b"authorization", f"Join {secret}".encode())],
        json={"audience": "ingest"},
    )
    assert error_of(answer) == (401, "invalid_join_secret")


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "\u200b\u202e "},
        {"name": "a" * 61},
        {"name": None},
        {"secret": "short"},
        {"secret": "a" * 44},
        {"secret": "a" * 42 + "\n"},
        {"code": ["K7F2"]},
        {"admin": True},
    ],
)
async def test_a_body_that_is_not_as_documented_is_refused(opened: Any, change: dict[str, Any]) -> None:
    code = await open_joining(opened)
    body = {"code": code, "name": "Sato", "secret": new_secret()} | change
    answer = await opened.client.post("/api/v1/auth/join", json=body)
    assert answer.status_code == 422
    assert code not in answer.text
    assert list(await rows(opened)) == ["Tanaka Doe"]


async def test_a_removed_student_sends_no_more_and_needs_the_code_again(opened: Any, make_event: Any) -> None:
    code = await open_joining(opened)
    secret = await joined(opened, code, "Sato")
    headers = await sender(opened, secret)
    person_id = (await rows(opened))["Sato"]["student_id"]
    answer = await opened.client.delete(f"/api/v1/courses/c1/members/{person_id}", headers=opened.bearer("ivy"))
    assert answer.status_code == 204
    assert await until_refused(opened, headers, make_event()) == (401, "token_expired")
    assert error_of(await trade(opened, secret)) == (401, "invalid_join_secret")
    assert error_of(await join(opened, code, "Sato", secret)) == (403, "invalid_join_code")
    assert list(await rows(opened)) == ["Tanaka Doe"]


async def test_revoking_joining_ends_all_who_joined_this_course_and_nobody_else(opened: Any, make_event: Any) -> None:
    await opened.course("c2", ivy="instructor")
    code, other = await open_joining(opened), await open_joining(opened, "c2")
    here, there = [await sender(opened, await joined(opened, where, "Sato")) for where in (code, other)]
    answer = await opened.client.delete("/api/v1/courses/c1/joined", headers=opened.bearer("ivy"))
    assert answer.status_code == 204
    assert await until_refused(opened, here, make_event()) == (401, "token_expired")
    assert error_of(await join(opened, code)) == (403, "invalid_join_code")
    assert list(await rows(opened)) == ["Tanaka Doe"]
    answer = await opened.client.post("/api/v1/events", headers=there, json={"events": [make_event()]})
    assert answer.json()["results"][0]["status"] == "accepted"


async def test_a_new_computer_is_merged_with_the_student_whose_it_is(opened: Any, make_event: Any) -> None:
    code = await open_joining(opened)
    lost, new = await joined(opened, code, "Sato"), await joined(opened, code, "Sato 2")
    before = await sender(opened, new)
    found = await rows(opened)
    first, second = found["Sato"]["student_id"], found["Sato 2"]["student_id"]
    url = f"/api/v1/courses/c1/members/{second}/merge"
    answer = await opened.client.post(url, headers=opened.bearer("ivy"), json={"into": first})
    assert answer.status_code == 204, answer.text
    assert sorted(await rows(opened)) == ["Sato", "Tanaka Doe"]
    assert await until_refused(opened, before, make_event()) == (401, "token_expired")
    for secret in (lost, new):
        event = make_event()
        headers = await sender(opened, secret)
        answer = await opened.client.post("/api/v1/events", headers=headers, json={"events": [event]})
        assert answer.json()["results"][0]["status"] == "accepted"
        assert (await opened.queued("c1"))[-1].person_id == UUID(first).bytes
    # Removed, neither of the student's computers sends any more.
    await opened.client.delete(f"/api/v1/courses/c1/members/{first}", headers=opened.bearer("ivy"))
    for secret in (lost, new):
        assert error_of(await trade(opened, secret)) == (401, "invalid_join_secret")


async def test_a_computer_merged_with_somebody_of_the_roster_sends_in_this_course_only(
    opened: Any, make_event: Any
) -> None:
    await opened.course("c2", ivy="instructor", tanaka="student")
    secret = await joined(opened, await open_joining(opened), "Hanako")
    source = (await rows(opened))["Hanako"]["student_id"]
    url = f"/api/v1/courses/c1/members/{source}/merge"
    into = {"into": str(opened.ids["tanaka"])}
    assert (await opened.client.post(url, headers=opened.bearer("ivy"), json=into)).status_code == 204
    events = [make_event(course="c1"), make_event(course="c2")]
    headers = await sender(opened, secret)
    answer = await opened.client.post("/api/v1/events", headers=headers, json={"events": events})
    assert [result["status"] for result in answer.json()["results"]] == ["accepted", "rejected"]


async def test_nobody_is_merged_who_did_not_join_or_with_staff_or_with_another_course(opened: Any) -> None:
    await opened.course("c2", eve="instructor", suzuki="student")
    await joined(opened, await open_joining(opened), "Hanako")
    source = (await rows(opened))["Hanako"]["student_id"]
    ids = {name: str(person_id) for name, person_id in opened.ids.items()}
    for person, into, status in [
        (source, ids["ivy"], 404),
        (source, ids["suzuki"], 404),
        (source, str(UUID(int=0)), 404),
        (source, source, 422),
        (ids["tanaka"], source, 404),
        (ids["ivy"], source, 404),
        (ids["suzuki"], source, 404),
    ]:
        url = f"/api/v1/courses/c1/members/{person}/merge"
        answer = await opened.client.post(url, headers=opened.bearer("ivy"), json={"into": into})
        assert answer.status_code == status, answer.text
    url = f"/api/v1/courses/c1/members/{source}/merge"
    answer = await opened.client.post(url, headers=opened.bearer("eve"), json={"into": ids["tanaka"]})
    assert answer.status_code == 404
    assert sorted(await rows(opened)) == ["Hanako", "Tanaka Doe"]


async def test_guesses_at_one_course_end_whatever_address_they_come_from(make_site: Any) -> None:
    async with make_site(api_join_per_code=3, api_forwarded_allow_ips="192.0.2.7") as site:
        await site.course("c1", ivy="instructor")
        code = await open_joining(site)
        guess = code[:5] + ("0000-0000" if code[5:] != "0000-0000" else "1111-1111")
        answers = [await join(site, guess, **{"x-forwarded-for": f"198.51.100.{number}"}) for number in range(5)]
        assert [answer.status_code for answer in answers] == [403, 403, 403, 429, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await join(site, code)).status_code == 429
        # The instructor need not wait: a new code begins otherwise.
        assert (await join(site, await open_joining(site))).status_code == 201


async def test_guesses_from_one_address_end_also_when_they_are_made_at_once(make_site: Any) -> None:
    async with make_site(api_join_per_address=5) as site:
        await site.course("c1", ivy="instructor")
        code = await open_joining(site)
        answers = await asyncio.gather(*(join(site, WRONG) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [403] * 5 + [429] * 15
        # The class behind that address still joins.
        assert (await join(site, code)).status_code == 201
        guess = code[:5] + ("0000-0000" if code[5:] != "0000-0000" else "1111-1111")
        answers = await asyncio.gather(*(join(site, guess) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [403] * 5 + [429] * 15
        assert error_of(await join(site, code)) == (429, "rate_limited")
        # Once the instructor has made a new one, as the page and the guide say.
        assert (await join(site, await open_joining(site))).status_code == 201
        assert (await join(site, "not a code")).status_code == 429


async def test_guesses_at_one_course_do_not_end_joining_another_from_the_same_address(make_site: Any) -> None:
    async with make_site(api_join_per_address=3) as site:
        await site.course("c1", ivy="instructor")
        await site.course("c2", ivy="instructor")
        code, other = await open_joining(site), await open_joining(site, "c2")
        guess = code[:5] + ("0000-0000" if code[5:] != "0000-0000" else "1111-1111")
        assert [(await join(site, guess)).status_code for _ in range(4)] == [403, 403, 403, 429]
        assert (await join(site, other)).status_code == 201


async def test_right_codes_do_not_count_as_guesses(make_site: Any) -> None:
    async with make_site(api_join_per_address=3, api_join_per_code=3) as site:
        await site.course("c1", ivy="instructor")
        code = await open_joining(site)
        assert [(await join(site, code, f"Student {n}")).status_code for n in range(10)] == [201] * 10


async def test_no_more_join_by_one_code_than_may(make_site: Any) -> None:
    async with make_site(api_join_people=3) as site:
        await site.course("c1", ivy="instructor")
        code = await open_joining(site)
        answers = await asyncio.gather(*(join(site, code, f"Student {n}") for n in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 3
        refused = next(answer for answer in answers if answer.status_code == 409)
        assert error_of(refused) == (409, "course_full")
        assert (await join(site, await open_joining(site), "Student 7")).status_code == 201


async def test_a_code_lives_a_day_at_most(opened: Any) -> None:
    url, ivy = "/api/v1/courses/c1/join-code", opened.bearer("ivy")
    for minutes, status in [(0, 422), (-1, 422), (1441, 422), (1440, 200), (1, 200)]:
        answer = await opened.client.post(url, headers=ivy, json={"minutes": minutes})
        assert answer.status_code == status


async def test_joining_counts_where_another_source_rules(opened: Any) -> None:
    """A ruling source decides about those of whom it has spoken; of somebody who joined it never spoke."""
    await opened.process.pool.execute("UPDATE courses SET ruling_source = 'hub' WHERE course_id = 'c1'")
    await joined(opened, await open_joining(opened), "Hanako")
    assert "Hanako" in await rows(opened)
    said = await memberships.said_of(opened.process.pool, "c1", [UUID((await rows(opened))["Hanako"]["student_id"])])
    assert [(one.source, one.role) for each in said.values() for one in each] == [(Source.JOIN, "student")]


async def test_who_opens_closes_and_merges_is_in_the_audit_log(opened: Any) -> None:
    ivy = opened.bearer("ivy")
    url = "/api/v1/courses/c1"
    code = (await opened.client.post(f"{url}/join-code", headers=ivy, json={"minutes": 45})).json()["code"]
    await joined(opened, code, "Hanako")
    source = (await rows(opened))["Hanako"]["student_id"]
    into = str(opened.ids["tanaka"])
    await opened.client.post(f"{url}/members/{source}/merge", headers=ivy, json={"into": into})
    await opened.client.delete(f"{url}/join-code", headers=ivy)
    # Closed already, and nobody is left: no act.
    await opened.client.delete(f"{url}/joined", headers=ivy)
    found = await opened.process.pool.fetch(
        "SELECT action, actor_id, subject_id, course_id, details FROM audit_entries "
        "WHERE action LIKE 'join%' ORDER BY acted_at"
    )
    person = opened.ids["ivy"]
    assert [tuple(row) for row in found] == [
        ("joining_opened", person, None, "c1", {"minutes": 45}),
        ("joined_merged", person, UUID(into), "c1", {}),
        ("joining_closed", person, None, "c1", {}),
    ]
