"""Hazard: what the operator's guide says about a course's settings cannot be done, or is done without a word of it."""

from __future__ import annotations

import json
from typing import Any

import pytest


def links(run: Any) -> list[dict[str, str]]:
    return [json.loads(line) for line in run("list-group-links", "physics-1", "--json").stdout.splitlines()]


def test_a_group_is_linked_once_and_its_link_removed(run: Any) -> None:
    for _ in range(2):
        assert run("link-group", "physics-1", "Physics staff", "instructor", "--issuer", "hub").exit_code == 0
    link = {"issuer": "hub", "group": "Physics staff", "role": "instructor", "course_id": "physics-1"}
    assert links(run) == [link]
    # Group names are compared byte for byte.
    missing = run("unlink-group", "physics-1", "physics staff", "instructor", "--issuer", "hub")
    assert missing.exit_code == 1
    assert "no such link" in missing.output
    assert run("unlink-group", "physics-1", "Physics staff", "instructor", "--issuer", "hub").exit_code == 0
    assert links(run) == []


def test_a_link_that_would_give_nothing_is_refused_where_the_issuers_are_known(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = "https://login.example.org"
    monkeypatch.setenv("CELL_MONITOR_API_OIDC_ISSUER", provider)
    monkeypatch.setenv("CELL_MONITOR_API_OIDC_GROUPS_CLAIM", "groups")
    monkeypatch.setenv("CELL_MONITOR_API_HUB_URL", "http://hub:8081/hub/api")
    student = run("link-group", "physics-1", "staff", "student", "--issuer", provider)
    assert student.exit_code == 1
    assert "link the group as instructor, assistant or observer" in " ".join(student.output.split())
    unknown = run("link-group", "physics-1", "staff", "observer", "--issuer", "hub")
    assert unknown.exit_code == 1
    assert f"name one of these: jupyterhub, {provider}" in " ".join(unknown.output.split())
    assert links(run) == []
    done = run("link-group", "physics-1", "staff", "observer", "--issuer", provider)
    assert done.exit_code == 0
    assert "Not checked" not in done.output


@pytest.mark.parametrize(("role", "of_students"), [("student", True), ("observer", False)])
def test_a_link_that_cannot_be_checked_is_made_with_a_warning(run: Any, role: str, of_students: bool) -> None:
    done = run("link-group", "physics-1", "staff", role, "--issuer", "hub")
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert "Not checked" in said
    assert ("add students with add-member" in said) is of_students


def test_a_ruling_source_decides_on_the_roles_that_count(run: Any) -> None:
    assert run("add-member", "physics-1", "sato").exit_code == 0
    done = run("set-ruling-source", "physics-1", "hub")
    assert done.exit_code == 0, done.output
    assert "what hub says counts" in done.output
    assert "the highest role that any source gives counts" in run("set-ruling-source", "physics-1", "none").output
    assert run("set-ruling-source", "physics-1", "join").exit_code == 2


@pytest.mark.parametrize("source", ["roster", "hub", "lti", "oidc"])
def test_each_source_but_the_join_code_can_be_made_the_ruling_one(run: Any, source: str) -> None:
    done = run("set-ruling-source", "physics-1", source)
    assert done.exit_code == 0, done.output
    assert f"what {source} says counts" in done.output
    entries = [json.loads(line) for line in run("audit", "--course", "physics-1", "--json").stdout.splitlines()]
    assert [entry["details"]["to"] for entry in entries if entry["action"] == "ruling_source_changed"] == [source]


def test_each_change_is_in_the_audit_log_as_the_operators(run: Any) -> None:
    run("rename-course", "physics-1", "Physics")
    run("set-thresholds", "physics-1", "--idle", "900")
    run("set-ruling-source", "physics-1", "roster")
    entries = [json.loads(line) for line in run("audit", "--course", "physics-1", "--json").stdout.splitlines()]
    acts = [entry["action"] for entry in entries]
    assert acts == ["ruling_source_changed", "thresholds_changed", "course_renamed", "course_created"]
    assert {entry["actor_kind"] for entry in entries} == {"operator"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("rename-course", "physics-2", "Physics"),
        ("set-ruling-source", "physics-2", "hub"),
        ("link-group", "physics-2", "staff", "student", "--issuer", "hub"),
        ("unlink-group", "physics-2", "staff", "student", "--issuer", "hub"),
        ("list-group-links", "physics-2"),
    ],
)
def test_a_course_that_is_not_there_is_named_with_the_way_to_add_it(run: Any, arguments: tuple[str, ...]) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "create-course physics-2" in refused.output
