"""Hazards: a run that goes on is not shown, one that has ended is, or one is shown with the cell or time of another."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_monitor_core.derivation.facts import Fact, fact_key
from cell_monitor_core.derivation.open_runs import SILENT_MS
from cell_monitor_core.derivation.records import fold_all
from cell_monitor_core.derivation.shown_state import student_state
from cell_monitor_core.publications import CellRef, NotebookRef, StudentState
from cell_monitor_testing.memory_facts import MemoryFacts

MINUTE = 60_000
DAY = 24 * 60 * MINUTE


def fact(
    minute: float, kind: str, notebook: str = "n1", *, cell: str | None = None, session: str | None = None,
    execution: str | None = None, ends_runs: bool = True,
) -> Fact:  # fmt: skip
    at = round(minute * MINUTE)
    return Fact(
        at, f"{at:08x}-0000-7000-8000-{notebook:0>12}", kind, session or f"session of {notebook}", at,
        NotebookRef(notebook, f"{notebook}.ipynb"), None if cell is None else CellRef(cell, 0), execution,
        status="ok" if kind == "cell_executed" else None, occurred=at, ends_runs=ends_runs,
    )  # fmt: skip


def start(minute: float, notebook: str = "n1", cell: str = "a", *, session: str | None = None) -> Fact:
    return fact(minute, "cell_execution_started", notebook, cell=cell, execution=f"{notebook}{cell}", session=session)


def end(minute: float, notebook: str = "n1", cell: str = "a", *, session: str | None = None) -> Fact:
    return fact(minute, "cell_executed", notebook, cell=cell, execution=f"{notebook}{cell}", session=session)


def shown(*facts: Fact) -> StudentState:
    return student_state("x", 1, fold_all(facts).fold)


def running(state: StudentState) -> tuple[str, str, str] | None:
    """Return the notebook, the cell and the minute that the row names of the run that goes on."""
    if state.status != "running":
        assert (state.running_since, state.running_notebook, state.running_cell) == (None, None, None)
        return None
    assert state.running_since is not None
    assert state.running_notebook is not None
    assert state.running_cell is not None
    return state.running_notebook.id, state.running_cell.source_id, state.running_since[11:16]


def test_a_run_goes_on_while_runs_of_another_notebook_start_and_end() -> None:
    long_run = start(1, "n1", "train")
    assert running(shown(long_run, start(2, "n2"))) == ("n1", "train", "00:01")
    after = shown(long_run, start(2, "n2"), end(3, "n2"))
    assert running(after) == ("n1", "train", "00:01")
    assert after.last_execution is not None
    assert (after.last_execution.notebook_id, after.notebook) == ("n2", NotebookRef("n2", "n2.ipynb"))
    assert running(shown(long_run, start(2, "n2"), end(3, "n2"), end(4, "n1", "train"))) is None


def test_a_run_that_began_later_is_shown_once_the_earlier_one_ended() -> None:
    assert running(shown(start(1, "n1"), start(2, "n2", "b"), end(3, "n1"))) == ("n2", "b", "00:02")


@pytest.mark.parametrize("kind", ["kernel_died", "kernel_restarted", "kernel_connected"])
def test_a_kernel_that_is_gone_ends_the_run_of_its_notebook_alone(kind: str) -> None:
    both = (start(1, "n1"), start(2, "n2", "b"))
    assert running(shown(*both, fact(3, kind, "n1"))) == ("n2", "b", "00:02")
    assert running(shown(*both, fact(3, kind, "n2"))) == ("n1", "a", "00:01")


def test_a_session_of_an_older_sender_that_ends_takes_its_own_runs_along() -> None:
    """Two tabs, two browsers: what one of them ends says nothing of the other's runs."""
    both = (start(1, "n1", session="tab 1"), start(2, "n2", "b", session="tab 2"))
    assert running(shown(*both, fact(3, "session_ended", "n1", session="tab 1"))) == ("n2", "b", "00:02")
    assert running(shown(*both, fact(3, "session_ended", "n2", session="tab 2"))) == ("n1", "a", "00:01")


def test_a_run_whose_end_will_be_reported_goes_on_after_its_tab_was_closed() -> None:
    closed = fact(2, "session_ended", "n1", ends_runs=False)
    assert running(shown(start(1), closed, start(3, "n2"), end(4, "n2"))) == ("n1", "a", "00:01")


def test_a_run_of_which_nothing_was_received_for_a_day_of_the_students_is_over() -> None:
    """A computer that crashed, or a server that was removed, never reports the end."""
    assert running(shown(start(1), fact(1 + SILENT_MS / MINUTE, "cell_edited", "n2"))) == ("n1", "a", "00:01")
    assert running(shown(start(1), fact(2 + SILENT_MS / MINUTE, "cell_edited", "n2"))) is None
    beat = fact(SILENT_MS / MINUTE, "heartbeat", "n1")
    assert running(shown(start(1), beat, fact(2 + SILENT_MS / MINUTE, "cell_edited", "n2"))) == ("n1", "a", "00:01")


def test_runs_of_many_notebooks_and_sessions_stay_bounded_and_the_oldest_are_left_out_in_any_order() -> None:
    facts = [start(n, f"n{n}", session=f"s{n}") for n in range(1, 60)]
    facts += [fact(100 + n, "session_ended", f"n{n}", session=f"s{n}") for n in range(1, 59)]
    facts += [fact(200 + n, "kernel_connected", f"m{n}") for n in range(1, 20)]
    expected = fold_all(facts)
    backwards = MemoryFacts()
    for each in reversed(facts):
        backwards.apply([each])
    assert backwards.record.fold == expected.fold
    assert expected.fold.open_runs is not None
    assert len(expected.fold.open_runs.notebooks) <= 32
    assert len(expected.fold.open_runs.session_ends) <= 16
    # No end that is left out lets a run of long ago go on again.
    assert running(student_state("x", 1, expected.fold)) is None


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """What happens to a student in a few notebooks, sessions and cells: each run has an id of its own, and ends once or never."""
    made: list[Fact] = []
    for number in range(draw(st.integers(1, 30))):
        minute = draw(st.integers(1, 3 * DAY // MINUTE)) if draw(st.booleans()) else number + 1
        notebook = draw(st.sampled_from(("n1", "n2", "n3")))
        session = draw(st.sampled_from(("s1", "s2")))
        kind = draw(st.sampled_from(("run", "run", "run", "kernel_connected", "session_ended", "heartbeat")))
        at, identity = minute * MINUTE, f"{number:08x}-0000-7000-8000-0000000000"
        where = NotebookRef(notebook, f"{notebook}.ipynb")
        if kind != "run":
            ends = draw(st.booleans())
            made.append(Fact(at, f"{identity}00", kind, session, number, where, occurred=at, ends_runs=ends))
            continue
        cell = CellRef(draw(st.sampled_from("ab")), 0)
        run = f"run {number}"
        made.append(Fact(at, f"{identity}00", "cell_execution_started", session, number, where, cell, run, occurred=at))
        if draw(st.booleans()):
            after = at + draw(st.integers(1, 10 * MINUTE))
            made.append(
                Fact(after, f"{identity}01", "cell_executed", session, number, where, cell, run, "ok", occurred=after)
            )
    return made


def going_on(facts: Iterable[Fact]) -> list[Fact]:
    """Return the starts of the runs that go on, the first first: the specification, read from all facts at once."""
    known = sorted(facts, key=fact_key)
    ended = {each.execution for each in known if each.type == "cell_executed"}
    found = []
    for position, begun in enumerate(known):
        if begun.type != "cell_execution_started" or begun.execution in ended:
            continue
        later = known[position + 1 :]
        seen = max(each.at for each in known if each.session == begun.session)
        if known[-1].at - seen > DAY:
            continue
        if not any(
            (each.notebook == begun.notebook and each.type == "cell_execution_started")
            or (each.notebook == begun.notebook and each.type == "kernel_connected" and each.ends_runs)
            or (each.session == begun.session and each.type == "session_ended" and each.ends_runs)
            for each in later
        ):
            found.append(begun)
    return found


@settings(max_examples=400)
@given(st.data())
def test_running_says_that_a_run_began_and_nothing_ended_it_whatever_the_order(data: st.DataObject) -> None:
    made = data.draw(histories())
    store = MemoryFacts()
    arriving = data.draw(st.permutations(made + data.draw(st.lists(st.sampled_from(made), max_size=10))))
    while arriving:
        size = data.draw(st.integers(1, len(arriving)))
        store.apply(arriving[:size])
        arriving = arriving[size:]
    state = student_state("x", 1, store.record.fold)
    expected = going_on(made)
    assert (state.status == "running") is bool(expected)
    if expected:
        assert (state.running_notebook, state.running_cell) == (expected[0].notebook, expected[0].cell)
        assert store.record.fold.running is not None
        assert store.record.fold.running.key == fact_key(expected[0])
