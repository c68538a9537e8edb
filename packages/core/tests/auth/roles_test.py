"""Hazard: a role may do more than the table of the documentation says."""

import pytest

from cell_monitor_core.auth.roles import STAFF_ROLES, Permission, Role, highest_by_course, may, may_in_course
from cell_monitor_core.auth.scopes import Scope, ScopeError, parse_scopes

ALLOWED = {
    ("instructor", "send_events"),
    ("instructor", "read_course"),
    ("instructor", "answer_help"),
    ("instructor", "manage_members"),
    ("instructor", "manage_settings"),
    ("instructor", "read_audit"),
    ("assistant", "send_events"),
    ("assistant", "read_course"),
    ("assistant", "answer_help"),
    ("observer", "send_events"),
    ("observer", "read_course"),
    ("student", "send_events"),
}


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("role", [*Role, None, "owner", ""])
def test_nothing_but_the_table_is_allowed(role, permission):
    assert may(role, permission) == ((role, permission) in ALLOWED)


def test_students_are_no_staff():
    assert {"instructor", "assistant", "observer"} == STAFF_ROLES


def test_unknown_scope_is_refused_with_those_that_exist():
    assert parse_scopes(["test:write", "events:write", "test:write"]) == (Scope.EVENTS_WRITE, Scope.TEST_WRITE)
    with pytest.raises(ScopeError, match=r"'root'.*events:write.*admin"):
        parse_scopes(["events:write", "root"])


BY_ADMIN = {"read_course", "answer_help", "manage_members", "manage_settings", "read_audit"}
BY_SERVICE = {"read_course", "manage_members", "manage_settings", "read_audit"}


@pytest.mark.parametrize("permission", list(Permission))
def test_admins_and_services_may_what_the_documentation_says_and_no_more(permission):
    assert may_in_course(None, permission, admin=True, service=False) == (permission in BY_ADMIN)
    assert may_in_course("instructor", permission, admin=False, service=True) == (permission in BY_SERVICE)
    assert may_in_course(None, permission, admin=True, service=True) == (permission in BY_SERVICE)
    assert may_in_course("student", permission, admin=False, service=False) == (permission == "send_events")
    assert not may_in_course(None, permission, admin=False, service=False)


def test_of_several_roles_in_a_course_the_highest_counts_whatever_their_order():
    given = [("c1", Role.STUDENT), ("c2", Role.OBSERVER), ("c1", Role.ASSISTANT), ("c1", Role.OBSERVER)]
    for pairs in (given, given[::-1]):
        assert highest_by_course(pairs) == {"c1": Role.ASSISTANT, "c2": Role.OBSERVER}
    assert highest_by_course([]) == {}
