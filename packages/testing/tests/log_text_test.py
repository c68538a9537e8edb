"""Hazard: a test of a log passes although the secret is in it, or although it read nothing."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest

from cell_monitor_testing.log_text import assert_not_written, event_names

SECRET = 'a "b"+ü/c'


@pytest.mark.parametrize(
    "written",
    [SECRET, json.dumps(SECRET), json.dumps(SECRET, ensure_ascii=False), quote(SECRET), urlencode({"x": SECRET})],
)
def test_a_secret_is_found_in_each_form(written: str) -> None:
    with pytest.raises(AssertionError, match="the log has"):
        assert_not_written(f"before {written} after", "another", SECRET)


@pytest.mark.parametrize(("log", "secret"), [("", SECRET), (" \n", SECRET), ("started", "")])
def test_a_check_that_could_not_fail_is_refused(log: str, secret: str) -> None:
    with pytest.raises(AssertionError, match="empty"):
        assert_not_written(log, secret)


def test_entries_are_named_without_the_half_of_one() -> None:
    log = 'Traceback\n{"event": "started"}\n{"event": "stopping"}\n{"event": "st'
    assert event_names(log) == ["started", "stopping"]
    assert_not_written(log, SECRET)
