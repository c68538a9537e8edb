"""Hazards: a code that lets nobody in, one that goes on after it was closed, an act that nobody can see later."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner, Result

from cell_monitor.cli import main
from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.storage.postgres import join_codes
from cell_monitor_core.storage.postgres.pool import connect


def admin(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["admin", *arguments])


def done(*arguments: str) -> Result:
    result = admin(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def database_with_course(api_rights: str) -> str:
    done("create-course", "physics-1", "Physics")
    return api_rights


def course_that_opens(database: str, code: str) -> str | None:
    """Return the course that somebody who types a code gets into."""

    async def run() -> str | None:
        connection = await connect(database, application_name="test")
        try:
            typed = join_codes.normalized(code)
            assert typed is not None
            async with connection.transaction():
                found = await join_codes.course_of(connection, BlindIndex.from_settings(CoreSettings.load()), typed)
        finally:
            await connection.close()
        return None if found is None else found[0]

    return asyncio.run(run())


def test_a_code_lets_students_in_until_it_is_renewed_or_closed(database_with_course: str) -> None:
    first = done("open-joining", "physics-1", "--minutes", "90").stdout.strip()
    assert course_that_opens(database_with_course, first) == "physics-1"
    shown = done("join-code", "physics-1")
    assert shown.stdout.strip() == first
    assert "0 joined by it" in shown.stderr
    second = done("open-joining", "physics-1").stdout.strip()
    assert course_that_opens(database_with_course, first) is None
    assert json.loads(done("join-code", "physics-1", "--json").stdout)["code"] == second
    done("close-joining", "physics-1")
    assert course_that_opens(database_with_course, second) is None
    assert "was closed before" in done("close-joining", "physics-1").stderr
    assert json.loads(done("join-code", "physics-1", "--json").stdout)["code"] is None
    closed = admin("join-code", "physics-1")
    assert (closed.exit_code, "admin open-joining physics-1" in closed.stderr) == (1, True)


def test_opening_and_closing_are_in_the_audit_log_once_each(database_with_course: str) -> None:
    done("open-joining", "physics-1", "--minutes", "90")
    done("close-joining", "physics-1")
    done("close-joining", "physics-1")
    lines = done("audit", "--course", "physics-1", "--json").stdout.splitlines()
    entries = [(entry["action"], entry["actor_kind"], entry["details"]) for entry in map(json.loads, lines)]
    assert entries[:2] == [("joining_closed", "operator", {}), ("joining_opened", "operator", {"minutes": 90})]
    assert [action for action, _, _ in entries].count("joining_closed") == 1


@pytest.mark.parametrize("minutes", ["0", "-1", "1441"])
def test_a_code_lives_a_day_at_most(database_with_course: str, minutes: str) -> None:
    assert admin("open-joining", "physics-1", "--minutes", minutes).exit_code == 2
    assert json.loads(done("join-code", "physics-1", "--json").stdout)["code"] is None


@pytest.mark.parametrize("command", ["open-joining", "close-joining", "join-code"])
def test_a_course_that_is_not_there_is_named_with_how_to_create_it(database_with_course: str, command: str) -> None:
    refused = admin(command, "physics-9")
    assert refused.exit_code == 1
    assert "There is no course 'physics-9'" in refused.stderr
    assert "admin create-course physics-9" in refused.stderr
