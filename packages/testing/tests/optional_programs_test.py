"""Hazard: CI passes because the tests that it must run were skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from cell_monitor_core.settings import CoreSettings
from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.optional_programs import (
    REQUIRE_BROWSER,
    REQUIRE_INFLUXD,
    REQUIRE_PGBOUNCER,
    REQUIRE_ROOT,
    REQUIRE_STORES,
    skip_or_fail,
)

REPOSITORY = Path(__file__).parents[3]
SWITCHES = [REQUIRE_BROWSER, REQUIRE_INFLUXD, REQUIRE_PGBOUNCER, REQUIRE_ROOT, REQUIRE_STORES]


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_missing_program_skips_the_test_or_fails_it_if_required(monkeypatch, switch):
    monkeypatch.delenv(switch, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such program"):
        skip_or_fail("no such program", switch=switch)
    monkeypatch.setenv(switch, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{switch}=1"):
        skip_or_fail("no such program", switch=switch)


def test_browser_tests_fail_without_a_browser_if_required(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(REQUIRE_BROWSER, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{REQUIRE_BROWSER}=1"), running_chromium():
        pass


@pytest.mark.parametrize("switch", SWITCHES)
def test_ci_requires_all_programs_and_services_accept_the_variables(switch):
    assert f"export {switch}=1\n" in (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    assert CoreSettings.unknown_variables({switch: "1"}) == []
