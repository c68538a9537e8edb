"""Hazard, on a real JupyterHub: a course has no members until they sign in, or keeps those whom the Hub removed."""

from __future__ import annotations

from uuid import UUID

import pytest

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import identities, memberships
from cell_monitor_testing.hub_site import HubSite

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture
def roster_s() -> int:
    return 2


def members(site: HubSite) -> dict[str, str]:
    """Return the roles of the members of the course, by their names at the Hub."""
    keyring = KeyRing.from_json(site.secrets.encryption_keys)

    async def read(pool: object) -> dict[str, str]:
        found = {}
        for member in await memberships.roster(pool, "physics"):  # type: ignore[arg-type]
            for identity in await identities.of_person(pool, keyring, member.person_id):  # type: ignore[arg-type]
                found[identity.subject] = member.role
        return found

    return site.sql(read)


def test_the_members_of_a_course_are_those_of_the_hub_s_groups_all_the_time(site: HubSite) -> None:
    for name in ("kimura", "inoue", "maeda"):
        site.hub.add_user(name)
    site.hub.put_groups({"course-physics-students": ["kimura", "inoue"], "4711": ["maeda"]})
    site.hub.put_properties("4711", {"cell_monitor": {"course": "physics", "role": "instructor"}})
    everybody = {"kimura": "student", "inoue": "student", "maeda": "instructor"}
    site.hub.wait(lambda: members(site) == everybody)
    inoue = site.person("inoue")
    assert isinstance(inoue, UUID)
    site.sql(lambda pool: memberships.upsert_many(pool, "physics", {inoue: "assistant"}))
    with site.hub.suspended():
        assert site.sql(lambda pool: memberships.role_of(pool, "physics", inoue)) == "assistant"
    site.hub.put_groups({"course-physics-students": ["kimura"]})
    # By hand, she stays.
    site.hub.wait(lambda: members(site) == {"kimura": "student", "inoue": "assistant"})
    site.hub.remove_user("kimura")
    site.hub.wait(lambda: members(site) == {"inoue": "assistant"})
