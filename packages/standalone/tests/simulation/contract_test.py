"""Hazard: the simulated class sends what the extension never would, and figures and tests rest on it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import referencing
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from cell_monitor.simulation import behaviour, classroom
from cell_monitor.simulation.behaviour import Step, plan_student
from cell_monitor.simulation.classroom import EventWriter
from cell_monitor.simulation.notebook import CELLS
from cell_monitor_core.events.types import EVENT_TYPES
from cell_monitor_testing.generation.schemas import load_schemas

EXTENSION = Path(__file__).parents[3] / "jupyterlab-cell-monitor/src"
SCHEMAS = load_schemas()
REGISTRY = referencing.Registry().with_resources(
    [(name, referencing.Resource.from_contents(schema)) for name, schema in SCHEMAS.items()]
)
VALIDATORS = {
    name: Draft202012Validator(SCHEMAS[f"{name}.yaml"], registry=REGISTRY, format_checker=FormatChecker())
    for name in EVENT_TYPES
}
Event = dict[str, Any]
Timed = list[tuple[float, Event]]

seeds = st.text(max_size=8)
minutes = st.floats(0.3, 60)


def played(seed: str, length: float) -> Timed:
    """Return the events of one student with their planned times."""
    writer = EventWriter("intro-python", Random(seed))
    return [(step.at, event) for step in plan_student(seed, minutes=length) if (event := writer.write(step))]


def of_type(events: Timed, *names: str) -> Iterator[tuple[float, Event]]:
    return ((at, event) for at, event in events if event["type"] in names)


@given(seeds, minutes)
@settings(max_examples=30)
def test_every_event_is_as_its_schema_says(seed: str, length: float) -> None:
    for _, event in played(seed, length):
        errors = [error.message for error in VALIDATORS[event["type"]].iter_errors(event)]
        assert errors == [], event
        assert event["schema_version"] == EVENT_TYPES[event["type"]].version


@given(seeds, minutes)
def test_a_session_is_numbered_without_gaps_from_its_begin_to_its_end(seed: str, length: float) -> None:
    events = [event for _, event in played(seed, length)]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["session_id"] for event in events}) == 1
    types = [event["type"] for event in events]
    assert types[:2] == ["session_started", "notebook_opened"]
    assert types[-2:] == ["notebook_closed", "session_ended"]
    assert (types.count("session_started"), types.count("session_ended")) == (1, 1)


@given(seeds, minutes)
def test_an_interrupted_run_is_aborted_and_no_error(seed: str, length: float) -> None:
    for _, event in of_type(played(seed, length), "cell_executed"):
        name = event["data"].get("error", {}).get("name")
        if name == "KeyboardInterrupt":
            assert event["data"]["status"] == "aborted"
        assert (event["data"]["status"] == "error") == (name is not None and name != "KeyboardInterrupt")


@given(seeds, minutes)
def test_every_run_has_one_start_and_one_end_and_says_when_it_started(seed: str, length: float) -> None:
    started: dict[str, Event] = {}
    for _, event in of_type(played(seed, length), "cell_execution_started", "cell_executed"):
        run = event["data"]["execution_id"]
        if event["type"] == "cell_execution_started":
            assert run not in started
            started[run] = event
        else:
            start = started[run]
            assert start != {}
            assert event["data"]["started_at"] == start["occurred_at"]
            assert event["cell"] == start["cell"]
            started[run] = {}
    assert not any(started.values()), "a run without an end"


@given(seeds, minutes)
def test_edits_selections_and_heartbeats_come_as_often_as_the_extension_sends_them(seed: str, length: float) -> None:
    events = played(seed, length)
    edits: dict[str, float] = {}
    for at, event in of_type(events, "cell_edited"):
        cell = event["cell"]["id"]
        assert at - edits.get(cell, -9.0) >= behaviour.EDIT_PERIOD_S - 1e-6
        edits[cell] = at
        assert event["data"].get("pasted_length", 1) > 0
    selected = [event["cell"]["id"] for _, event in of_type(events, "cell_selected")]
    assert all(one != other for one, other in itertools.pairwise(selected))
    heartbeats = list(of_type(events, "heartbeat"))
    for (before, _), (at, event) in itertools.pairwise(heartbeats):
        if not event["data"]["visible"]:
            assert at - before >= behaviour.HEARTBEAT_S - 1e-6
        assert at - before <= behaviour.HIDDEN_HEARTBEAT_S + behaviour.HEARTBEAT_S
    assert all("cell" not in event for _, event in heartbeats)


@given(seeds, minutes)
def test_a_help_request_is_cancelled_by_its_own_id_and_never_twice(seed: str, length: float) -> None:
    open_requests: set[str] = set()
    for _, event in of_type(played(seed, length), "help_requested", "help_cancelled"):
        if event["type"] == "help_requested":
            open_requests.add(event["event_id"])
        else:
            open_requests.remove(event["data"]["request_id"])


@given(seeds, minutes)
def test_events_of_the_whole_notebook_name_no_cell_and_all_others_one_of_the_outline(seed: str, length: float) -> None:
    whole = {
        "session_started", "notebook_opened", "notebook_saved", "notebook_closed", "session_ended", "kernel_restarted",
        "heartbeat",
    }  # fmt: skip
    for _, event in played(seed, length):
        assert event["notebook"]["id"] == "intro-python-first-steps"
        assert ("cell" in event) == (event["type"] not in whole), event["type"]
        if "cell" in event:
            assert event["cell"] == CELLS[event["cell"]["id"]]


def test_the_outline_names_every_cell_with_the_heading_above_it() -> None:
    [opened] = [event for _, event in of_type(played("outline", 1), "notebook_opened")]
    outline = opened["data"]["cells"]
    assert [cell["index"] for cell in outline] == list(range(16))
    assert [cell["type"] for cell in outline[:3]] == ["markdown", "markdown", "code"]
    assert [cell.get("ordinal") for cell in outline[:5]] == [None, None, 1, None, 1]
    assert [cell["heading"] for cell in outline[:4]] == [
        "First steps in Python", "1. Say hello", "1. Say hello", "2. Numbers and text",
    ]  # fmt: skip


def test_a_class_that_is_interrupted_ends_its_sessions_and_runs() -> None:
    writer = EventWriter("intro-python", Random(0))
    assert list(writer.close()) == []
    plan = plan_student("interrupted", minutes=5)
    for step in plan:
        writer.write(step)
        if step.type == "cell_execution_started":
            break
    events = [writer.write(step) for step in writer.close()]
    assert [event and event["type"] for event in events] == ["cell_executed", "notebook_closed", "session_ended"]
    assert events[0] is not None
    assert events[0]["data"]["status"] == "aborted"
    assert [*VALIDATORS["cell_executed"].iter_errors(events[0])] == []
    assert list(writer.close()) == []


def milliseconds(file: str, name: str) -> float:
    """Read a constant of the extension, in seconds."""
    found = re.search(rf"\b{name} = ([\d_]+)", (EXTENSION / file).read_text(encoding="utf-8"))
    assert found is not None, f"{file} has no {name}"
    return int(found[1].replace("_", "")) / 1000


@pytest.mark.parametrize(
    ("file", "name", "own"),
    [
        ("capture/heartbeat.ts", "HEARTBEAT_MS", behaviour.HEARTBEAT_S),
        ("capture/heartbeat.ts", "HIDDEN_HEARTBEAT_MS", behaviour.HIDDEN_HEARTBEAT_S),
        ("capture/edits.ts", "EDIT_PERIOD_MS", behaviour.EDIT_PERIOD_S),
        ("capture/edits.ts", "SELECT_DELAY_MS", behaviour.SELECT_DELAY_S),
        ("queue/queue.ts", "LINGER_MS", classroom.LINGER_S),
        ("queue/queue.ts", "BATCH_DELAY_MS", classroom.BATCH_DELAY_S),
    ],
)
def test_periods_are_those_of_the_extension(file: str, name: str, own: float) -> None:
    assert own == milliseconds(file, name)


def test_steps_of_the_simulator_itself_are_no_events() -> None:
    types = {step.type for number in range(30) for step in plan_student(f"t/{number}", minutes=5)}
    assert types <= EVENT_TYPES.keys()
    assert isinstance(Step(0, "heartbeat").data, dict)
