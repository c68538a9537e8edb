"""Hazards: an act without an entry, an entry without its act, an entry that can be changed, a log that an attacker fills."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from cell_monitor_core.auth.audit import HUB, NOBODY, OPERATOR, SYSTEM, Actor, ActorKind, AuditAction
from cell_monitor_core.erasure.tables import begin_person, delete_course_rows
from cell_monitor_core.storage.postgres import api_keys, audit, audit_queries, courses, memberships, people
from cell_monitor_core.storage.postgres.audit_queries import AuditEntry, AuditFilter, PersonInEntry
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_core.storage.postgres.pool import connect

EVERYTHING = AuditFilter()
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
async def ids(pool, keyring, index) -> dict[str, UUID]:
    names = ("ivy", "ann", "bob")
    found = await people.upsert_many(pool, keyring, index, [NewPerson(name) for name in names])
    for course_id in ("c1", "c2"):
        await courses.create(pool, course_id, course_id)
    await pool.execute("DELETE FROM audit_entries")
    return dict(zip(names, found, strict=True))


async def entries(pool, keyring, wanted: AuditFilter = EVERYTHING) -> list[AuditEntry]:
    """All entries, oldest first; those of one statement by whom they concern."""
    found = (await audit_queries.page(pool, keyring, wanted, limit=200)).entries
    return sorted(found, key=lambda entry: (entry.acted_at, _username(entry.subject), entry.course_id or ""))


def _username(person: PersonInEntry | None) -> str:
    return "" if person is None or person.username is None else person.username


def summary(entry: AuditEntry) -> tuple[object, ...]:
    who = entry.actor.username if entry.actor is not None else entry.actor_kind
    whom = entry.subject.username if entry.subject is not None else None
    return who, entry.action, whom, entry.course_id, entry.details


async def test_every_change_of_a_membership_is_entered_with_who_whom_from_to_and_source(pool, keyring, ids) -> None:
    ivy = Actor.person(ids["ivy"])
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "student", ids["bob"]: "student"}, by=ivy)
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "assistant", ids["bob"]: "student"}, by=OPERATOR)
    await memberships.remove(pool, "c1", ids["ann"], by=ivy)
    await memberships.set_all(pool, ids["ann"], {"c1": "observer", "c2": "student"}, source=Source.HUB, by=HUB)
    await memberships.set_all(pool, ids["ann"], {"c2": "instructor"}, source=Source.HUB, by=HUB)
    await memberships.set_source(
        pool, {ids["bob"]: {"c2": "student"}}, source=Source.HUB, read_at=datetime.now(UTC) + timedelta(hours=1), by=HUB
    )
    roster, hub = {"source": "roster"}, {"source": "hub"}
    assert [summary(entry) for entry in await entries(pool, keyring)] == [
        ("ivy", "member_added", "ann", "c1", {"to": "student", **roster}),
        ("ivy", "member_added", "bob", "c1", {"to": "student", **roster}),
        ("operator", "role_changed", "ann", "c1", {"from": "student", "to": "assistant", **roster}),
        ("ivy", "member_removed", "ann", "c1", {"from": "assistant", **roster}),
        ("hub", "member_added", "ann", "c1", {"to": "observer", **hub}),
        ("hub", "member_added", "ann", "c2", {"to": "student", **hub}),
        ("hub", "member_removed", "ann", "c1", {"from": "observer", **hub}),
        ("hub", "role_changed", "ann", "c2", {"from": "student", "to": "instructor", **hub}),
        ("hub", "member_removed", "ann", "c2", {"from": "instructor", **hub}),
        ("hub", "member_added", "bob", "c2", {"to": "student", **hub}),
    ]


async def test_what_changes_nothing_is_not_entered(pool, keyring, ids) -> None:
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "student"}, source=Source.HUB)
    await people.set_admin(pool, ids["ivy"], is_admin=True)
    before = await entries(pool, keyring)
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "student"}, source=Source.HUB)
    await memberships.remove(pool, "c1", ids["ann"])
    await memberships.set_all(pool, ids["ann"], {"c1": "student"}, source=Source.HUB)
    await memberships.set_source(
        pool, {ids["ann"]: {"c1": "student"}}, source=Source.HUB, read_at=datetime.now(UTC) + timedelta(hours=1)
    )
    await people.set_admin(pool, ids["ivy"], is_admin=True)
    assert not await courses.create(pool, "c1", "again")
    assert not await api_keys.revoke(pool, "0" * 16)
    assert await entries(pool, keyring) == before


async def test_admins_courses_and_keys_are_entered(pool, keyring, ids) -> None:
    ivy = Actor.person(ids["ivy"])
    await pool.execute("UPDATE people SET is_admin = true WHERE person_id = $1", ids["ivy"])
    await people.set_admin(pool, ids["ann"], is_admin=True, by=ivy)
    await people.set_admin(pool, ids["ann"], is_admin=False, by=OPERATOR)
    await courses.create(pool, "c3", "Three", by=ivy)
    key, _ = await api_keys.create(
        pool, name="ann's laptop", scopes=["courses:read"], expires_at=LATER, person_id=ids["ann"], by=ivy
    )
    await api_keys.revoke(pool, key.key_id, by=ivy)
    found = await entries(pool, keyring)
    assert [summary(entry) for entry in found] == [
        ("ivy", "site_admin_granted", "ann", None, {}),
        ("operator", "site_admin_revoked", "ann", None, {}),
        ("ivy", "course_created", None, "c3", {}),
        ("ivy", "api_key_created", "ann", None, {"scopes": ["courses:read"]}),
        ("ivy", "api_key_revoked", "ann", None, {}),
    ]
    assert [(entry.key_id, entry.key_name) for entry in found[3:]] == [(key.key_id, "ann's laptop")] * 2


async def test_the_use_of_a_key_is_entered_once_a_day_however_often_it_is_used(pool, keyring, ids) -> None:
    key, text = await api_keys.create(pool, name="k", scopes=[], expires_at=LATER)
    own, own_text = await api_keys.create(pool, name="own", scopes=[], expires_at=LATER, person_id=ids["ann"])
    used = AuditFilter(actions=[AuditAction.API_KEY_USED])
    await asyncio.gather(*(api_keys.verify(pool, each) for each in (text, own_text) * 5))
    assert {
        (*summary(entry)[:4], entry.key_id, entry.actor_key_id) for entry in await entries(pool, keyring, used)
    } == {
        ("key", "api_key_used", None, None, key.key_id, key.key_id),
        ("ann", "api_key_used", None, None, own.key_id, own.key_id),
    }
    # A minute later on the same day, as far as that day had a minute before; then on another day.
    await pool.execute(
        "UPDATE api_keys SET last_used_at = greatest(now() - interval '2 minutes', date_trunc('day', now(), 'UTC'))"
    )
    await api_keys.verify(pool, text)
    assert len(await entries(pool, keyring, used)) == 2
    await pool.execute("UPDATE api_keys SET last_used_at = now() - interval '1 day'")
    await api_keys.verify(pool, text)
    await api_keys.verify(pool, text)
    assert len(await entries(pool, keyring, used)) == 3


async def test_an_act_that_is_rolled_back_leaves_no_entry(pool, keyring, ids) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await memberships.upsert_many(connection, "c1", {ids["ann"]: "student"})
        await people.set_admin(connection, ids["ann"], is_admin=True)
        await api_keys.create(connection, name="k", scopes=[], expires_at=LATER)
        await transaction.rollback()
    assert await entries(pool, keyring) == []


async def test_an_act_whose_entry_cannot_be_written_is_not_done(pool, keyring, ids) -> None:
    nobody = Actor.person(uuid4())
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await memberships.upsert_many(pool, "c1", {ids["ann"]: "student"}, by=nobody)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await people.set_admin(pool, ids["ann"], is_admin=True, by=nobody)
    assert await memberships.role_of(pool, "c1", ids["ann"]) is None
    assert await entries(pool, keyring) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET action = 'x'",
        "UPDATE audit_entries SET count = 0",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "SELECT delete_audit_entries(30)",
    ],
)
async def test_the_api_can_change_or_delete_no_entry(pool, keyring, ids, api, statement) -> None:
    await memberships.upsert_many(api, "c1", {ids["ann"]: "student"})
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.execute(statement)
    assert len(await entries(pool, keyring)) == 1


async def test_counting_a_refused_sign_in_changes_no_other_entry(pool, keyring, index, ids, api) -> None:
    await audit.record(api, AuditAction.SIGNED_IN, Actor.person(ids["ann"]), details={"way": "password"})
    before = await entries(pool, keyring)
    for _ in range(2):
        await audit.record_refused_sign_in(api, keyring, index, way="password", address="192.0.2.1", person_id=None)
    assert (await entries(pool, keyring))[:1] == before


async def test_refused_sign_ins_are_one_entry_for_each_account_and_address_with_a_count(
    pool, keyring, index, ids, api
) -> None:
    async def refuse(address: str, person: UUID | None, times: int = 1) -> None:
        for _ in range(times):
            await audit.record_refused_sign_in(api, keyring, index, way="password", address=address, person_id=person)

    await refuse("192.0.2.1", ids["ann"], 3)
    await refuse("192.0.2.2", ids["ann"], 1)
    await refuse("192.0.2.1", None, 2)
    # Erased between the check of the password and the entry.
    await refuse("192.0.2.3", uuid4(), 1)
    found = {(entry.address, None if entry.subject is None else entry.subject.username, entry.count)
             for entry in await entries(pool, keyring)}  # fmt: skip
    # A window of 15 minutes may end in between; the sum is the same.
    assert {(address, whom) for address, whom, _ in found} == {
        ("192.0.2.1", "ann"), ("192.0.2.2", "ann"), ("192.0.2.1", None), ("192.0.2.3", None),
    }  # fmt: skip
    assert sum(entry.count for entry in await entries(pool, keyring)) == 7
    # Nothing of an address can be read in the database.
    rows = await pool.fetch("SELECT t::text AS row FROM audit_entries t")
    assert "192.0.2" not in "".join(row["row"] for row in rows)
    # What a copy of the database shows is neither text nor its hexadecimal digits.
    assert b"192.0.2".hex() not in "".join(row["row"] for row in rows)


async def test_an_attacker_with_many_addresses_cannot_fill_the_log(pool, keyring, index, ids, api) -> None:
    for number in range(520):
        await audit.record_refused_sign_in(
            api, keyring, index, way="password", address=f"2001:db8:{number:x}::/64", person_id=None
        )
    found = await pool.fetch("SELECT details->>'way' AS way, count, address_enc FROM audit_entries")
    many = [row for row in found if row["way"] == "many"]
    # An hour may end in between: then the rest has a row of its own.
    assert len(found) - len(many) == 500
    assert sum(row["count"] for row in many) == 20
    assert len(many) <= 2
    assert {row["address_enc"] for row in many} == {None}


async def test_opened_work_is_entered_once_in_ten_minutes_by_however_many_processes(pool, keyring, ids, api) -> None:
    ivy = Actor.person(ids["ivy"])
    started = await pool.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) / 600)")
    for _ in range(4):
        await audit.record_work_opened(api, ivy, "c1", ids["ann"])
    await audit.record_work_opened(api, ivy, "c1", ids["bob"])
    await audit.record_work_opened(api, Actor(ActorKind.KEY, None, "0" * 16), "c1", ids["ann"])
    ended = await pool.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) / 600)")
    found = [summary(entry)[:4] for entry in await entries(pool, keyring)]
    assert set(found) == {
        ("ivy", "work_opened", "ann", "c1"),
        ("ivy", "work_opened", "bob", "c1"),
        ("key", "work_opened", "ann", "c1"),
    }
    assert len(found) <= 3 + (ended - started)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await audit.record_work_opened(api, ivy, "c1", uuid4())


async def test_of_an_erased_person_the_acts_stay_and_no_id_or_name(pool, keyring, index, ids) -> None:
    ann, ivy = ids["ann"], Actor.person(ids["ivy"])
    await memberships.upsert_many(pool, "c1", {ann: "student"}, by=ivy)
    await memberships.upsert_many(pool, "c1", {ids["bob"]: "student"}, by=Actor.person(ann))
    await audit.record_work_opened(pool, Actor.person(ann), "c1", ids["bob"])
    await audit.record_refused_sign_in(pool, keyring, index, way="password", address="192.0.2.1", person_id=ann)
    async with pool.acquire() as connection:
        await begin_person(connection, ann)
        await begin_person(connection, ann)
    found = await entries(pool, keyring)
    assert len(found) == 5
    by_action = {entry.action: entry for entry in found if entry.action != "member_added"}
    added = {summary(entry)[0]: entry for entry in found if entry.action == "member_added"}
    assert added["ivy"].subject == PersonInEntry()
    assert added[None].actor == PersonInEntry()
    assert added[None].subject is not None
    assert (by_action["work_opened"].actor, by_action["sign_in_refused"].subject) == (PersonInEntry(), PersonInEntry())
    assert by_action["sign_in_refused"].address is None
    assert summary(by_action["person_erased"]) == ("operator", "person_erased", None, None, {})
    rows = "".join(row["row"] for row in await pool.fetch("SELECT t::text AS row FROM audit_entries t"))
    assert str(ann) not in rows
    assert await pool.fetchval("SELECT count(*) FROM audit_entries WHERE once IS NOT NULL") == 0
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await audit.record(pool, AuditAction.SIGNED_IN, Actor.person(ann))


async def test_that_a_course_was_deleted_stays(pool, keyring, ids) -> None:
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "student"})
    await memberships.upsert_many(pool, "c2", {ids["ann"]: "student"})
    async with pool.acquire() as connection:
        await delete_course_rows(connection, "c1")
        await delete_course_rows(connection, "c1")
    assert [summary(entry)[1:4] for entry in await entries(pool, keyring)] == [
        ("member_added", "ann", "c2"),
        ("course_deleted", None, "c1"),
    ]


async def test_pages_follow_one_another_without_a_gap_also_within_one_moment(pool, keyring, ids) -> None:
    for _ in range(25):
        await audit.record(pool, AuditAction.SIGNED_OUT_EVERYWHERE, SYSTEM)
    await pool.execute("UPDATE audit_entries SET acted_at = now()")
    for _ in range(5):
        await audit.record(pool, AuditAction.SIGNED_IN, NOBODY)
    seen: list[AuditEntry] = []
    before = None
    while True:
        page = await audit_queries.page(pool, keyring, EVERYTHING, before=before, limit=7)
        seen += page.entries
        before = page.next_before
        if before is None:
            break
    assert len({entry.entry_id for entry in seen}) == len(seen) == 30
    assert [entry.acted_at for entry in seen] == sorted((entry.acted_at for entry in seen), reverse=True)
    for cursor in ("", "x", "äö", "AAAA", "f" + "_" * 31):
        with pytest.raises(ValueError, match="not a cursor"):
            await audit_queries.page(pool, keyring, EVERYTHING, before=cursor)


async def test_entries_are_found_by_course_person_action_and_time(pool, keyring, ids) -> None:
    ivy = Actor.person(ids["ivy"])
    await audit.record(pool, AuditAction.WORK_OPENED, ivy, subject=ids["ann"], course_id="c1")
    await audit.record(pool, AuditAction.WORK_OPENED, ivy, subject=ids["bob"], course_id="c2")
    await audit.record(pool, AuditAction.SIGNED_IN, Actor.person(ids["bob"]))
    await pool.execute("UPDATE audit_entries SET acted_at = '2026-04-01T09:00Z' WHERE course_id = 'c1'")

    async def count(**wanted: object) -> int:
        return len(await entries(pool, keyring, replace(EVERYTHING, **wanted)))

    assert await count(course_id="c1") == 1
    assert await count(person_ids=[ids["bob"]]) == 2
    assert await count(person_ids=[]) == 0
    assert await count(person_ids=[ids["bob"]], course_id="c1") == 0
    assert await count(actions=[AuditAction.WORK_OPENED]) == 2
    assert await count(actions=[AuditAction.WORK_OPENED, AuditAction.SIGNED_IN]) == 3
    april = datetime(2026, 4, 1, 9, tzinfo=UTC)
    assert await count(until=april) == 0
    assert await count(since=april, until=april + timedelta(seconds=1)) == 1
    assert await count(since=april) == 3


async def test_entries_end_by_their_age_only_and_never_before_thirty_days(pool, keyring, ids, database) -> None:
    for age in (400, 40, 20):
        await audit.record(pool, AuditAction.SIGNED_IN, SYSTEM, course_id=f"d{age}")
        await pool.execute(
            "UPDATE audit_entries SET acted_at = now() - make_interval(days => $1) WHERE course_id = $2", age, f"d{age}"
        )
    worker = await connect(database, application_name="test")
    await worker.execute("SET ROLE cell_monitor_worker")
    try:
        for days in (29, 0, -1):
            with pytest.raises(asyncpg.InvalidParameterValueError):
                await audit.delete_older(worker, days)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute("SELECT * FROM audit_entries")
        assert await audit.delete_older(worker, 365) == 1
        assert await audit.delete_older(worker, 365) == 0
        assert await audit.delete_older(worker, audit.MIN_DAYS) == 1
    finally:
        await worker.close()
    assert [entry.course_id for entry in await entries(pool, keyring)] == ["d20"]


async def test_two_who_change_each_other_s_role_at_the_same_time_do_not_wait_for_each_other(pool, keyring, ids) -> None:
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "observer", ids["bob"]: "observer"})
    ann, bob = Actor.person(ids["ann"]), Actor.person(ids["bob"])
    async with pool.acquire() as one, pool.acquire() as two, one.transaction(), two.transaction():
        await memberships.upsert_many(one, "c1", {ids["ann"]: "assistant"}, by=bob)
        await memberships.upsert_many(two, "c1", {ids["bob"]: "assistant"}, by=ann)
    assert await memberships.role_of(pool, "c1", ids["bob"]) == "assistant"


def test_every_action_and_kind_of_actor_is_documented() -> None:
    text = (Path(__file__).parents[4] / "docs/operations/reference.md").read_text(encoding="utf-8")
    for kind in (AuditAction, ActorKind):
        for member in kind:
            assert re.search(rf"^\| `{member}` \| \S", text, re.MULTILINE), member
