"""Hazards: a course's staff gives what only the site may; a list is stored in part; somebody is removed whom another source names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.administration.refusals import ManagedBySource, NotPermitted, Unknown, UnknownCourse, Unusable
from cell_monitor_core.administration.roster import MemberChange, Roster
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.postgres import courses, identities, memberships
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import create_pool


@dataclass
class Site:
    """A roster, and what its tests look at."""

    pool: asyncpg.Pool
    index: BlindIndex
    roster_of: Callable[[Collection[str]], Roster]

    @property
    def roster(self) -> Roster:
        return self.roster_of(())

    async def put(self, *changes: MemberChange, authority: Authority = Authority.SITE, **options: Any) -> list[Any]:
        return await self.roster.put_members("c1", changes, authority=authority, by=OPERATOR, **options)

    async def names(self) -> list[str]:
        return [member.person.username for member in await self.roster.members("c1")]


@pytest.fixture
async def site(database: str, valkey: str) -> AsyncIterator[Site]:
    keyring, index = KeyRing({"k1": os.urandom(32)}, "k1"), BlindIndex(os.urandom(32))
    # One connection: a service that takes a second one while it holds the first would wait for itself.
    pool = await create_pool(database, application_name="test", max_size=1)
    redis = connect(valkey, name="test")
    broker = RedisBroker(redis)
    await courses.create(pool, "c1", "Course")
    counters = Counters(pool, broker, Publisher(broker))
    yield Site(pool, index, lambda issuers: Roster(pool, keyring, index, counters, issuers=issuers))
    await aclose(redis)
    await pool.close()


@pytest.mark.parametrize(
    ("change", "options", "field"),
    [
        (MemberChange("eve", "instructor"), {}, ("members", 1, "role")),
        (MemberChange("eve", "observer"), {}, ("members", 1, "role")),
        (MemberChange("eve", "student", site_admin=True), {}, ("members", 1, "site_admin")),
        (MemberChange("eve", "student", site_admin=False), {}, ("members", 1, "site_admin")),
    ],
)
async def test_the_staff_of_a_course_decides_on_its_students_only(
    site: Site, change: MemberChange, options: dict[str, str], field: tuple[str | int, ...]
) -> None:
    first = MemberChange("ann", "student")
    with pytest.raises(NotPermitted) as refused:
        await site.put(first, change, authority=Authority.COURSE, **options)
    assert refused.value.field == field
    # All or none: not even who might have been added is.
    assert await site.names() == []
    await site.put(first, change, **options)
    assert sorted(await site.names()) == ["ann", "eve"]


async def test_a_course_names_people_of_the_issuers_of_students_and_of_no_other(site: Site) -> None:
    hub = site.roster_of(["jupyterhub"])
    change = MemberChange("ann", "student", "Ann")
    [there] = await hub.put_members("c1", [change], authority=Authority.COURSE, by=OPERATOR, issuer="jupyterhub")
    assert await identities.person_of(site.pool, site.index, "jupyterhub", "ann") == there.person_id
    assert await identities.person_of(site.pool, site.index, "local", "ann") is None
    assert [(member.person.display_name, member.issuers) for member in await hub.members("c1")] == [
        ("Ann", ["jupyterhub"])
    ]
    with pytest.raises(Unusable, match="jupyterhub, local") as refused:
        await hub.put_members("c1", [change], authority=Authority.COURSE, by=OPERATOR, issuer="jupiterhub")
    assert refused.value.field == ("issuer",)
    # Whose name is not this course's to change: known by the issuer that is meant.
    await courses.create(site.pool, "c2", "Another")
    await memberships.upsert_many(site.pool, "c2", {there.person_id: "student"})
    renamed = MemberChange("ann", "student", "Somebody else")
    await hub.put_members("c1", [renamed], authority=Authority.COURSE, by=OPERATOR, issuer="jupyterhub")
    assert [member.person.display_name for member in await hub.members("c1")] == ["Ann"]


async def test_an_admin_is_made_with_the_membership_or_not_at_all(site: Site) -> None:
    [stored] = await site.put(MemberChange("ann", "assistant", "Ann", site_admin=True))
    [member] = await site.roster.members("c1")
    assert (stored.person_id, stored.effective_role) == (member.person.person_id, "assistant")
    assert (member.person.is_admin, member.person.display_name) == (True, "Ann")
    await site.put(MemberChange("ann", "student"))
    assert (await site.roster.members("c1"))[0].person.is_admin
    assert (
        await site.roster.remove_member(
            "c1", stored.person_id, authority=Authority.SITE, by=OPERATOR, end_site_admin=True
        )
        is None
    )
    assert not await site.pool.fetchval("SELECT is_admin FROM people WHERE person_id = $1", stored.person_id)


async def test_people_of_another_issuer_are_others_than_local_people_of_the_same_name(site: Site) -> None:
    [here] = await site.put(MemberChange("ann", "student"))
    [there] = await site.put(MemberChange("ann", "student"), issuer="https://login.example.org")
    assert here.person_id != there.person_id
    found = await identities.person_of(site.pool, site.index, "https://login.example.org", "ann")
    assert found == there.person_id
    assert sorted(await site.roster.similar_names("ANN")) == ["ann", "ann"]


async def test_what_another_source_says_is_not_the_rosters_to_end(site: Site) -> None:
    [stored] = await site.put(MemberChange("ann", "assistant"))
    await memberships.upsert_many(site.pool, "c1", {stored.person_id: "student"}, source=Source.HUB)
    assert await site.roster.removable_role("c1", stored.person_id) == "assistant"
    assert await site.roster.remove_member("c1", stored.person_id, authority=Authority.SITE, by=OPERATOR) == "student"
    with pytest.raises(ManagedBySource, match="by hub: remove them there"):
        await site.roster.removable_role("c1", stored.person_id)
    with pytest.raises(ManagedBySource):
        await site.roster.remove_member("c1", stored.person_id, authority=Authority.SITE, by=OPERATOR)
    await memberships.remove(site.pool, "c1", stored.person_id, source=Source.HUB)
    with pytest.raises(Unknown):
        await site.roster.remove_member("c1", stored.person_id, authority=Authority.SITE, by=OPERATOR)


async def test_nobody_is_added_to_a_course_that_is_not_there(site: Site) -> None:
    with pytest.raises(UnknownCourse) as refused:
        await site.roster.put_members("c9", [MemberChange("ann", "student")], authority=Authority.SITE, by=OPERATOR)
    assert refused.value.course_id == "c9"
    assert await site.pool.fetchval("SELECT count(*) FROM people") == 0
    with pytest.raises(UnknownCourse):
        await site.roster.members("c9")
