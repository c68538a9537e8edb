"""Hazard: a course has thresholds that nobody can change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.storage.postgres import courses
from cell_monitor_core.storage.postgres.pool import connect


def stored(database: str) -> Thresholds:
    async def work() -> Thresholds:
        connection = await connect(database, application_name="test")
        try:
            course = await courses.get(connection, "physics-1")
        finally:
            await connection.close()
        assert course is not None
        return course.thresholds

    return asyncio.run(work())


def test_given_thresholds_are_set_and_the_others_are_unchanged(run: Any, database: str) -> None:
    assert run("set-thresholds", "physics-1", "--idle", "900").exit_code == 0
    done = run("set-thresholds", "physics-1", "--stuck-errors", "5")
    assert done.exit_code == 0, done.output
    assert stored(database) == Thresholds(stuck_errors=5, idle_s=900)
    assert "stuck after 5 failed runs" in done.output
    assert "quiet after 900 s" in done.output


def test_defaults_can_be_restored(run: Any, database: str) -> None:
    run("set-thresholds", "physics-1", "--idle", "900", "--long-run", "60")
    assert run("set-thresholds", "physics-1", "--defaults", "--long-run", "90").exit_code == 0
    assert stored(database) == Thresholds(long_run_s=90)


def test_without_options_nothing_changes(run: Any, database: str) -> None:
    assert "long after 180 s" in run("set-thresholds", "physics-1").output
    assert stored(database) == Thresholds()


def test_unknown_course_is_refused_with_the_command_that_creates_it(run: Any) -> None:
    done = run("set-thresholds", "chemistry", "--idle", "900")
    assert done.exit_code == 1
    assert "admin create-course chemistry TITLE" in " ".join(done.output.split())


@pytest.mark.parametrize("arguments", [("--offline", "59"), ("--stuck-errors", "0"), ("--idle", "100000")])
def test_thresholds_out_of_range_are_refused(run: Any, database: str, arguments: tuple[str, str]) -> None:
    assert run("set-thresholds", "physics-1", *arguments).exit_code == 2
    assert stored(database) == Thresholds()
