"""Hazard: what happens by itself, or where a student no longer is, is shown as what the student does and where."""

from __future__ import annotations

import pytest

from cell_monitor_core.derivation.facts import Fact, rfc3339
from cell_monitor_core.derivation.records import fold_all
from cell_monitor_core.derivation.students import student_state
from cell_monitor_core.publications import CellRef, NotebookRef, StudentState

CELL = CellRef("c1", 4, "code", None)


def after(kind: str) -> StudentState:
    """What is shown of a student who selected a cell of one notebook, after an event of another one."""
    selected = Fact(
        1000, "00000000-0000-7000-8000-000000000001", "cell_selected", "s1", 1, NotebookRef("n1", "n1"), CELL
    )
    event = Fact(
        2000,
        "00000000-0000-7000-8000-000000000002",
        kind,
        "s2",
        1,
        NotebookRef("n2", "n2"),
        CellRef("c2", 0, "code", None),
    )
    return student_state("s", 1, fold_all([selected, event]).fold)


@pytest.mark.parametrize("kind", ["heartbeat", "session_ended", "notebook_closed"])
def test_a_notebook_that_is_left_or_only_open_is_not_where_the_student_is(kind: str) -> None:
    shown = after(kind)
    assert shown.notebook is not None
    assert (shown.notebook.id, shown.cell) == ("n1", CELL)


@pytest.mark.parametrize("kind", ["notebook_opened", "cell_edited", "cell_added", "cell_removed", "help_requested"])
def test_what_the_student_does_is_where_the_student_is(kind: str) -> None:
    shown = after(kind)
    assert shown.notebook is not None
    assert shown.cell is not None
    assert (shown.notebook.id, shown.cell.source_id) == ("n2", "c2")
    assert shown.last_activity_at == rfc3339(2000)


@pytest.mark.parametrize("kind", ["heartbeat", "cell_moved@1", "cell_moved!1"])
def test_what_comes_by_itself_or_is_not_known_is_no_activity(kind: str) -> None:
    assert after(kind).last_activity_at == rfc3339(1000)
