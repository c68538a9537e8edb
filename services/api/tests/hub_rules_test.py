"""Hazards: a token that proves something else counts as a student's server; a group gives a role that nobody meant."""

from __future__ import annotations

import pytest

from cell_monitor_api.services.hub_rules import GroupRules, HubSender, NotASender, sender_of
from cell_monitor_api.storage.hub_api import TokenOwner
from cell_monitor_core.auth.roles import Role

SCOPE = "custom:cell-monitor:send"


def owner(*scopes: str, name: str = "tanaka", kind: str = "user", session_id: str | None = None) -> TokenOwner:
    return TokenOwner(kind=kind, name=name, scopes=list(scopes), groups=["g"], session_id=session_id)


@pytest.mark.parametrize(
    ("scopes", "server"),
    [
        ([SCOPE, "read:users:name!user=tanaka"], None),
        ([SCOPE, "access:servers!server=tanaka/"], ""),
        ([SCOPE, "access:servers!server=tanaka/lab 2"], "lab 2"),
    ],
)
def test_a_server_is_known_by_the_hub_s_word(scopes: list[str], server: str | None) -> None:
    assert sender_of(owner(*scopes), SCOPE) == HubSender("tanaka", ("g",), server)


@pytest.mark.parametrize(
    "refused",
    [
        # An OAuth token that somebody else's server got in the visitor's name.
        owner("access:servers!server=tanaka/", "read:users:name!user=teacher", name="teacher"),
        owner(SCOPE, "access:servers!server=tanaka/", name="teacher"),
        owner(SCOPE, "access:servers!server=tanaka/", "access:servers!server=teacher/", name="teacher"),
        # A name that begins with another one.
        owner(SCOPE, "access:servers!server=tanaka2/", name="tanaka"),
        owner(SCOPE, session_id="0f"),
        owner(SCOPE, kind="service"),
        owner(SCOPE, name=""),
        owner(SCOPE, name="a" * 256),
        owner("custom:cell-monitor:send-not", f"{SCOPE}!user=tanaka"),
        owner(),
    ],
)
def test_a_token_that_is_not_of_its_user_s_own_server_proves_nothing(refused: TokenOwner) -> None:
    with pytest.raises(NotASender):
        sender_of(refused, SCOPE)


PATTERN = r"course-(?P<course>.+)-(?P<role>[a-z]+)"


@pytest.mark.parametrize(
    ("groups", "roles"),
    [
        (["course-physics-students"], {"physics": "student"}),
        (["course-physics-student", "course-physics-ta"], {"physics": "assistant"}),
        (["course-math-a1-instructors", "course-physics-observers"], {"math-a1": "instructor", "physics": "observer"}),
        (["course-physics-deans", "physics-students", "xcourse-physics-students", "course-physics-students\n"], {}),
        (["course-Physics-students", "course-../x-students", "course-" + "a" * 64 + "-students", ""], {}),
    ],
)
def test_groups_mean_what_the_pattern_says_and_nothing_else(groups: list[str], roles: dict[str, str]) -> None:
    assert GroupRules(PATTERN, {"ta": Role.ASSISTANT}).roles_of(groups, {}) == roles


def test_of_a_pattern_and_a_link_the_higher_role_counts() -> None:
    rules = GroupRules(PATTERN, {})
    assert rules.roles_of(["course-c1-students", "course-c2-instructors"], {"c1": "assistant", "c2": "student"}) == {
        "c1": "assistant",
        "c2": "instructor",
    }
    assert GroupRules(None, {}).roles_of(["course-c1-students"], {}) == {}
