"""Hazard: a check that passes because what it is there for was left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from cell_monitor_core.settings import CoreSettings
from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.left_out import REQUIRE_BROWSER, REQUIRE_INFLUXD, left_out

REPOSITORY = Path(__file__).parents[3]
SWITCHES = [REQUIRE_BROWSER, REQUIRE_INFLUXD]


@pytest.mark.parametrize("switch", SWITCHES)
def test_what_is_missing_is_left_out_at_home_and_fails_where_it_must_run(monkeypatch, switch):
    monkeypatch.delenv(switch, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such program"):
        left_out("no such program", switch=switch)
    monkeypatch.setenv(switch, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{switch}=1"):
        left_out("no such program", switch=switch)


def test_browser_tests_fail_without_a_browser_where_they_must_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(REQUIRE_BROWSER, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{REQUIRE_BROWSER}=1"), running_chromium():
        pass


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_whole_check_leaves_nothing_out_and_its_services_start(switch):
    assert f"export {switch}=1\n" in (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    assert CoreSettings.unknown_variables({switch: "1"}) == []
