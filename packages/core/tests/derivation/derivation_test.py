"""Derived state must be a function of the set of facts: no order, repetition or split into batches may show."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_monitor_core.derivation.facts import (
    ErrorClass,
    Fact,
    FactError,
    OutlineCell,
    decode_fact,
    encode_fact,
    fact_key,
    read_event,
)
from cell_monitor_core.derivation.records import fold_all
from cell_monitor_core.derivation.shown_state import student_state
from cell_monitor_core.publications import CellRef, ErrorRef, KernelDeathsRef, NotebookRef
from cell_monitor_testing.memory_facts import MemoryFacts
from cell_monitor_testing.traffic import class_traffic

GOLDEN = json.loads(Path(__file__).parents[4].joinpath("tests/contract/golden/events.json").read_text())

TYPES = (
    "session_started",
    "session_ended",
    "notebook_opened",
    "notebook_closed",
    "cell_selected",
    "cell_edited",
    "cell_execution_started",
    "cell_execution_started",
    "cell_executed",
    "cell_executed",
    "cell_executed",
    "kernel_restarted",
    "kernel_died",
    "kernel_connected",
    "notebook_renamed",
    "cell_added",
    "cell_removed",
    "help_requested",
    "heartbeat",
)
WITH_CELL = {
    "cell_selected",
    "cell_edited",
    "cell_added",
    "cell_removed",
    "cell_execution_started",
    "cell_executed",
}


@st.composite
def facts(draw: st.DrawFn) -> list[Fact]:
    """Facts with few times, cells, sessions and executions, so that ties and collisions are the rule."""
    made = []
    for number in range(draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(TYPES))
        notebook = draw(st.sampled_from(("n1", "n2")))
        status = draw(st.sampled_from(("ok", "error", "aborted"))) if kind == "cell_executed" else None
        died = kind in ("kernel_restarted", "kernel_died") and draw(st.booleans())
        has_cell = kind in WITH_CELL or (died and draw(st.booleans()))
        made.append(
            Fact(
                at=draw(st.integers(1, 30)),
                id=f"{number:08x}-0000-7000-8000-000000000000",
                type=kind,
                session=draw(st.sampled_from(("s1", "s2", "s3"))),
                seq=draw(st.integers(1, 50)),
                notebook=NotebookRef(notebook, f"{notebook}-{number}.ipynb"),
                cell=CellRef(draw(st.sampled_from(("a", "b"))), number) if has_cell else None,
                execution=draw(st.sampled_from("pqrstuvw")) if "execut" in kind else None,
                status=status,
                error=ErrorClass(draw(st.sampled_from(("NameError", "TypeError")))) if status == "error" else None,
                occurred=draw(st.none() | st.integers(-(10**15), 10**15)),
                kernel_death=died,
                ends_runs=draw(st.booleans()),
                place_lag_ms=draw(st.sampled_from((0, 2))) if kind == "cell_edited" else 0,
                listed={"cell_added": 1, "cell_removed": -2}.get(kind, 0),
                removed=draw(st.sampled_from((("a",), ("a", "b")))) if kind == "cell_removed" else (),
                restored=draw(st.sampled_from(((), ("a",), ("a", "b")))) if kind == "cell_added" else (),
            )
        )
    return made


@settings(max_examples=400)
@given(st.data())
def test_no_order_repetition_or_split_into_batches_shows(data: st.DataObject) -> None:
    made = data.draw(facts())
    received = {fact.id: data.draw(st.integers(1, 300_000)) for fact in made}
    expected = fold_all(made, last_received_at=max(received.values()))

    repeated = made + data.draw(st.lists(st.sampled_from(made), max_size=20))
    shuffled = data.draw(st.permutations(repeated))
    store = MemoryFacts(received)
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        store.apply(shuffled[:size])
        shuffled = shuffled[size:]

    assert store.record == expected
    assert student_state("x", 1, store.record.fold) == student_state("x", 1, expected.fold)


def test_a_whole_class_shuffled_gives_what_its_order_gives() -> None:
    for student in class_traffic(students=5, events=2000, course="c1", seed=7):
        made = [read_event(json.dumps(event).encode(), 2**42).fact for event in student.events]
        expected = fold_all(made)
        assert expected.fold.missing == 0
        random.Random(1).shuffle(made)
        store = MemoryFacts()
        for start in range(0, len(made), 37):
            store.apply(made[start : start + 37])
        assert store.record == expected


def _run(at: int, cell: str, status: str, *, error: str | None = None, execution: str = "e") -> Fact:
    return Fact(
        at=at,
        id=f"{at:08x}-0000-7000-8000-000000000000",
        type="cell_executed",
        session="s",
        seq=at,
        notebook=NotebookRef("n", "n.ipynb"),
        cell=CellRef(cell, 0),
        execution=execution,
        status=status,  # type: ignore[arg-type]
        error=ErrorClass(error) if error else None,
    )


def _start(at: int, cell: str, execution: str = "e", session: str = "s") -> Fact:
    return Fact(
        at, f"{at:08x}-0000-7000-8000-000000000000", "cell_execution_started", session, at,
        NotebookRef("n", "n.ipynb"), CellRef(cell, 0), execution,
    )  # fmt: skip


def _other(at: int, kind: str, session: str = "s") -> Fact:
    return Fact(at, f"{at:08x}-0000-7000-8000-000000000000", kind, session, at, NotebookRef("n", "n.ipynb"))


def _shown(*made: Fact):
    return student_state("x", 1, fold_all(made).fold)


def test_a_streak_counts_failures_since_the_last_success_and_forgets_the_class_when_it_changes() -> None:
    state = _shown(
        _run(1, "a", "error", error="KeyError"),
        _run(2, "a", "ok"),
        _run(3, "a", "error", error="NameError"),
        _run(4, "a", "aborted"),
        _run(5, "a", "error", error="NameError"),
    )
    assert (state.error_streak, state.streak_error, state.streak_since) == (2, "NameError", "1970-01-01T00:00:00.003Z")
    assert (state.runs, state.errors, state.aborted, state.cells_ok) == (5, 3, 1, 0)
    mixed = _shown(_run(1, "a", "error", error="NameError"), _run(2, "a", "error", error="TypeError"))
    assert (mixed.error_streak, mixed.streak_error) == (2, None)


def test_cells_aborted_by_run_all_do_not_hide_the_error_that_aborted_them() -> None:
    state = _shown(_run(1, "a", "error", error="NameError"), _run(2, "b", "aborted"), _run(3, "c", "aborted"))
    assert state.status == "error"
    assert state.last_execution is not None
    assert state.last_execution.error == ErrorRef("NameError")
    assert state.error_streak == 1


def test_a_run_goes_on_until_its_own_end() -> None:
    assert _shown(_start(1, "a", "p")).status == "running"
    assert _shown(_start(1, "a", "p"), _start(2, "a", "q"), _run(3, "a", "ok", execution="p")).status == "running"
    ended = _shown(_start(1, "a", "p"), _start(2, "a", "q"), _run(3, "a", "ok", execution="q"))
    assert (ended.status, ended.running_since) == ("ok", None)
    # The clock was set back while the cell ran.
    assert _shown(_run(1, "a", "ok", execution="p"), _start(2, "a", "p")).status == "ok"


@pytest.mark.parametrize(
    "kind", ["kernel_restarted", "kernel_died", "kernel_connected", "session_ended", "session_started"]
)
def test_no_run_outlives_what_ran_it(kind: str) -> None:
    assert _shown(_start(1, "a"), _other(2, kind)).status == "working"
    assert _shown(_other(1, kind), _start(2, "a")).status == "running"


@pytest.mark.parametrize("kind", ["session_ended", "session_started"])
def test_opening_or_leaving_the_notebook_does_not_hide_a_run_whose_end_will_be_reported(kind: str) -> None:
    event = msgspec.structs.replace(_other(2, kind, session="s"), ends_runs=False)
    assert _shown(_start(1, "a"), event).status == "running"
    assert _shown(_start(1, "a"), event, _run(3, "a", "error", error="NameError")).status == "error"


def test_closing_one_tab_does_not_end_the_run_in_another() -> None:
    assert _shown(_start(1, "a"), _other(2, "session_ended", session="other")).status == "running"


def _death(at: int, cell: str | None = None) -> Fact:
    place = CellRef(cell, 0) if cell else None
    return msgspec.structs.replace(_other(at, "kernel_restarted"), cell=place, kernel_death=True)


def test_deaths_of_the_kernel_count_for_the_cell_that_ran_until_a_run_of_it_ends_by_itself() -> None:
    killed = (_run(1, "a", "ok"), _death(2, "a"), _run(3, "b", "ok"), _run(4, "a", "aborted"), _death(5, "a"))
    deaths = _shown(*killed).kernel_deaths
    # The cells that have to be run again after each restart do not reset the count.
    assert deaths == KernelDeathsRef(2, "1970-01-01T00:00:00.002Z", NotebookRef("n", "n.ipynb"), CellRef("a", 0))
    assert _shown(*killed, _run(6, "a", "error", error="NameError")).kernel_deaths is None
    other = _shown(*killed, _death(6, "b")).kernel_deaths
    assert other is not None
    assert (other.count, other.cell) == (1, CellRef("b", 0))


def test_deaths_of_which_the_sender_names_no_cell_count_since_a_run_ended_by_itself() -> None:
    killed = [
        (_start(n, "a", f"e{n}"), _run(n + 1, "a", "aborted", execution=f"e{n}"), _death(n + 2)) for n in (1, 4, 7)
    ]
    place = _other(1, "notebook_opened")
    deaths = _shown(place, *(fact for facts in killed for fact in facts)).kernel_deaths
    assert deaths is not None
    assert (deaths.count, deaths.since, deaths.cell) == (3, "1970-01-01T00:00:00.003Z", CellRef("a", 0))
    assert _shown(*killed[0], _run(4, "b", "ok")).kernel_deaths is None


def _removed(at: int, *cells: str) -> Fact:
    return msgspec.structs.replace(_other(at, "cell_removed"), cell=CellRef(cells[0], 0), removed=cells)


def test_deaths_are_no_reason_any_more_once_their_cell_was_removed_until_it_kills_the_kernel_again() -> None:
    killed = (_death(2, "a"), _death(5, "a"), _death(8, "a"))
    assert _shown(*killed, _removed(9, "b", "a")).kernel_deaths is None
    # Another cell, and a cell that was put back before it killed the kernel.
    for other in (_removed(9, "b"), _removed(1, "a"), _removed(7, "a")):
        kept = _shown(*killed, other).kernel_deaths
        assert kept is not None
        assert (kept.count, kept.cell) == (3, CellRef("a", 0))
    # A cell of another notebook that has the same id.
    copy = msgspec.structs.replace(_removed(9, "a"), notebook=NotebookRef("copy", "copy.ipynb"))
    assert _shown(*killed, copy).kernel_deaths is not None
    again = _shown(*killed, _removed(9, "a"), _death(10, "a")).kernel_deaths
    assert again is not None
    assert again.count == 4


def test_nobody_is_stuck_on_a_cell_that_was_removed_until_it_fails_again() -> None:
    failed = tuple(_run(at, "a", "error", error="NameError") for at in (2, 5, 8))
    shown = _shown(*failed, _removed(9, "b", "a"))
    assert (shown.error_streak, shown.streak_error, shown.streak_since) == (0, None, None)
    # What happened is still shown.
    assert (shown.status, shown.errors) == ("error", 3)
    for other in (_removed(9, "b"), _removed(1, "a"), _removed(7, "a")):
        assert _shown(*failed, other).error_streak == 3
    copy = msgspec.structs.replace(_removed(9, "a"), notebook=NotebookRef("copy", "copy.ipynb"))
    assert _shown(*failed, copy).error_streak == 3
    # Run again, of which a sender says only that.
    assert _shown(*failed, _removed(9, "a"), _run(10, "a", "error", error="NameError")).error_streak == 4
    # A death of another kernel, before or after, changes nothing.
    for death in (_death(1, "b"), _death(6, "b"), _death(10, "b")):
        assert _shown(*failed, _removed(9, "a"), death).error_streak == 0


def _restored(at: int, *cells: str) -> Fact:
    return msgspec.structs.replace(_other(at, "cell_added"), cell=CellRef(cells[0], 0), restored=cells)


def test_a_stuck_cell_that_is_put_back_is_a_reason_again_before_it_fails_once_more() -> None:
    failed = tuple(_run(at, "a", "error", error="NameError") for at in (2, 5, 8))
    gone = (*failed, _removed(9, "a"))
    for back in (_restored(11, "a"), _restored(11, "b", "a")):
        shown = _shown(*gone, back)
        assert (shown.error_streak, shown.streak_error) == (3, "NameError")
        assert shown.streak_since == "1970-01-01T00:00:00.002Z"
    # Another cell; one that was put back before it was removed; a cell of another notebook that has the same id.
    copy = msgspec.structs.replace(_restored(11, "a"), notebook=NotebookRef("copy", "copy.ipynb"))
    for other in (_restored(11, "b"), _restored(7, "a"), copy):
        assert _shown(*gone, other).error_streak == 0
    # Redone, and undone again.
    redone = (*gone, _restored(11, "a"), _removed(12, "a"))
    assert _shown(*redone).error_streak == 0
    assert _shown(*redone, _restored(13, "a")).error_streak == 3
    # What was done meanwhile in another cell is newer.
    assert _shown(*gone, _run(10, "b", "ok"), _restored(11, "a")).error_streak == 0
    assert _shown(*gone, _run(10, "b", "ok"), _restored(11, "a"), _run(12, "a", "error")).error_streak == 4


def test_a_cell_that_killed_the_kernel_is_a_reason_again_once_it_is_put_back() -> None:
    deaths = _shown(_death(2, "a"), _death(5, "a"), _removed(9, "a"), _restored(10, "a")).kernel_deaths
    assert deaths is not None
    assert (deaths.count, deaths.cell) == (2, CellRef("a", 0))


@pytest.mark.parametrize("failing", ["b", "c", "d"])
@pytest.mark.parametrize("undone", [1, 3])
def test_a_cell_that_was_deleted_and_put_back_keeps_its_number(failing: str, undone: int) -> None:
    cells = {name: CellRef(name, index, "code", "Part A", index) for index, name in enumerate("abcd", start=1)}
    run_ = msgspec.structs.replace(_run(1, failing, "error", error="NameError"), cell=cells[failing])
    both = {"notebook": run_.notebook, "cell": cells["b"], "place": False}
    made = [run_]
    for at in range(2, 2 + 2 * undone, 2):
        made.append(Fact(at, f"{at:08}-0", "cell_removed", "s", at, **both, listed=-2, removed=("b", "c")))
        made.append(Fact(at + 1, f"{at + 1:08}-0", "cell_added", "s", at + 1, **both, listed=2, restored=("b", "c")))
    shown = _shown(*made).last_execution
    assert shown is not None
    assert shown.cell == cells[failing]
    # Pasted above the others, it has the number that it was pasted at.
    top = CellRef(failing, 0, "code", "Intro", 1)
    pasted = Fact(
        20, "00000020-0", "cell_added", "s", 20, run_.notebook, top, place=False, listed=1, restored=(failing,)
    )
    shown = _shown(*made, pasted).last_execution
    assert shown is not None
    assert shown.cell == top


@pytest.mark.parametrize(("data", "restored"), [({"count": 2, "source_ids": ["a"]}, ("a",)), ({"count": 1}, ())])
def test_only_the_cells_that_an_event_names_are_back(data: dict[str, Any], restored: tuple[str, ...]) -> None:
    # The others are new, or an older sender does not say it.
    raw = json.dumps({**GOLDEN["cell_added"], "data": data}).encode()
    fact = read_event(raw, 2**42).fact
    assert (fact.restored, fact.removed) == (restored, ())


@pytest.mark.parametrize(
    ("data", "removed"), [({"count": 2, "source_ids": ["a", "b"]}, ("a", "b")), ({"count": 1}, ())]
)
def test_only_the_cells_that_an_event_names_are_gone(data: dict[str, Any], removed: tuple[str, ...]) -> None:
    # The first of those removed is there again where its type was changed; an older sender does not say which are gone.
    raw = json.dumps({**GOLDEN["cell_removed"], "data": data}).encode()
    assert read_event(raw, 2**42).fact.removed == removed


def test_a_death_whose_sender_names_no_cell_is_never_of_a_cell_that_was_aborted_later() -> None:
    killed = (_start(1, "a", "p"), _run(2, "a", "aborted", execution="p"), _death(3))
    later = (_start(4, "b", "q"), _run(5, "b", "aborted", execution="q"))
    deaths = _shown(*killed, *later).kernel_deaths
    assert deaths is not None
    assert (deaths.count, deaths.cell) == (1, None)
    assert _shown(*killed, _removed(4, "a")).kernel_deaths is None


@pytest.mark.parametrize(
    ("kind", "data", "died"),
    [
        ("kernel_restarted", {"reason": "user"}, False),
        ("kernel_restarted", {"reason": "auto"}, True),
        ("kernel_restarted", {"reason": "auto", "running": True}, True),
        ("kernel_restarted", {"reason": "auto", "running": False}, False),
        ("kernel_restarted", {}, False),
        ("kernel_died", {}, True),
        ("kernel_died", {"running": False}, False),
    ],
)
def test_a_restart_by_the_student_or_seen_by_a_page_without_runs_is_no_death(
    kind: str, data: dict[str, Any], died: bool
) -> None:
    raw = json.dumps({**GOLDEN[kind], "data": data}).encode()
    assert read_event(raw, 2**42).fact.kernel_death is died


def test_an_error_that_the_author_expects_is_no_failure() -> None:
    event = GOLDEN["cell_executed"]
    assert event["data"]["status"] == "error"
    assert read_event(json.dumps(event).encode(), 2**42).fact.status == "error"
    expected = {**event, "data": {**event["data"], "error_expected": True}}
    read = read_event(json.dumps(expected).encode(), 2**42)
    assert (read.fact.status, read.fact.error, read.text) == ("ok", None, None)
    state = _shown(*(msgspec.structs.replace(read.fact, at=n, id=f"{n:08x}") for n in (1, 2, 3)))
    assert (state.status, state.error_streak, state.errors, state.runs) == ("ok", 0, 0, 3)


def test_a_session_that_comes_back_is_open_and_gaps_are_counted() -> None:
    made = [_other(1, "session_started"), _other(2, "session_ended")]
    assert _shown(*made).sessions_open == 0
    state = _shown(*made, _other(5, "heartbeat"))
    assert (state.sessions_open, state.missing) == (1, 2)


def test_a_heartbeat_is_no_activity() -> None:
    assert _shown(_other(1, "heartbeat")).status == "waiting"
    assert _shown(_other(1, "cell_edited"), _other(9, "heartbeat")).last_activity_at == "1970-01-01T00:00:00.001Z"


def _renamed(at: int, notebook_id: str, path: str) -> Fact:
    return Fact(at, f"{at:08}-0000", "notebook_renamed", "s", 1, NotebookRef(notebook_id, path), place=False)


def test_a_renamed_notebook_has_its_new_name_wherever_it_is_shown() -> None:
    place = _other(1, "cell_selected")
    assert place.notebook is not None
    name = place.notebook.id
    made = [
        place,
        _start(2, "a"),
        _run(3, "a", "error", error="KeyError"),
        _start(4, "b"),
        _renamed(5, name, "new.ipynb"),
    ]
    for order in itertools.permutations(made):
        shown = _shown(*order)
        assert shown.notebook is not None
        assert shown.running_notebook is not None
        assert shown.last_execution is not None
        assert shown.last_execution.notebook is not None
        named = (shown.notebook, shown.running_notebook, shown.last_execution.notebook)
        assert {(each.id, each.path) for each in named} == {(name, "new.ipynb")}
    # The end of a run that the page left to the server half has the name of its start, and a copy is saved under its own.
    late = _shown(
        *made,
        msgspec.structs.replace(_run(6, "a", "ok"), place=False),
        _named(_other(7, "notebook_saved"), "copy.ipynb"),
    )
    assert late.notebook is not None
    assert late.last_execution is not None
    assert late.last_execution.notebook is not None
    assert (late.notebook.path, late.last_execution.notebook.path) == ("new.ipynb", "new.ipynb")
    # What is older, and what is of another notebook, renames nothing.
    other = _shown(*made[:-1], _renamed(0, name, "older.ipynb"), _renamed(6, "another", "another.ipynb"))
    assert other.notebook == place.notebook


@pytest.mark.parametrize("kind", ["notebook_opened", "cell_selected", "cell_edited"])
def test_a_notebook_that_was_renamed_while_it_was_closed_has_one_name(kind: str) -> None:
    # No event renames it: the page that opens it finds it under another name.
    made = [_start(1, "a"), _run(2, "a", "error", error="KeyError"), _named(_other(3, kind), "new.ipynb")]
    for order in itertools.permutations(made):
        run_ = _shown(*order).last_execution
        assert run_ is not None
        assert run_.notebook is not None
        assert run_.notebook.path == "new.ipynb"


def _named(fact: Fact, path: str) -> Fact:
    assert fact.notebook is not None
    return msgspec.structs.replace(fact, notebook=NotebookRef(fact.notebook.id, path))


def test_the_names_of_notebooks_do_not_grow_the_fold_without_bound() -> None:
    names = fold_all([_renamed(n, f"n{n}", "x") for n in range(1, 100)]).fold.notebook_names
    assert names is not None
    assert len(names) == 32
    assert "n99" in names


def test_the_error_of_a_removed_cell_is_neither_named_nor_numbered_like_the_cell_at_its_place() -> None:
    cells = {name: CellRef(name, index, "code", "Q", index) for index, name in enumerate("abcd", start=1)}
    failed = msgspec.structs.replace(_run(1, "c", "error", error="ZeroDivisionError"), cell=cells["c"])

    def changed(at: int, first: str, listed: int, **named: Any) -> Fact:
        both = {"notebook": failed.notebook, "cell": cells[first], "place": False, "listed": listed}
        return Fact(at, f"{at:08}-0", "cell_added" if listed > 0 else "cell_removed", "s", at, **both, **named)

    gone = changed(2, "c", -1, removed=("c",))
    above = changed(3, "a", -1, removed=("a",))
    for order in itertools.permutations([failed, gone, above]):
        shown = _shown(*order).last_execution
        assert shown is not None
        # Without "a" cell "d" is now number 2 below Q, as "c" would be.
        assert (shown.cell, shown.cell_removed) == (cells["c"], True)
    # It was described again as it was removed: its own heading was gone, and it would be the third cell below another one.
    headed = msgspec.structs.replace(failed, cell=CellRef("c", 3, "code", "X", 1))
    removed = _shown(headed, gone).last_execution
    assert removed is not None
    assert removed.cell == headed.cell
    back = _shown(failed, gone, above, changed(4, "b", 1, restored=("c",))).last_execution
    assert back is not None
    assert not back.cell_removed
    there = _shown(failed, above).last_execution
    assert there is not None
    assert there.cell is not None
    assert (there.cell.ordinal, there.cell_removed) == (2, False)


def test_a_cell_has_one_number_although_cells_were_inserted_above_it() -> None:
    failed = _run(1, "a", "error", error="KeyError")
    assert failed.notebook is not None
    assert failed.cell is not None
    below = msgspec.structs.replace(failed.cell, index=failed.cell.index + 2)
    added = Fact(
        2, "00000002-0000", "cell_added", "s", 1, failed.notebook, CellRef("new", 0, "markdown"), place=False, listed=1
    )
    selected = Fact(3, "00000003-0000", "cell_selected", "s", 1, failed.notebook, below)
    for order in itertools.permutations([failed, added, selected]):
        shown = _shown(*order)
        assert shown.last_execution is not None
        assert shown.cell == shown.last_execution.cell == below
    # A run is newer than the act before it.
    again = msgspec.structs.replace(failed, at=4, id="00000004-0000")
    shown = _shown(failed, added, selected, again)
    assert shown.last_execution is not None
    assert shown.last_execution.cell == failed.cell


def test_what_is_shown_of_facts_that_early_releases_stored_is_what_they_derived() -> None:
    # ``rebuild --check`` finds no difference after an upgrade.
    failed = _run(1, "a", "error", error="KeyError")
    where = CellRef("a", 7)
    for kind in ("cell_selected", "cell_added", "cell_removed"):
        shown = _shown(failed, Fact(2, "00000002-0000", kind, "s", 1, failed.notebook, where))
        assert shown.last_execution is not None
        assert shown.last_execution.cell == failed.cell
        assert shown.cell == where


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        # (index of the first, count, its type and heading, its number below that) each, and what the failed cell has then.
        ([(0, 2, "code", None, None)], (6, 2)),
        ([(4, 1, "code", "Loops", 2)], (5, 3)),
        ([(3, 1, "code", "Loops", 1)], (5, 3)),
        ([(3, 1, "markdown", "Loops", None)], (5, 2)),
        ([(5, 3, "code", "Loops", 3)], (4, 2)),
        ([(1, -2, "code", "Loops", 1)], (2, 1)),
        ([(2, -3, "code", "Loops", 1)], (4, 2)),
        ([(4, -1, "code", "Loops", 2)], (4, 2)),
        ([(3, 1, "code", "Loops", 1), (0, -1, "markdown", "Week", None)], (4, 3)),
    ],
)
def test_the_number_of_a_failed_cell_follows_the_cells_added_and_removed_above_it(
    changes: list[tuple[int, int, str, str | None, int | None]], number: tuple[int, int]
) -> None:
    where = CellRef("a", 4, "code", "Loops", 2)
    failed = msgspec.structs.replace(_run(1, "a", "error", error="KeyError"), cell=where)
    made = [failed]
    for at, (index, count, kind, heading, ordinal) in enumerate(changes, start=2):
        first = CellRef(f"new-{at}", index, kind, heading, ordinal)
        name = "cell_added" if count > 0 else "cell_removed"
        made.append(Fact(at, f"{at:08}-0", name, "s", at, failed.notebook, first, place=False, listed=count))
    elsewhere = Fact(9, "00000009-0", "cell_added", "s", 9, NotebookRef("m", "m.ipynb"), where, place=False, listed=5)
    before = Fact(0, "00000000-0", "cell_added", "s", 9, failed.notebook, where, place=False, listed=5)
    for order in itertools.permutations([*made, elsewhere, before]):
        run = _shown(*order).last_execution
        assert run is not None
        assert run.cell is not None
        assert (run.cell.index, run.cell.ordinal) == number


def test_many_notebooks_do_not_grow_the_fold_without_bound() -> None:
    made = [
        Fact(at, f"{at:08x}-0000-7000-8000-000000000000", "kernel_died", "s", at, NotebookRef(f"n{at}", "n.ipynb"))
        for at in range(1, 500)
    ]
    runs = fold_all(made).fold.open_runs
    assert runs is not None
    assert len(runs.notebooks) == 32


def _event(**changes: object) -> bytes:
    event = {
        "event_id": "01a20c76-ce4a-766b-9509-9c44f2410b3f",
        "type": "cell_executed",
        "schema_version": 1,
        "occurred_at": "2026-04-01T09:00:00.1239Z",
        "session_id": "01a20c76-ce4a-766b-9509-9c44f2410b30",
        "seq": 3,
        "notebook": {"id": "n", "path": "p", "title": None, "future": [1]},
        "cell": {"id": "x", "source_id": "a", "index": 1, "type": "code"},
        "data": {
            "execution_id": "01a20c76-ce4a-766b-9509-9c44f2410b31",
            "status": "error",
            "code": "1/0",
            "outputs": [],
            "error": {"name": "ZeroDivisionError", "value": "v" * 1000, "traceback": "t"},
        },
        **changes,
    }
    return json.dumps(event).encode()


RECEIVED = 1_775_034_000_500


def test_a_fact_holds_nothing_that_only_a_person_reads() -> None:
    fact, text = read_event(_event(), RECEIVED)
    encoded = encode_fact(fact)
    assert b"1/0" not in encoded
    assert b"vvv" not in encoded
    assert fact.error == ErrorClass("ZeroDivisionError")
    assert text == "v" * 200
    assert (fact.at, fact.occurred) == (RECEIVED, 1_775_034_000_123)
    assert decode_fact(encode_fact(fact)) == fact


def test_the_outline_of_an_opened_notebook_is_a_fact() -> None:
    cell = {"id": "x", "source_id": "a", "index": 0, "type": "markdown", "heading": "Loops"}
    fact = read_event(_event(type="notebook_opened", cell=None, data={"cells": [cell]}), RECEIVED).fact
    assert fact.outline == (OutlineCell("x", "a", 0, "markdown", "Loops"),)
    assert decode_fact(encode_fact(fact)) == fact


@pytest.mark.parametrize("occurred_at", ["0001-01-01T00:00:00Z", "2199-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
def test_a_wrong_clock_decides_nothing(occurred_at: str) -> None:
    fact = read_event(_event(occurred_at=occurred_at), RECEIVED, waited_ms=1500).fact
    assert fact.at == RECEIVED - 1500
    assert decode_fact(encode_fact(fact)) == fact


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\x00b", "a\ufffdb"), ("\\u0000", "\\u0000"), ("\\\x00", "\\\ufffd"), ("\x00\x00", "\ufffd\ufffd")],
)
def test_an_escaped_nul_becomes_a_replacement_character_and_text_that_looks_like_one_stays(
    text: str, expected: str
) -> None:
    fact = read_event(_event(notebook={"id": "n", "path": text}), RECEIVED).fact
    assert fact.notebook == NotebookRef("n", expected)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        _event(seq=0),
        _event(type="Cell exploded"),
        _event(occurred_at="2026-02-31T09:00:00Z"),
    ],
)
def test_invalid_events_are_distinguished(raw: bytes) -> None:
    with pytest.raises(FactError) as caught:
        read_event(raw, RECEIVED)
    assert caught.value.reason == "invalid_event"


@given(facts())
def test_stored_facts_read_back_equal_and_order_by_time_then_number_then_id(made: list[Fact]) -> None:
    assert [decode_fact(encode_fact(fact)) for fact in made] == made
    ordered = sorted(made, key=fact_key)
    # Facts of a release that took the sender's clock keep the order that they had: by time and id.
    numbered = sorted((fact.at, 0 if fact.occurred is None else fact.seq, fact.id) for fact in made)
    assert [fact.id for fact in ordered] == [key[2] for key in numbered]
