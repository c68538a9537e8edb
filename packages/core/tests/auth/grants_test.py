"""Hazard: a token allows more than the documentation says of its grant, or something because a scope is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_core.auth.grants import GRANTS, Grant, allowed_by
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.scopes import Scope

# Typed from docs/security.md.
SESSION = {"read_course", "answer_help", "manage_members", "manage_settings", "read_audit", "administer"}
BY_SCOPE = {
    "events:write": {"send_events"},
    "test:write": {"use_test_mode"},
    "people:act_as": set(),
    "roster:write": {"manage_members"},
    "courses:read": {"read_course"},
    "admin": {"read_course", "answer_help", "manage_members", "manage_settings", "read_audit", "administer"},
}
AUDIENCES = {
    "session": {"api", "gateway"},
    "api_key": {"api", "gateway", "ingest"},
    "hub_server": {"ingest"},
    "joined": {"ingest"},
}
ALWAYS = {"session": SESSION, "api_key": set(), "hub_server": {"send_events"}, "joined": {"send_events"}}


def test_every_grant_and_scope_is_written_down():
    assert set(GRANTS) == set(Grant) == set(AUDIENCES)
    assert set(Scope) == set(BY_SCOPE)
    assert {grant: set(rule.audiences) for grant, rule in GRANTS.items()} == AUDIENCES


@pytest.mark.parametrize("grant", list(Grant))
def test_no_scopes_add_nothing(grant):
    assert allowed_by(grant, ()) == ALWAYS[grant]


@given(st.sets(st.sampled_from([*BY_SCOPE, "root", "", "admin ", "ADMIN", "*"])))
def test_a_key_allows_what_its_scopes_say_and_a_session_is_not_widened_by_them(scopes):
    expected = set().union(*(BY_SCOPE.get(scope, set()) for scope in scopes))
    assert allowed_by(Grant.API_KEY, scopes) == expected
    assert allowed_by(Grant.SESSION, scopes) == SESSION
    assert allowed_by(Grant.HUB_SERVER, scopes) == {"send_events"}
    assert allowed_by(Grant.JOINED, scopes) == {"send_events"}


def test_no_permission_is_out_of_reach_or_forgotten():
    reachable = SESSION.union(*BY_SCOPE.values())
    assert reachable == set(Permission)
