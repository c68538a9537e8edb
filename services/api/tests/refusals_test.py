"""Hazards: students of a course are not recorded and its staff cannot know; a sender grows what is kept or learns of courses."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from cell_monitor_api.storage import refused_senders
from cell_monitor_api.storage.refused_senders import RefusedSender, RefusedSenders
from cell_monitor_core import keys
from cell_monitor_core.channels import course_channel, partition_of
from cell_monitor_core.storage.ports import RedisUnavailable
from cell_monitor_core.storage.postgres import memberships


@pytest.fixture(autouse=True)
def written_by_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cell_monitor_api.context.REFUSALS_INTERVAL_S", 3600.0)


@pytest.fixture
async def courses(site: Any) -> None:
    await site.course("c1", ira="instructor", ann="student", tim="student", bea="student")
    await site.course("c2", ivo="instructor", tim="student", bea="student")
    await site.person("eve")


async def refusals(site: Any, course: str, staff: str = "ira") -> dict[str, int]:
    """What the staff of a course is answered, once all that was noted is written: within two seconds."""
    await site.process.refusals.step()
    answer = await site.client.get(f"/api/v1/courses/{course}/refusals", headers=site.bearer(staff))
    assert answer.status_code == 200, answer.text
    assert answer.json()["window_s"] == 150
    return {each["reason"]: each["people"] for each in answer.json()["refusals"]}


def key(site: Any, course: str) -> str:
    channel = course_channel(course)
    return keys.refused_senders(partition_of(channel, site.settings.partitions), channel)


async def test_staff_see_how_many_people_are_not_on_the_roster(site: Any, courses: None, make_event: Any) -> None:
    for _ in range(3):
        answer = await site.send("eve", make_event(course="c1"))
        assert answer.status_code == 403
        await site.send("ann", make_event(course="c1"))
    assert await refusals(site, "c1") == {"course_forbidden": 1}
    assert await refusals(site, "c2", "ivo") == {}


async def test_staff_of_each_course_see_students_whose_course_is_not_known(
    site: Any, courses: None, make_event: Any
) -> None:
    await site.send("tim", make_event())
    await site.send("bea", make_event())
    assert await refusals(site, "c1") == {"course_required": 2}
    assert await refusals(site, "c2", "ivo") == {"course_required": 2}


async def test_a_student_whose_only_course_it_is_counts_with_events_that_cannot_be_read(
    site: Any, courses: None, make_event: Any
) -> None:
    await site.send("ann", make_event(seq="first"))
    await site.send("tim", make_event(seq="first"))
    assert await refusals(site, "c1") == {"invalid_event": 1}


async def test_a_sender_over_the_limit_is_among_them(site: Any, courses: None, make_event: Any) -> None:
    site.process.ingest.buckets._capacity = 1.0
    events = [make_event() for _ in range(3)]
    assert (await site.send("ann", *events)).status_code == 429
    assert await refusals(site, "c1") == {"rate_limited": 1}


async def test_the_answer_is_the_same_for_a_course_that_does_not_exist(
    site: Any, courses: None, make_event: Any
) -> None:
    foreign = await site.send("eve", make_event(course="c1"))
    absent = await site.send("eve", make_event(course="c9"))
    assert (foreign.status_code, foreign.json()) == (absent.status_code, absent.json())
    await refusals(site, "c1")
    assert not await site.process.redis.exists(key(site, "c9"))


async def test_a_hostile_sender_is_one_person_in_one_course_at_a_time(
    site: Any, courses: None, make_event: Any
) -> None:
    for number in range(50):
        await site.send("eve", make_event(course=f"x{number}"), make_event(course="c1"))
        await site.send("eve", make_event(course="c1"))
    assert await refusals(site, "c1") == {"course_forbidden": 1}
    found = [each async for each in site.process.redis.scan_iter(match="*:refused")]
    assert found == [key(site, "c1").encode()]


async def taken_off(site: Any, course: str, username: str) -> None:
    """Take somebody off the roster; their next token names the course no more."""
    await memberships.remove(site.process.pool, course, site.ids[username])
    del site.roles[username][course]


async def test_staff_see_students_who_were_taken_off_the_roster_and_name_no_course(
    site: Any, courses: None, make_event: Any
) -> None:
    # Never in a course: nobody's.
    await site.send("eve", make_event())
    await taken_off(site, "c1", "ann")
    await site.send("ann", make_event())
    # Still in another course, which is theirs.
    await taken_off(site, "c1", "tim")
    assert (await site.send("tim", make_event())).status_code == 200
    assert await refusals(site, "c1") == {"no_course": 1}
    assert await refusals(site, "c2", "ivo") == {}
    # It ends with the roster's correction.
    await memberships.upsert_many(site.process.pool, "c1", {site.ids["ann"]: "student"})
    assert await refusals(site, "c1") == {}


async def test_staff_see_their_students_whose_notebooks_misspell_the_course(
    site: Any, courses: None, make_event: Any
) -> None:
    await site.send("ann", make_event(course="c11"))
    assert await refusals(site, "c1") == {"course_unknown": 1}
    assert await refusals(site, "c2", "ivo") == {}
    await taken_off(site, "c1", "ann")
    await site.send("ann", make_event(course="c11"))
    assert await refusals(site, "c1") == {"no_course": 1}


async def test_staff_do_not_see_those_who_left_their_course_long_ago(site: Any, courses: None, make_event: Any) -> None:
    for course in ("c1", "c2"):
        await taken_off(site, course, "bea")
    await site.process.pool.execute(
        "UPDATE memberships SET changed_at = now() - interval '31 days' WHERE course_id = 'c2'"
    )
    await site.send("bea", make_event())
    assert await refusals(site, "c1") == {"no_course": 1}
    assert await refusals(site, "c2", "ivo") == {}


async def test_redis_unavailable_is_an_error_and_not_an_empty_list(
    site: Any, courses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise RedisUnavailable("Redis: ConnectionError")

    monkeypatch.setattr(RefusedSenders, "read", failing)
    answer = await site.client.get("/api/v1/courses/c1/refusals", headers=site.bearer("ira"))
    assert answer.status_code == 503
    assert answer.json()["detail"][0]["type"] == "broker_unavailable"


async def test_what_is_kept_of_a_course_is_bounded_and_ends(
    site: Any, courses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_senders, "MAX_SENDERS", 10)
    senders = RefusedSenders(site.process.redis, partitions=site.settings.partitions)
    for number in range(40):
        sender = RefusedSender("no_course", f"{number:016x}", 1000.0 + number)
        await senders.add("c1", [sender], 1000.0 + number)
    assert await site.process.redis.zcard(key(site, "c1")) == 10
    found = await senders.read("c1", 1040.0)
    assert [(each.reason, each.at) for each in found] == [("no_course", float(at)) for at in range(1030, 1040)]
    assert await senders.read("c1", 1040.0 + refused_senders.WINDOW_S) == []
    assert 0 < await site.process.redis.ttl(key(site, "c1")) <= refused_senders.WINDOW_S


async def test_no_person_can_be_read_from_what_is_kept(site: Any, courses: None, make_event: Any) -> None:
    await site.send("eve", make_event(course="c1"))
    await refusals(site, "c1")
    [member] = await site.process.redis.zrange(key(site, "c1"), 0, -1)
    assert site.ids["eve"].hex.encode() not in member
    # Nor by trying all people, as long as nobody has the installation's key.
    assert hashlib.blake2b(site.ids["eve"].bytes, digest_size=8, key=b"c1").hexdigest().encode() not in member
    assert str(site.ids["eve"]).encode() not in member


async def test_a_notice_ends_when_the_sender_is_accepted_again(site: Any, courses: None, make_event: Any) -> None:
    await site.send("tim", make_event())
    await site.send("bea", make_event())
    assert await refusals(site, "c1") == {"course_required": 2}
    # The notebook names the course now.
    await site.send("tim", make_event(course="c1"))
    assert await refusals(site, "c1") == await refusals(site, "c2", "ivo") == {"course_required": 1}
    await site.send("tim", make_event())
    assert await refusals(site, "c1") == {"course_required": 2}


async def test_a_notice_of_another_process_ends_too_and_one_refused_after_it_was_accepted_stays(
    site: Any, courses: None, make_event: Any, make_site: Any
) -> None:
    async with make_site() as other:
        await site.send("tim", make_event())
        # Accepted by the other one before this one has written its refusal.
        other_answer = await other.client.post(
            "/api/v1/events", headers=site.sender("tim"), json={"events": [make_event(course="c1")]}
        )
        assert other_answer.status_code == 200
        await other.process.refusals.step()
        assert await refusals(site, "c1") == {"course_required": 1}
        await other.process.refusals.step()
        assert await refusals(site, "c1") == {}
        await site.send("tim", make_event(course="c1"))
        await site.send("tim", make_event())
        assert await refusals(site, "c1") == {"course_required": 1}


async def test_a_request_of_which_a_part_is_refused_ends_no_notice(site: Any, courses: None, make_event: Any) -> None:
    await site.send("tim", make_event())
    await site.send("tim", make_event(course="c1"), make_event())
    assert await refusals(site, "c1") == {"course_required": 1}


async def test_an_event_that_cannot_be_read_is_reported_although_others_are_accepted(
    site: Any, courses: None, make_event: Any
) -> None:
    await site.send("ann", make_event(seq="first"))
    await site.send("ann", make_event("heartbeat"))
    assert await refusals(site, "c1") == {"invalid_event": 1}


async def test_a_notice_ends_when_the_roster_is_corrected(site: Any, courses: None, make_event: Any) -> None:
    await site.send("eve", make_event(course="c1"))
    await site.send("tim", make_event())
    assert await refusals(site, "c1") == {"course_forbidden": 1, "course_required": 1}
    # Nothing is sent meanwhile.
    await memberships.upsert_many(site.process.pool, "c1", {site.ids["eve"]: "student"})
    assert await refusals(site, "c1") == {"course_required": 1}
    await memberships.remove(site.process.pool, "c2", site.ids["tim"])
    assert await refusals(site, "c1") == await refusals(site, "c2", "ivo") == {}


async def test_nobody_outside_of_the_course_counts_as_its_student(site: Any, courses: None, make_event: Any) -> None:
    await site.send("bea", make_event())
    assert await refusals(site, "c1") == {"course_required": 1}
    await memberships.remove(site.process.pool, "c1", site.ids["bea"])
    assert await refusals(site, "c1") == {}
