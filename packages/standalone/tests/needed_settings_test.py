"""Hazard: a command asks for settings that it does not use, or begins a change without one that it does."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main

DATABASE = {"DATABASE_URL"}
KEYRING = DATABASE | {"ENCRYPTION_KEYS"}
KEYS = KEYRING | {"INDEX_KEY"}
ALL = KEYS | {"REDIS_URL"}

NEEDED = {
    ("list-members", "physics-1"): KEYRING,
    ("create-course", "physics-2", "Physics 2"): DATABASE,
    ("rename-course", "physics-1", "Physics"): DATABASE,
    ("set-thresholds", "physics-1", "--idle", "900"): DATABASE,
    ("link-group", "physics-1", "staff", "student", "--issuer", "hub"): DATABASE,
    ("list-group-links", "physics-1"): DATABASE,
    ("open-joining", "physics-1"): DATABASE | {"INDEX_KEY"},
    ("close-joining", "physics-1"): DATABASE | {"INDEX_KEY"},
    ("join-code", "physics-1", "--json"): DATABASE | {"INDEX_KEY"},
    ("list-api-keys",): KEYS,
    ("failed-events",): KEYRING,
    ("set-ruling-source", "physics-1", "hub"): DATABASE | {"REDIS_URL"},
    ("add-member", "physics-1", "sato"): ALL,
    ("remove-member", "physics-1", "sato", "--yes"): ALL,
}


@pytest.fixture
def with_settings(run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command where only some settings are set."""
    assert run("add-member", "physics-1", "sato").exit_code == 0

    def command(arguments: tuple[str, ...], names: set[str]) -> Result:
        with monkeypatch.context() as patch:
            for name in ALL - names:
                patch.delenv(f"CELL_MONITOR_{name}")
            return CliRunner().invoke(main, ["admin", *arguments])

    return command


@pytest.mark.parametrize("arguments", NEEDED, ids=lambda arguments: arguments[0])
def test_a_command_needs_the_settings_that_it_uses_and_names_each_other_one(
    with_settings: Any, arguments: tuple[str, ...]
) -> None:
    needed = NEEDED[arguments]
    for missing in sorted(needed - DATABASE):
        refused = with_settings(arguments, needed - {missing})
        assert refused.exit_code == 2, refused.output
        assert f"CELL_MONITOR_{missing}" in refused.output
        assert "Field required" not in refused.output
    done = with_settings(arguments, needed)
    assert done.exit_code == 0, done.output


def test_a_change_that_open_pages_must_see_is_not_begun_without_redis(with_settings: Any, run: Any) -> None:
    refused = with_settings(("add-member", "physics-1", "tanaka"), KEYS)
    assert (refused.exit_code, "CELL_MONITOR_REDIS_URL" in refused.output) == (2, True)
    assert "tanaka" not in run("list-members", "physics-1").output
