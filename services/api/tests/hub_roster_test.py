"""Hazards: the Hub's groups remove people whom the Hub did not remove, overwrite the roster, or are read by every process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from cell_monitor_api.services.hub_people import HubPeople
from cell_monitor_api.services.hub_roster import HubRoster
from cell_monitor_api.services.hub_rules import GroupRules
from cell_monitor_api.storage.hub_api import HubApi
from cell_monitor_core.storage.postgres import courses, group_readings, identities, memberships
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_testing.hub_answers import HUB_HEADERS, HubAnswer, hub_answering

LOOKALIKE = "".join(chr(ord(letter) + 0xFEE0) for letter in "tanaka")  # full width
SCOPES = ["list:groups", "read:groups", "read:groups:name"]
TOKEN = "s" * 32


@dataclass
class FakeHub:
    """A Hub with groups, which answers in pages as JupyterHub does."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    scopes: list[str] = field(default_factory=lambda: list(SCOPES))
    status: int = 200
    version: bool = True
    total: int | None = None
    url: str = ""
    paths: list[str] = field(default_factory=list)

    def answer(self, head: bytes, _body: bytes) -> HubAnswer:
        path = head.decode().split(" ", 2)[1]
        self.paths.append(path)
        if path.endswith("/user"):
            answer: Any = {"kind": "service", "name": "cell-monitor", "scopes": self.scopes}
        else:
            query = dict(part.split("=") for part in path.partition("?")[2].split("&"))
            offset, limit = int(query["offset"]), int(query["limit"])
            total = len(self.groups) if self.total is None else self.total
            answer = {
                "items": self.groups[offset : offset + limit],
                "_pagination": {"offset": offset, "limit": limit, "total": total, "next": None},
            }
            assert b"application/jupyterhub-pagination+json" in head
        return self.status, HUB_HEADERS if self.version else {}, json.dumps(answer).encode()

    def group(self, name: str, *users: str, **properties: Any) -> None:
        """Add a group."""
        self.groups.append({"kind": "group", "name": name, "users": list(users), "properties": properties, "roles": []})


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    fake = FakeHub()
    async with hub_answering(fake.answer) as fake.url:
        yield fake


@dataclass
class Reading:
    """A site and what reads the Hub's groups for it."""

    site: Any
    make: Callable[[], HubRoster]

    async def read(self) -> None:
        """Read the groups now."""
        await self.site.process.pool.execute("UPDATE group_readings SET due_at = now()")
        await self.make().read()

    async def members(self, course_id: str, source: Source = Source.HUB) -> dict[str, str]:
        """Return the roles that a source gives, by the Hub's names."""
        pool = self.site.process.pool
        rows = await pool.fetch(
            "SELECT person_id, role FROM memberships WHERE course_id = $1 AND source = $2 AND role IS NOT NULL",
            course_id,
            source,
        )
        names = {}
        for row in rows:
            for identity in await identities.of_person(pool, self.site.keyring, row["person_id"]):
                names[identity.subject] = row["role"]
        return names


@pytest.fixture
async def reading(make_site, hub: FakeHub) -> AsyncIterator[Reading]:
    async with make_site() as site:
        pool, process = site.process.pool, site.process
        for course_id in ("physics", "chemistry"):
            await courses.create(pool, course_id, course_id)
        rules = GroupRules("course-(?P<course>.+)-(?P<role>[a-z]+)", {})
        people = HubPeople(pool, site.keyring, site.index, process.roster._counters, issuer="jupyterhub", rules=rules)
        api = HubApi(hub.url)

        def make() -> HubRoster:
            return HubRoster(pool, api, people, token=TOKEN, issuer="jupyterhub", interval=timedelta(seconds=60))

        yield Reading(site, make)
        await api.aclose()


async def test_a_course_has_its_members_before_anybody_signs_in(reading, hub) -> None:
    hub.group("course-physics-students", "aoki", LOOKALIKE, "tanaka")
    hub.group("course-physics-instructors", "mori", "aoki")
    hub.group("course-geology-students", "aoki")  # no such course here
    hub.group("staff of the library", "mori")
    await reading.read()
    assert await reading.members("physics") == {
        "aoki": "instructor", "mori": "instructor", "tanaka": "student", LOOKALIKE: "student",
    }  # fmt: skip
    assert await reading.members("chemistry") == {}


async def test_more_groups_than_fit_a_page_are_read_whole(reading, hub) -> None:
    for number in range(101):
        hub.group(f"course-physics-{'students' if number % 2 else 'observers'}-{number}")
    hub.group("course-physics-students", "last")
    await reading.read()
    assert await reading.members("physics") == {"last": "student"}


async def test_what_groups_say_by_their_properties_counts_and_rubbish_does_not(reading, hub) -> None:
    hub.group("42", "aoki", cell_monitor={"course": "physics", "role": "instructor"})
    hub.group("43", "aoki", "mori", cell_monitor=[{"course": "chemistry", "role": "students"}, {"course": "physics"}])
    for rubbish in (
        "physics",
        1,
        None,
        {"course": 1, "role": "student"},
        {"course": "physics", "role": ["student"]},
        [[]],
    ):
        hub.group(f"rubbish {rubbish!r}", "eve", cell_monitor=rubbish)
    await reading.read()
    assert await reading.members("physics") == {"aoki": "instructor"}
    assert await reading.members("chemistry") == {"aoki": "student", "mori": "student"}
    # Who signs in gets the same, by the names of the groups.
    people = reading.make()._people
    person = await people.update("hayashi", ["42"], asked_at=time.monotonic())
    assert await memberships.roles_of(reading.site.process.pool, person) == {"physics": "instructor"}
    hub.groups[0]["properties"] = {}
    await reading.read()
    await people.update("hayashi", ["42"], asked_at=time.monotonic())
    assert await memberships.roles_of(reading.site.process.pool, person) == {}


async def test_who_left_a_group_is_removed_and_the_roster_of_this_installation_stays(reading, hub) -> None:
    hub.group("course-physics-students", "aoki", "mori")
    await reading.read()
    pool = reading.site.process.pool
    aoki = await identities.person_of(pool, reading.site.index, "jupyterhub", "aoki")
    await memberships.upsert_many(pool, "physics", {aoki: "assistant"})
    hub.groups[0]["users"] = []
    await reading.read()
    assert await reading.members("physics") == {}
    assert await reading.members("physics", Source.ROSTER) == {"aoki": "assistant"}
    assert await memberships.roles_of(pool, aoki) == {"physics": "assistant"}


FAULTS = {
    "no right to list": {"scopes": ["read:groups"]},
    "a part of the groups": {"scopes": ["list:groups!group=course-physics-students", "read:groups"]},
    "unknown token": {"status": 403},
    "Hub restarting": {"status": 503},
    "a proxy's answer": {"version": False},
    "a group less than counted": {"total": 2},
    "too many": {"total": 20_001},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_without_a_whole_answer_of_the_hub_nobody_is_removed(reading, hub, fault) -> None:
    hub.group("course-physics-students", "aoki")
    await reading.read()
    hub.groups[0]["users"] = []
    for name, value in fault.items():
        setattr(hub, name, value)
    await reading.read()
    assert await reading.members("physics") == {"aoki": "student"}


async def test_of_many_processes_one_reads_and_none_before_the_interval_is_over(reading, hub) -> None:
    await asyncio.gather(*(reading.make().read() for _ in range(10)))
    assert len([path for path in hub.paths if "/groups" in path]) == 1
    await reading.make().read()
    assert len([path for path in hub.paths if "/groups" in path]) == 1


async def test_a_sign_in_during_a_reading_is_not_undone_by_it(reading, hub) -> None:
    hub.group("course-physics-students", "aoki")
    await reading.read()
    pool = reading.site.process.pool
    await pool.execute("UPDATE group_readings SET due_at = now()")
    begun = await group_readings.begin(pool, "jupyterhub", interval=timedelta(seconds=60))
    roster = reading.make()
    aoki = await roster._people.update("aoki", ["course-physics-instructors"], asked_at=time.monotonic())
    mori = await roster._people.update("mori", ["course-physics-observers"], asked_at=time.monotonic())
    # The groups as they were before.
    await roster._people.update_all(await HubApi(hub.url).groups(TOKEN, most=10), begun)
    assert await memberships.roles_of(pool, aoki) == {"physics": "instructor"}
    assert await memberships.roles_of(pool, mori) == {"physics": "observer"}


NEWER = {"about the person": False, "about all groups": True}


@pytest.mark.parametrize("all_groups", NEWER.values(), ids=NEWER.keys())
async def test_an_answer_older_than_a_removal_does_not_give_the_role_back(reading, hub, all_groups) -> None:
    hub.group("course-physics-instructors", "aoki")
    await reading.read()
    pool, people = reading.site.process.pool, reading.make()._people
    aoki = await identities.person_of(pool, reading.site.index, "jupyterhub", "aoki")
    # The Hub is asked about the person, and answers slowly: meanwhile the removal is read.
    asked_at = time.monotonic()
    if all_groups:
        hub.groups[0]["users"] = []
        await reading.read()
    else:
        await people.update("aoki", [], asked_at=time.monotonic())
    assert await memberships.roles_of(pool, aoki) == {}
    await people.update("aoki", ["course-physics-instructors"], asked_at=asked_at)
    assert await memberships.roles_of(pool, aoki) == {}
    # Who is in the group again gets the role.
    await people.update("aoki", ["course-physics-instructors"], asked_at=time.monotonic())
    assert await memberships.roles_of(pool, aoki) == {"physics": "instructor"}


async def test_a_slow_reading_does_not_undo_the_one_that_began_after_it(reading, hub) -> None:
    linked = {"course": "physics", "role": "instructor"}
    hub.group("course-physics-students", "aoki")
    hub.group("42", "mori", cell_monitor=linked)
    slow = reading.make()
    begun = await group_readings.begin(reading.site.process.pool, "jupyterhub", interval=timedelta(seconds=60))
    answered = await HubApi(hub.url).groups(TOKEN, most=10)
    # Nobody was a member before: the later reading finds nothing to remove, and so leaves no trace at any membership.
    hub.groups = []
    await reading.read()
    assert await slow._people.update_all(answered, begun) is None
    assert await reading.members("physics") == {}
    # The group's property, as it was before, gives its users no role when they sign in.
    person = await slow._people.update("hayashi", ["42"], asked_at=time.monotonic())
    assert await memberships.roles_of(reading.site.process.pool, person) == {}


async def test_an_answer_older_than_a_new_role_does_not_take_it(reading, hub) -> None:
    hub.group("course-physics-students", "aoki")
    await reading.read()
    pool, people = reading.site.process.pool, reading.make()._people
    asked_at = time.monotonic()
    aoki = await people.update("aoki", ["course-physics-instructors"], asked_at=time.monotonic())
    await people.update("aoki", [], asked_at=asked_at)
    assert await memberships.roles_of(pool, aoki) == {"physics": "instructor"}


async def test_a_course_that_the_hub_rules_follows_its_removal_whatever_the_roster_says(reading, hub) -> None:
    hub.group("course-physics-students", "aoki")
    await reading.read()
    pool = reading.site.process.pool
    aoki = await identities.person_of(pool, reading.site.index, "jupyterhub", "aoki")
    await memberships.upsert_many(pool, "physics", {aoki: "assistant"})
    await courses.set_ruling_source(pool, "physics", Source.HUB)
    hub.groups[0]["users"] = []
    await reading.read()
    assert await memberships.roles_of(pool, aoki) == {}
