"""Hazards: what an operator does is in no log, or under another's name; the printed log leaves out who and whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main


def run(*arguments: str) -> Result:
    result = CliRunner(env={"COLUMNS": "220"}).invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


def log(*options: str) -> list[dict[str, Any]]:
    """The entries that the command prints for programs, oldest first."""
    return [json.loads(line) for line in run("admin", "audit", "--json", *options).stdout.splitlines()][::-1]


def summary(entry: dict[str, Any]) -> tuple[str, str, str | None, str | None]:
    whom = entry["subject"]
    return entry["actor_kind"], entry["action"], None if whom is None else whom["username"], entry["course_id"]


@pytest.fixture
def site(api_rights: str) -> str:
    """Every command that changes something of people, courses or keys, with the rights of the API alone."""
    run("admin", "create-course", "physics-1", "Physics")
    run("admin", "add-member", "physics-1", "sato", "--role", "instructor", "--display-name", "佐藤 葵", "--site-admin")
    run("admin", "add-member", "physics-1", "tanaka")
    run("admin", "create-api-key", "lab 3", "--scope", "courses:read", "--person", "sato")
    run("admin", "revoke-api-key", log()[-1]["key_id"], "--yes")
    run("sign-in-link", "sato", "--url", "https://monitor.example.org")
    run("sign-in-link", "sato", "--url", "https://monitor.example.org", "--reset-password")
    run("admin", "remove-member", "physics-1", "sato", "--no-site-admin", "--yes")
    return api_rights


def test_what_an_operator_does_is_entered_as_theirs(site: str) -> None:
    found = log()
    assert [summary(entry) for entry in found] == [
        ("operator", "course_created", None, "physics-1"),
        ("operator", "member_added", "sato", "physics-1"),
        ("operator", "site_admin_granted", "sato", None),
        ("operator", "member_added", "tanaka", "physics-1"),
        ("operator", "api_key_created", "sato", None),
        ("operator", "api_key_revoked", "sato", None),
        ("operator", "sign_in_link_created", "sato", None),
        ("operator", "sign_in_link_ended", "sato", None),
        ("operator", "password_reset", "sato", None),
        ("operator", "sign_in_link_created", "sato", None),
        ("operator", "member_removed", "sato", "physics-1"),
        ("operator", "site_admin_revoked", "sato", None),
    ]
    times = [entry["acted_at"] for entry in found]
    assert times == sorted(times)


def test_the_log_is_printed_for_people_and_can_be_narrowed(site: str) -> None:
    printed = run("admin", "audit", "--course", "physics-1").stdout
    assert "4 entries" in printed
    for words in ("operator", "member_added", "tanaka", "source roster, to student", "from instructor"):
        assert words in printed
    ended = run("admin", "audit", "--action", "sign_in_link_ended").stdout
    assert all(words in ended for words in ("1 entr", "operator", "sato", "cause password_reset")), ended
    assert {entry["action"] for entry in log("--action", "member_added", "--action", "member_removed")} == {
        "member_added",
        "member_removed",
    }
    assert {summary(entry)[2] for entry in log("--person", "SATO")} == {"sato"}
    assert len(log("--limit", "3")) == 3
    assert log("--since", "2100-01-01") == []
    assert log("--until", "2020-01-01T09:00") == []
