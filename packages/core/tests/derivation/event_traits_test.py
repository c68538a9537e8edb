"""Hazard: what happens by itself, or where a student no longer is, is shown as what the student does and where."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from cell_monitor_core.derivation.facts import Fact, decode_fact, encode_fact, read_event, rfc3339
from cell_monitor_core.derivation.records import fold_all
from cell_monitor_core.derivation.shown_state import student_state
from cell_monitor_core.publications import CellRef, NotebookRef, StudentState

CELL = CellRef("c1", 4, "code", None)
RUN = str(uuid.UUID(int=5))
REQUEST_ID = "00000000-0000-7000-8000-000000000009"
DATA: dict[str, dict[str, Any]] = {
    "session_started": {"client": {"extension_version": "0"}},
    "session_ended": {"reason": "closed"},
    "notebook_opened": {"cells": []},
    "heartbeat": {"queued": 0, "dropped": 0, "visible": True},
    "cell_edited": {"length": 3},
    "cell_added": {"count": 1},
    "cell_removed": {"count": 1},
    "cell_execution_started": {"execution_id": RUN},
    "cell_executed": {"execution_id": RUN, "status": "ok", "code": "", "outputs": []},
}


def fact_of(kind: str, *, version: int = 1, at: int = 2000, **data: Any) -> Fact:
    """The fact of an event in the second notebook, as the store reads it back."""
    event = {
        "event_id": "00000000-0000-7000-8000-000000000002",
        "type": kind,
        "schema_version": version,
        "occurred_at": "1970-01-01T00:00:02.000Z",
        "session_id": str(uuid.UUID(int=2)),
        "seq": 1,
        "notebook": {"id": "n2", "path": "n2"},
        "cell": {"id": "c2", "source_id": "c2", "index": 0, "type": "code"},
        "data": {**DATA.get(kind, {}), **data},
    }
    return decode_fact(encode_fact(read_event(json.dumps(event).encode(), at).fact))


def after(fact: Fact) -> StudentState:
    """What is shown of a student who selected a cell of one notebook, after a fact of another one."""
    selected = Fact(
        1000, "00000000-0000-7000-8000-000000000001", "cell_selected", "s1", 1, NotebookRef("n1", "n1"), CELL
    )
    states = [student_state("s", 1, fold_all(facts).fold) for facts in ([selected, fact], [fact, selected])]
    assert states[0] == states[1]
    return states[0]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("heartbeat", {}),
        ("kernel_connected", {}),
        ("session_ended", {}),
        ("notebook_closed", {}),
        ("notebook_renamed", {}),
        ("session_started", {}),
        ("notebook_opened", {"restored": True}),
        ("notebook_saved", {"manual": False}),
        ("cell_execution_started", {"queued": True}),
        ("cell_executed", {}),
        ("cell_added", {"own": False}),
        # One that is made in JupyterLab is selected as well; one that an undo puts back is not.
        ("cell_added", {}),
        ("cell_added", {"source_ids": ["c2"]}),
        ("cell_removed", {"own": False}),
        # The cell is gone; the one that is active after it is selected.
        ("cell_removed", {"own": True}),
        ("kernel_restarted", {"reason": "auto"}),
        ("kernel_died", {}),
        # It names the notebook of the request, wherever it is taken back.
        ("help_cancelled", {"request_id": REQUEST_ID}),
    ],
)
def test_a_notebook_that_is_left_or_that_a_program_changed_is_not_where_the_student_is(
    kind: str, data: dict[str, Any]
) -> None:
    shown = after(fact_of(kind, **data))
    assert shown.notebook is not None
    assert (shown.notebook.id, shown.cell) == ("n1", CELL)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("notebook_opened", {}),
        ("notebook_opened", {"restored": False}),
        ("notebook_saved", {"manual": True}),
        # A sender that does not say who saved it: of two faults, the student who seems to be absent is the worse one.
        ("notebook_saved", {}),
        ("cell_selected", {}),
        ("cell_execution_started", {}),
        ("kernel_restarted", {"reason": "user"}),
        ("help_requested", {}),
    ],
)
def test_what_the_student_does_is_where_the_student_is(kind: str, data: dict[str, Any]) -> None:
    shown = after(fact_of(kind, **data))
    assert shown.notebook is not None
    assert shown.cell is not None
    assert (shown.notebook.id, shown.cell.source_id) == ("n2", "c2")
    assert shown.last_activity_at == rfc3339(2000)


@pytest.mark.parametrize(("at", "notebook_id"), [(1001, "n1"), (2999, "n1"), (3001, "n2")])
def test_an_edit_that_an_early_release_reports_after_a_later_act_does_not_bring_the_student_back(
    at: int, notebook_id: str
) -> None:
    # It is reported two seconds after it began. The cell of another notebook was selected at 1000.
    edited = fact_of("cell_edited", at=at)
    shown = after(edited)
    assert shown.notebook is not None
    assert shown.notebook.id == notebook_id
    assert shown.last_activity_at == rfc3339(at)
    # Without any other act it says where the student is.
    alone = student_state("s", 1, fold_all([edited]).fold)
    assert alone.cell is not None
    assert alone.cell.source_id == "c2"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("heartbeat", {}),
        ("kernel_connected", {}),
        ("cell_moved", {}),
        ("kernel_died", {}),
        ("notebook_saved", {"manual": False}),
        ("notebook_opened", {"restored": True}),
        ("cell_execution_started", {"queued": True}),
        ("cell_added", {"own": False}),
    ],
)
def test_what_comes_by_itself_or_is_not_known_is_no_activity(kind: str, data: dict[str, Any]) -> None:
    assert after(fact_of(kind, **data)).last_activity_at == rfc3339(1000)


@pytest.mark.parametrize("kind", ["cell_executed", "session_started"])
def test_the_end_of_a_wait_and_a_page_that_opens_are_activity(kind: str) -> None:
    assert after(fact_of(kind)).last_activity_at == rfc3339(2000)


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        ("cell_executed", True),
        ("session_started", True),
        ("kernel_died", True),
        ("notebook_saved", True),
        ("notebook_opened", True),
        ("notebook_closed", False),
        ("heartbeat", False),
    ],
)
def test_a_fact_of_the_first_releases_keeps_the_state_that_was_derived_from_it(kind: str, *, moves: bool) -> None:
    # As these releases stored it: without a word about the place.
    stored = decode_fact(
        json.dumps(
            {
                "at": 2000,
                "id": "00000000-0000-7000-8000-000000000002",
                "type": kind,
                "session": "s2",
                "seq": 1,
                "notebook": {"id": "n2", "path": "n2"},
                "cell": {"source_id": "c2", "index": 0, "type": "code"},
            }
        )
    )
    shown = after(stored)
    assert shown.notebook is not None
    assert (shown.notebook.id == "n2") is moves
    assert (shown.last_activity_at == rfc3339(2000)) is (kind != "heartbeat")
