"""Hazard: an event fails with a reason of which neither the operators' page nor the dashboard says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cell_monitor_core.events.reasons import FAILURE_REASONS

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/operations/failed-events.md").read_text(encoding="utf-8")


def test_the_page_for_operators_explains_exactly_the_reasons_that_there_are():
    table = PAGE.split("## What each reason means")[1].split("Then replay.")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first))) == sorted(FAILURE_REASONS)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_dashboard_explains_exactly_the_reasons_that_there_are(language):
    texts = json.loads((REPOSITORY / f"dashboard/src/i18n/{language}.json").read_text(encoding="utf-8"))["failedEvents"]
    for part in ("reason", "what", "first"):
        assert set(texts[part]) == {*FAILURE_REASONS, "other"}
