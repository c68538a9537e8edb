"""Hazards: one source of memberships overwrites another; a removal at the ruling source is undone by an older roster."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from cell_monitor_core.storage.postgres import course_links, courses, memberships, people, student_queries
from cell_monitor_core.storage.postgres.course_counters import read_counters, refresh_courses
from cell_monitor_core.storage.postgres.course_links import CourseLink
from cell_monitor_core.storage.postgres.memberships import Member, Source, SourceRole
from cell_monitor_core.storage.postgres.people import NewPerson

HUB = "https://hub.example.org"
SILENT = "silent"
REMOVED = None
SAYINGS = (SILENT, REMOVED, "student", "observer", "assistant", "instructor")
"""What one source may have said of a person; roles from the lowest to the highest."""
SPEAKERS = (Source.ROSTER, Source.HUB, Source.LTI)
RULERS = (None, *SPEAKERS)
"""Joining by code never rules: it gives the role of a student to those of whom no other source may have spoken."""


def expected_role(said: dict[Source, str | None], ruler: Source | None) -> str | None:
    """Return the effective role as docs/adr/0015 defines it."""
    if ruler is not None and said[ruler] != SILENT:
        return said[ruler]
    given = [role for role in said.values() if role not in {SILENT, REMOVED}]
    return max(given, key=SAYINGS.index, default=None)


@pytest.fixture
async def people_ids(pool, keyring, index) -> list[UUID]:
    names = [NewPerson(f"user{number}") for number in range(len(SAYINGS) ** len(SPEAKERS))]
    return await people.upsert_many(pool, keyring, index, names)


async def test_the_effective_role_is_as_defined_for_everything_that_three_sources_may_say(pool, people_ids) -> None:
    combinations = list(itertools.product(SAYINGS, repeat=len(SPEAKERS)))
    assert len(combinations) == len(people_ids) == 216
    for number, ruler in enumerate(RULERS):
        course_id = f"c{number}"
        await courses.create(pool, course_id, course_id)
        await courses.set_ruling_source(pool, course_id, ruler)
        for place, source in enumerate(SPEAKERS):
            spoken = {
                person_id: said[place]
                for person_id, said in zip(people_ids, combinations, strict=True)
                if said[place] != SILENT
            }
            # A source that removes somebody gave them a role before.
            await memberships.upsert_many(
                pool, course_id, {person_id: role or "instructor" for person_id, role in spoken.items()}, source=source
            )
            for person_id, role in spoken.items():
                if role is REMOVED:
                    assert await memberships.remove(pool, course_id, person_id, source=source)
        expected = {
            person_id: expected_role(dict(zip(SPEAKERS, said, strict=True)), ruler)
            for person_id, said in zip(people_ids, combinations, strict=True)
        }
        members = {person_id: role for person_id, role in expected.items() if role is not None}
        assert await memberships.roster(pool, course_id) == [Member(*item) for item in sorted(members.items())]
        for person_id in people_ids[::7]:
            assert await memberships.role_of(pool, course_id, person_id) == expected[person_id]
            assert (await memberships.roles_of(pool, person_id)).get(course_id) == expected[person_id]
        # Everything that counts students counts by the same rule.
        students = sum(role == "student" for role in members.values())
        async with pool.acquire() as connection:
            [counters] = await refresh_courses(connection, [course_id])
        assert counters.students == students
        assert [one.students for one in await read_counters(pool, [course_id])] == [students]
        assert len(await student_queries.course_students(pool, None, course_id)) == students
        [summary] = [
            one
            for one in await courses.list_all(pool, people_ids[0], now=datetime.now(UTC))
            if one.course_id == course_id
        ]
        assert (summary.students, summary.role) == (students, expected[people_ids[0]])


@pytest.fixture
async def ann(pool, keyring, index) -> UUID:
    for course_id in ("c1", "c2", "c3"):
        await courses.create(pool, course_id, course_id)
    return await people.upsert(pool, keyring, index, username="ann")


async def test_sources_do_not_overwrite_each_other(pool, ann) -> None:
    await memberships.upsert_many(pool, "c1", {ann: "student"})
    await memberships.upsert_many(pool, "c1", {ann: "assistant"}, source=Source.HUB)
    assert await memberships.role_of(pool, "c1", ann) == "assistant"
    assert await memberships.remove(pool, "c1", ann, source=Source.HUB)
    assert await memberships.role_of(pool, "c1", ann) == "student"
    assert not await memberships.remove(pool, "c1", ann, source=Source.HUB)
    assert not await memberships.remove(pool, "c1", ann, source=Source.LTI)
    assert await memberships.said_of(pool, "c1", [ann]) == {
        ann: [SourceRole(Source.HUB, None), SourceRole(Source.ROSTER, "student")]
    }
    await memberships.upsert_many(pool, "c1", {ann: "observer"}, source=Source.HUB)
    assert await memberships.remove(pool, "c1", ann)
    assert await memberships.roles_of(pool, ann) == {"c1": "observer"}


async def test_a_removal_at_the_ruling_source_wins_until_that_source_gives_a_role_again(pool, ann) -> None:
    await courses.set_ruling_source(pool, "c1", Source.HUB)
    # Of a guest the Hub has never spoken: the roster counts.
    await memberships.upsert_many(pool, "c1", {ann: "instructor"})
    assert await memberships.role_of(pool, "c1", ann) == "instructor"
    await memberships.upsert_many(pool, "c1", {ann: "student"}, source=Source.HUB)
    assert await memberships.role_of(pool, "c1", ann) == "student"
    await memberships.remove(pool, "c1", ann, source=Source.HUB)
    await memberships.upsert_many(pool, "c1", {ann: "assistant"})
    assert await memberships.role_of(pool, "c1", ann) is None
    assert await memberships.roster(pool, "c1") == []
    await memberships.upsert_many(pool, "c1", {ann: "observer"}, source=Source.HUB)
    assert await memberships.role_of(pool, "c1", ann) == "observer"


async def test_what_a_source_says_of_a_person_is_taken_over_whole(pool, ann) -> None:
    await memberships.upsert_many(pool, "c2", {ann: "observer"})
    assert await memberships.set_all(pool, ann, {"c1": "student", "c2": "instructor"}, source=Source.HUB) == [
        "c1",
        "c2",
    ]
    assert await memberships.set_all(pool, ann, {"c1": "student", "c2": "instructor"}, source=Source.HUB) == []
    assert await memberships.roles_of(pool, ann) == {"c1": "student", "c2": "instructor"}
    assert await memberships.set_all(pool, ann, {"c3": "assistant"}, source=Source.HUB) == ["c1", "c2", "c3"]
    assert await memberships.roles_of(pool, ann) == {"c2": "observer", "c3": "assistant"}
    assert await memberships.set_all(pool, ann, {}, source=Source.HUB) == ["c3"]
    assert await memberships.roles_of(pool, ann) == {"c2": "observer"}
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await memberships.set_all(pool, ann, {"c1": "student", "c9": "student"}, source=Source.HUB)
    assert await memberships.roles_of(pool, ann) == {"c2": "observer"}


async def test_unknown_sources_are_refused(pool, ann) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await courses.set_ruling_source(pool, "c1", "rumour")
    with pytest.raises(asyncpg.CheckViolationError):
        await memberships.upsert_many(pool, "c1", {ann: "student"}, source="rumour")
    assert not await courses.set_ruling_source(pool, "c9", Source.HUB)
    course = await courses.get(pool, "c1")
    assert course is not None
    assert course.ruling_source is None


async def test_groups_give_the_highest_role_of_their_links_and_unknown_groups_nothing(pool, ann) -> None:
    links = [
        CourseLink(HUB, "physics-staff", "assistant", "c1"),
        CourseLink(HUB, "physics-staff", "observer", "c2"),
        CourseLink(HUB, "everybody", "student", "c1"),
        CourseLink("https://lms.example.org", "everybody", "instructor", "c1"),
    ]
    for link in links:
        assert await course_links.add(pool, link)
        assert not await course_links.add(pool, link)
    assert await course_links.roles_of_groups(pool, HUB, ["everybody", "physics-staff"]) == {
        "c1": "assistant",
        "c2": "observer",
    }
    assert await course_links.roles_of_groups(pool, HUB, ["everybody"]) == {"c1": "student"}
    assert await course_links.roles_of_groups(pool, HUB, ["Everybody", "everybody ", "admin", ""]) == {}
    assert await course_links.roles_of_groups(pool, HUB, []) == {}
    assert await course_links.list_of_course(pool, "c2") == [links[1]]
    assert await course_links.remove(pool, links[0])
    assert not await course_links.remove(pool, links[0])
    assert await course_links.roles_of_groups(pool, HUB, ["physics-staff"]) == {"c2": "observer"}
    for link in (CourseLink(HUB, "", "student", "c1"), CourseLink(HUB, "g", "owner", "c1")):
        with pytest.raises(asyncpg.CheckViolationError):
            await course_links.add(pool, link)
