"""Hazard: a command changes something and the audit log lacks it.

Each command is run below and its entries are read, or it stands in ``NO_ENTRY`` with the reason. A new command that is in
neither fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner

from cell_monitor.cli import main

NO_ENTRY: Final[Mapping[str, str]] = {
    "up": "its link is entered: tests/integration/up_test.py; else it changes nothing of people, courses or keys",
    "simulate": "sends as a program does, with an API key, whose use is entered",
    "rebuild": "derives again what is stored, and changes no event and no right",
    "status": "changes nothing",
    "admin audit": "changes nothing",
    "admin failed-events": "changes nothing",
    "admin join-code": "changes nothing",
    "admin list-api-keys": "changes nothing",
    "admin list-group-links": "changes nothing",
    "admin list-members": "changes nothing",
    "admin create-secrets": "makes files before there is a database",
    "admin prepare": "what it adds is entered as Cell Monitor's own act; a replaced password: instructor_password_test.py",
    "admin replay-failed-events": "is entered: failed_events_command_test.py",
}
"""Commands that are not run here, and why nobody misses an entry."""

HUB: Final = ("--issuer", "hub")
RUN: Final[tuple[tuple[tuple[str, ...], set[str]], ...]] = (
    (("admin", "create-course", "physics-2", "Physics"), {"course_created"}),
    (("admin", "rename-course", "physics-1", "Mechanics"), {"course_renamed"}),
    (("admin", "set-thresholds", "physics-1", "--idle", "900"), {"thresholds_changed"}),
    (("admin", "set-ruling-source", "physics-1", "roster"), {"ruling_source_changed"}),
    (("admin", "link-group", "physics-1", "staff", "assistant", *HUB), {"group_linked"}),
    (("admin", "unlink-group", "physics-1", "staff", "assistant", *HUB), {"group_unlinked"}),
    (("admin", "add-member", "physics-1", "sato", "--site-admin"), {"member_added", "site_admin_granted"}),
    (("admin", "open-joining", "physics-1"), {"joining_opened"}),
    (("admin", "close-joining", "physics-1"), {"joining_closed"}),
    (("admin", "create-api-key", "lab", "--scope", "courses:read"), {"api_key_created"}),
    (("admin", "revoke-api-key", "KEY", "--yes"), {"api_key_revoked"}),
    (("sign-in-link", "sato", "--url", "https://monitor.example.org"), {"sign_in_link_created"}),
    (("sign-in-link", "sato", "--url", "https://monitor.example.org", "--reset-password"),
     {"sign_in_link_created", "sign_in_link_ended", "password_reset"}),
    (("admin", "remove-member", "physics-1", "sato", "--no-site-admin", "--yes"), {"member_removed", "site_admin_revoked"}),
    (("admin", "rotate-keys"), {"encryption_key_rotated"}),
)  # fmt: skip
"""The commands and their entries; ``KEY`` is the id of the key that was made."""


def commands() -> set[str]:
    """Return all commands of ``cell-monitor`` by their words."""
    found = set()
    for name, command in main.commands.items():
        inner = command.commands if isinstance(command, click.Group) else None
        found |= {name} if inner is None else {f"{name} {each}" for each in inner}
    return found


@pytest.mark.usefixtures("run")
def test_every_command_that_changes_something_is_entered_as_the_operators_or_excused_by_name() -> None:
    seen: set[str] = set()
    done: set[str] = set()

    def run(*arguments: str) -> str:
        result = CliRunner(env={"COLUMNS": "220"}).invoke(main, arguments)
        assert result.exit_code == 0, (arguments, result.output)
        return result.stdout

    def new_entries() -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in run("admin", "audit", "--json").splitlines()]
        new = [entry for entry in entries if entry["entry_id"] not in seen]
        seen.update(entry["entry_id"] for entry in new)
        return new

    new_entries()
    key_id = ""
    for arguments, expected in RUN:
        run(*(key_id if word == "KEY" else word for word in arguments))
        entries = new_entries()
        assert {entry["action"] for entry in entries} == expected, arguments
        assert {entry["actor_kind"] for entry in entries} == {"operator"}, arguments
        key_id = next((entry["key_id"] for entry in entries if entry["key_id"]), key_id)
        done.add(" ".join(arguments[: 2 if arguments[0] == "admin" else 1]))
    assert commands() - done - set(NO_ENTRY) == set(), "commands without a run or an excuse"
    assert set(NO_ENTRY) <= commands() - done, "excuses without a command"
