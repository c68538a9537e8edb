"""Hazards: a setting changed without an entry, an entry without a change, a role that a new ruling source ended and that goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.administration.course_settings import MAX_LINKS, CourseSettings, GroupIssuer, SettingsChange
from cell_monitor_core.administration.refusals import NotPermitted, Unknown, UnknownCourse, Unusable
from cell_monitor_core.auth.audit import OPERATOR, Actor
from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.storage.postgres import audit_queries, course_links, courses, memberships, people, revocations
from cell_monitor_core.storage.postgres.audit_queries import AuditFilter
from cell_monitor_core.storage.postgres.course_links import CourseLink
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.people import NewPerson

PROVIDER = "https://login.example.org"
LINK = CourseLink("hub", "physics-staff", "observer", "c1")


@dataclass
class Published:
    """The changes that were published to open pages."""

    changes: list[tuple[str, bool]] = field(default_factory=list)

    async def roster_changed(self, course_id: str, *, left: bool) -> None:
        self.changes.append((course_id, left))


@pytest.fixture
async def ids(pool, keyring, index) -> dict[str, UUID]:
    names = ("ivy", "ann", "bob", "cleo")
    found = await people.upsert_many(pool, keyring, index, [NewPerson(name) for name in names])
    await courses.create(pool, "c1", "Physics")
    return dict(zip(names, found, strict=True))


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
async def settings(pool, ids, published) -> CourseSettings:
    await pool.execute("DELETE FROM audit_entries")
    return CourseSettings(pool, published, issuers=[GroupIssuer("hub"), GroupIssuer(PROVIDER, staff_only=True)])


async def entered(pool, keyring) -> list[tuple[object, ...]]:
    page = await audit_queries.page(pool, keyring, AuditFilter("c1"))
    return [
        (entry.actor.username if entry.actor else entry.actor_kind, entry.action, entry.details)
        for entry in reversed(page.entries)
    ]


async def test_each_changed_setting_is_entered_with_what_it_was_and_is(pool, keyring, ids, settings, published) -> None:
    ivy = Actor.person(ids["ivy"])
    change = SettingsChange(title="Physics 1", thresholds={"idle_s": 900, "stuck_errors": 3})
    changed = await settings.change("c1", change, authority=Authority.COURSE, by=ivy)
    assert (changed.title, changed.thresholds) == ("Physics 1", Thresholds(idle_s=900))
    await settings.change("c1", SettingsChange(ruling_source="hub"), authority=Authority.SITE, by=OPERATOR)
    assert await settings.link_group(LINK, authority=Authority.SITE, by=OPERATOR)
    await settings.unlink_group(LINK, authority=Authority.SITE, by=OPERATOR)
    group = {"issuer": "hub", "group": "physics-staff"}
    assert await entered(pool, keyring) == [
        ("ivy", "course_renamed", {"from": "Physics", "to": "Physics 1"}),
        ("ivy", "thresholds_changed", {"from": {"idle_s": 480}, "to": {"idle_s": 900}}),
        ("operator", "ruling_source_changed", {"to": "hub"}),
        ("operator", "group_linked", {**group, "to": "observer"}),
        ("operator", "group_unlinked", {**group, "from": "observer"}),
    ]


async def test_what_is_so_already_is_entered_by_nobody(pool, keyring, settings, published) -> None:
    same = SettingsChange(title="Physics", thresholds={"idle_s": 480}, ruling_source=None, reset_thresholds=True)
    await settings.change("c1", same, authority=Authority.SITE, by=OPERATOR)
    await course_links.add(pool, LINK)
    assert not await settings.link_group(LINK, authority=Authority.SITE, by=OPERATOR)
    assert await entered(pool, keyring) == []
    assert published.changes == []


async def test_two_who_change_different_settings_at_once_keep_each_others(pool, settings) -> None:
    changes = [SettingsChange(thresholds={"idle_s": 900}), SettingsChange(thresholds={"long_run_s": 60})]
    changes.append(SettingsChange(title="Physics 1"))
    await asyncio.gather(*(settings.change("c1", each, authority=Authority.COURSE, by=OPERATOR) for each in changes))
    course, _ = await settings.read("c1")
    assert (course.title, course.thresholds) == ("Physics 1", Thresholds(idle_s=900, long_run_s=60))


async def test_a_refused_change_changes_and_enters_nothing(pool, keyring, ids, settings) -> None:
    ivy = Actor.person(ids["ivy"])
    refused = (
        (NotPermitted, SettingsChange(title="Mine", ruling_source="roster"), Authority.COURSE),
        (Unusable, SettingsChange(title="Mine", thresholds={"offline_s": 59}), Authority.SITE),
        (Unusable, SettingsChange(title="Mine", ruling_source="join"), Authority.SITE),
    )
    for refusal, change, authority in refused:
        with pytest.raises(refusal):
            await settings.change("c1", change, authority=authority, by=ivy)
    with pytest.raises(UnknownCourse):
        await settings.change("c9", SettingsChange(title="Mine"), authority=Authority.SITE, by=ivy)
    for act in (settings.link_group, settings.unlink_group):
        with pytest.raises(NotPermitted):
            await act(LINK, authority=Authority.COURSE, by=ivy)
    with pytest.raises(Unknown):
        await settings.unlink_group(LINK, authority=Authority.SITE, by=ivy)
    with pytest.raises(Unusable):
        await settings.link_group(CourseLink("local", "g", "student", "c1"), authority=Authority.SITE, by=ivy)
    course, links = await settings.read("c1")
    assert (course.title, course.thresholds, course.ruling_source, links) == ("Physics", Thresholds(), None, [])
    assert await entered(pool, keyring) == []


@pytest.mark.parametrize(
    ("issuer", "role", "place", "way"),
    [
        (PROVIDER, "student", "role", "link the group as instructor, assistant or observer"),
        ("https://login.example.com", "observer", "issuer", f"name one of these: hub, {PROVIDER}"),
        ("Hub", "student", "issuer", "name one of these"),
    ],
)
async def test_a_link_that_would_give_nothing_is_refused_with_what_to_do(
    pool, keyring, settings, issuer, role, place, way
) -> None:
    link = CourseLink(issuer, "g", role, "c1")
    with pytest.raises(Unusable) as refused:
        await settings.link_group(link, authority=Authority.SITE, by=OPERATOR)
    assert refused.value.field == (place,)
    assert way in refused.value.msg
    assert (await settings.read("c1"))[1] == []
    assert await entered(pool, keyring) == []
    # One of before, which gives nothing either, can still be removed.
    await course_links.add(pool, link)
    await settings.unlink_group(link, authority=Authority.SITE, by=OPERATOR)


async def test_a_link_that_gives_something_is_taken(pool, settings, published) -> None:
    for issuer, role in ((PROVIDER, "observer"), ("hub", "student")):
        assert await settings.link_group(CourseLink(issuer, "g", role, "c1"), authority=Authority.SITE, by=OPERATOR)
    unknown = CourseSettings(pool, published, issuers=None)
    assert await unknown.link_group(CourseLink("other", "g", "student", "c1"), authority=Authority.SITE, by=OPERATOR)
    none = CourseSettings(pool, published, issuers=[])
    with pytest.raises(Unusable, match="configure a JupyterHub or a sign-in service"):
        await none.link_group(LINK, authority=Authority.SITE, by=OPERATOR)


async def test_a_course_has_a_bounded_number_of_links(pool, settings) -> None:
    for number in range(MAX_LINKS):
        await course_links.add(pool, CourseLink("hub", f"g{number}", "student", "c1"))
    with pytest.raises(Unusable):
        await settings.link_group(LINK, authority=Authority.SITE, by=OPERATOR)


async def test_a_new_ruling_source_revokes_the_tokens_of_those_whose_role_it_changes_and_of_nobody_else(
    pool, ids, settings, published
) -> None:
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "instructor", ids["bob"]: "student", ids["cleo"]: "student"})
    said_by_hub = {ids["ann"]: "student", ids["bob"]: "student", ids["cleo"]: "student"}
    await memberships.upsert_many(pool, "c1", said_by_hub, source=Source.HUB)
    await memberships.remove(pool, "c1", ids["cleo"], source=Source.HUB)
    before = {name: await revocations.generation_of(pool, person) for name, person in ids.items()}
    await pool.execute("DELETE FROM revocations")
    await settings.change("c1", SettingsChange(ruling_source="hub"), authority=Authority.SITE, by=OPERATOR)
    roles = {name: await memberships.role_of(pool, "c1", ids[name]) for name in ("ann", "bob", "cleo")}
    assert roles == {"ann": "student", "bob": "student", "cleo": None}
    after = {name: await revocations.generation_of(pool, person) for name, person in ids.items()}
    assert {name for name in ids if after[name] != before[name]} == {"ann", "cleo"}
    async with pool.acquire() as connection, connection.transaction():
        waiting = {each.subject for each in (await revocations.pending(connection, 10)).values()}
    assert waiting == {str(ids["ann"]), str(ids["cleo"])}
    assert published.changes == [("c1", True)]


async def test_a_role_that_is_given_while_the_ruling_source_changes_is_not_kept_by_a_token(pool, ids, settings) -> None:
    """The one waits for the other: nobody gets a role, and a token of it, that the new source then ends unseen."""
    await memberships.upsert_many(pool, "c1", {ids["ann"]: "student"}, source=Source.HUB)
    await memberships.remove(pool, "c1", ids["ann"], source=Source.HUB)
    async with pool.acquire() as connection, connection.transaction():
        await memberships.upsert_many(connection, "c1", {ids["ann"]: "instructor"})
        change = settings.change("c1", SettingsChange(ruling_source="hub"), authority=Authority.SITE, by=OPERATOR)
        changing = asyncio.create_task(change)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        # On other connections: within a transaction this view stays as it was when it was first read.
        while not await pool.fetchval(waiting):
            assert not changing.done()
            await asyncio.sleep(0.01)
        seen = await revocations.generation_of(connection, ids["ann"])
    await changing
    assert await memberships.role_of(pool, "c1", ids["ann"]) is None
    assert await revocations.generation_of(pool, ids["ann"]) == seen + 1
