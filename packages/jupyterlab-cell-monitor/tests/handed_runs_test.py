"""Hazard: what a page hands over is read as something else, costs events, or reaches the monitor, which refuses it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_cell_monitor.handed_runs import MAX_HANDED_RUNS, ServerCode, read_runs
from jupyterlab_cell_monitor.ingest_body import read_batch

GOLDEN = Path(__file__).parents[3] / "tests/contract/golden/handed_runs.json"


def golden() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return value


def test_the_runs_that_the_front_end_writes_are_read() -> None:
    first, second = read_runs(read_batch(GOLDEN.read_bytes()).runs)
    assert (first.execution_id, first.start_id, first.session_id, first.seq) == (
        "0b7d3a52-8a55-4a52-b0fb-0a5f6f0b6c11",
        "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0e",
        "6f1c4f0e-6f59-4f0e-9d5d-2d8f3a1b0c01",
        7,
    )
    assert first.shared["notebook"]["path"] == "week1.ipynb"
    assert (first.shared["cell"]["id"], first.shared["course"]) == ("cell-1", "intro")
    assert (first.kernel, first.error_expected) == ("3c9c4f4e-5a50-4b0c-8a6b-0f5b1b0a9f11", True)
    assert (first.requested_at, first.age_s) == (datetime(2026, 4, 1, 9, tzinfo=UTC), 1.5)
    assert (first.server_code, second.server_code) == (None, ServerCode("print('語')", 12))
    assert not second.error_expected


def test_the_monitor_gets_the_events_without_them() -> None:
    event = {"event_id": "e", "n": 1}
    body = json.dumps({**golden(), "sent_at": "2026-04-01T09:00:00.000Z", "waited_ms": [5], "events": [event]})
    batch = read_batch(body.encode())
    assert json.loads(batch.body) == {"sent_at": "2026-04-01T09:00:00.000Z", "waited_ms": [5], "events": [event]}
    assert (batch.events, batch.with_times, len(batch.runs)) == ([event], True, 2)
    plain = b'{"events":[]}'
    assert (read_batch(plain).body, read_batch(plain).runs) == (plain, None)


@pytest.mark.parametrize(
    "change",
    [
        {"execution_id": "X" * 36},
        {"start_id": None},
        {"session_id": 5},
        {"seq": "7"},
        {"seq": -1},
        {"seq": 2**31},
        {"notebook": "week1"},
        {"cell": None},
        {"course": {"name": "intro"}},
        {"requested_at": "2026-13-45T99:99:99Z"},
        {"server_code": "work()"},
        {"server_code": {"head": "x" * 300, "bytes": 300}},
        {"server_code": {"head": "x", "bytes": "1"}},
        {"notebook": {"path": "x" * 20_000}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_run_that_cannot_be_read_is_left_out_and_the_others_are_not(change: dict[str, Any]) -> None:
    good, other = golden()["runs"]
    assert [run.execution_id for run in read_runs([{**good, **change}, other])] == [other["execution_id"]]


@pytest.mark.parametrize("value", [None, {}, "runs", [None, 5, [], {}]])
def test_what_is_no_list_of_runs_is_none(value: Any) -> None:
    assert read_runs(value) == []


def test_no_more_runs_are_read_than_the_bound() -> None:
    good = golden()["runs"][0]
    assert len(read_runs([good] * (MAX_HANDED_RUNS + 50))) == MAX_HANDED_RUNS


def test_an_odd_age_is_none_and_an_odd_kernel_unknown() -> None:
    good = golden()["runs"][0]
    (run,) = read_runs([{**good, "age_ms": "long", "kernel": "k" * 200}])
    assert (run.age_s, run.kernel) == (0.0, None)
    (run,) = read_runs([{**good, "age_ms": -5}])
    assert run.age_s == 0.0
