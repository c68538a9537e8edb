"""People, courses and memberships: personal data stays ciphertext, and concurrent rosters do not deadlock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.storage.postgres import courses, memberships, people
from cell_monitor_core.storage.postgres.courses import Course, CourseSummary
from cell_monitor_core.storage.postgres.memberships import Member
from cell_monitor_core.storage.postgres.people import NewPerson, PersonName
from cell_monitor_core.timestamps import to_text


async def test_names_and_addresses_are_never_stored_unencrypted(pool, keyring, index):
    await people.upsert(pool, keyring, index, username="Tanaka", display_name="田中 太郎", email="tanaka@example.org")
    row = await pool.fetchrow("SELECT * FROM people")
    stored = b"".join(value for value in row.values() if isinstance(value, bytes)).lower()
    for secret in ("tanaka", "田中", "太郎", "example.org"):
        assert secret.encode() not in stored


async def test_a_person_is_found_by_exactly_their_name_and_brought_up_to_date(pool, keyring, index):
    person_id = await people.upsert(pool, keyring, index, username="Tanaka", display_name="Taro", email="t@example.org")
    assert await people.upsert(pool, keyring, index, username="Tanaka", display_name="Taro T.") == person_id
    found = await people.find(pool, keyring, index, "Tanaka")
    assert found == await people.get(pool, keyring, person_id)
    assert found is not None
    assert (found.username, found.display_name, found.email) == ("Tanaka", "Taro T.", "t@example.org")
    assert found.is_admin is False
    assert await people.set_admin(pool, person_id, is_admin=True)
    assert (await people.get(pool, keyring, person_id)).is_admin is True


async def test_nobody_is_nobody(pool, keyring, index):
    assert await people.find(pool, keyring, index, "x") is None
    assert await people.get(pool, keyring, uuid4()) is None
    assert not await people.set_admin(pool, uuid4(), is_admin=True)
    assert await people.names_of(pool, keyring, []) == {}


async def test_a_roster_with_the_same_name_twice_is_one_person_and_ids_keep_the_order(pool, keyring, index):
    known = await people.upsert(pool, keyring, index, username="b", display_name="Old")
    ids = await people.upsert_many(
        pool, keyring, index, [NewPerson("c"), NewPerson("b", "New"), NewPerson("a"), NewPerson("c", "See")]
    )
    assert ids[1] == known
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3
    assert await people.names_of(pool, keyring, [*ids, uuid4()]) == {
        ids[0]: PersonName("c", "See"),
        ids[1]: PersonName("b", "New"),
        ids[2]: PersonName("a", None),
    }


async def test_rosters_written_at_the_same_time_in_opposite_orders_do_not_deadlock(pool, keyring, index):
    await courses.create(pool, "c1", "Course")
    names = [NewPerson(f"user{number}", f"User {number}") for number in range(200)]

    async def write(roster: list[NewPerson], role: str) -> list[object]:
        async with pool.acquire() as connection, connection.transaction():
            ids = await people.upsert_many(connection, keyring, index, roster)
            await memberships.upsert_many(connection, "c1", dict.fromkeys(ids, role))
            return ids

    results = await asyncio.gather(
        *(write(names if turn % 2 else names[::-1], "student" if turn % 3 else "assistant") for turn in range(8))
    )
    assert {frozenset(ids) for ids in results} == {frozenset(results[0])}
    assert len(await memberships.roster(pool, "c1")) == 200


async def test_a_member_has_one_role_per_course_and_only_changes_count(pool, keyring, index):
    for course in ("c1", "c2"):
        assert await courses.create(pool, course, course.upper())
    ann, bob = await people.upsert_many(pool, keyring, index, [NewPerson("ann"), NewPerson("bob")])
    assert await memberships.upsert_many(pool, "c1", {ann: "instructor", bob: "student"}) == 2
    assert await memberships.upsert_many(pool, "c1", {ann: "instructor", bob: "assistant"}) == 1
    await memberships.upsert_many(pool, "c2", {bob: "student"})
    assert await memberships.roles_of(pool, bob) == {"c1": "assistant", "c2": "student"}
    assert await memberships.role_of(pool, "c2", ann) is None
    assert set(await memberships.roster(pool, "c1")) == {Member(ann, "instructor"), Member(bob, "assistant")}
    assert await memberships.remove(pool, "c1", bob)
    assert not await memberships.remove(pool, "c1", bob)
    assert await memberships.role_of(pool, "c1", bob) is None


async def test_unknown_roles_people_and_courses_are_refused_whole(pool, keyring, index):
    await courses.create(pool, "c1", "C")
    ann = await people.upsert(pool, keyring, index, username="ann")
    with pytest.raises(asyncpg.CheckViolationError):
        await memberships.upsert_many(pool, "c1", {ann: "owner"})
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await memberships.upsert_many(pool, "c1", {ann: "student", uuid4(): "student"})
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await memberships.upsert_many(pool, "c9", {ann: "student"})
    assert await memberships.roster(pool, "c1") == []


async def test_a_course_is_made_once_and_thresholds_have_defaults(pool):
    assert await courses.create(pool, "c1", "First")
    assert not await courses.create(pool, "c1", "Second")
    course = await courses.get(pool, "c1")
    assert isinstance(course, Course)
    assert (course.title, course.thresholds) == (
        "First",
        Thresholds(stuck_errors=3, kernel_deaths=3, long_run_s=180, idle_s=480, offline_s=60),
    )
    await pool.execute("UPDATE courses SET thresholds = $1", {"stuck_errors": 5})
    assert (await courses.get(pool, "c1")).thresholds == Thresholds(stuck_errors=5)
    assert await courses.get(pool, "c2") is None
    for bad in ("C1", "", "a" * 64, "a;b"):
        with pytest.raises(asyncpg.CheckViolationError):
            await courses.create(pool, bad, "T")


async def test_the_list_of_courses_counts_students_help_and_activity(pool, keyring, index):
    for course in ("c1", "c2"):
        await courses.create(pool, course, f"Title {course}")
    ann, bob, cat = await people.upsert_many(pool, keyring, index, [NewPerson("ann"), NewPerson("bob"), NewPerson("c")])
    await memberships.upsert_many(pool, "c1", {ann: "instructor", bob: "student", cat: "student"})
    now = datetime.now(UTC)
    for person, at in ((ann, now), (bob, now), (cat, now - timedelta(days=9))):
        await pool.execute(
            "INSERT INTO student_states (course_id, person_id, state) VALUES ('c1', $1, $2)",
            person,
            {"status": "running", "sessions_open": 1, "last_activity_at": to_text(at)},
        )
    for person, status, requested in (
        (bob, "open", True),
        (cat, "claimed", True),
        (bob, "resolved", True),
        (bob, "expired", True),
        (cat, "open", False),
    ):
        await pool.execute(
            "INSERT INTO help_requests (event_id, request_id, course_id, person_id, status, requested_at) "
            "VALUES ($1, $1, 'c1', $2, $3, CASE WHEN $4 THEN now() END)",
            uuid4(),
            person,
            status,
            requested,
        )
    mine = CourseSummary(
        "c1", "Title c1", "instructor", students=2, help_open=2, active=1, running=1, left=1, need_help=1
    )
    assert await courses.list_of_person(pool, ann, now=now) == [mine]
    assert await courses.list_all(pool, ann, now=now) == [mine, CourseSummary("c2", "Title c2", None, *(0,) * 6)]
    assert await courses.list_of_person(pool, uuid4(), now=now) == []
