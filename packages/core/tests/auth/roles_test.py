"""Hazard: a role may do more than the table of the documentation says."""

import pytest

from cell_monitor_core.auth.roles import STAFF_ROLES, Permission, Role, may
from cell_monitor_core.auth.scopes import Scope, ScopeError, parse_scopes

ALLOWED = {
    ("instructor", "send_events"),
    ("instructor", "read_course"),
    ("instructor", "answer_help"),
    ("instructor", "manage_members"),
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
