"""Loading: inserts the new facts of a batch and reads, under its students' locks, all that ``derivation.reduce`` needs.

What is stored of the sessions is read before, because the times of the new facts depend on it (``derivation.placing``).

A batch costs a constant number of statements, however many students it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.cells import CellKey
from cell_monitor_core.derivation.help import turns_of_student
from cell_monitor_core.derivation.placing import Arrival, Neighbours, is_late, place
from cell_monitor_core.derivation.records import StudentRecord, group_by_cell
from cell_monitor_core.derivation.reduce import Loaded, NewFact, Student, StudentInput, StudentKey
from cell_monitor_core.storage.postgres import help_requests, student_states
from cell_monitor_core.storage.postgres.event_rows import FactRow, insert_facts, load_neighbours
from cell_monitor_core.storage.postgres.pool import Connection
from cell_monitor_core.storage.postgres.versions import FIRST_VERSION

__all__ = ["load"]


async def load(
    connection: Connection, keyring: KeyRing, rows: Sequence[FactRow], students: dict[StudentKey, Student]
) -> tuple[Loaded, Sequence[FactRow]]:
    """Insert the facts of a batch and load what derives from them; return that and the rows that were new.

    Args:
        connection: in a transaction.
        keyring: encrypts payloads, reads texts.
        rows: of ``students``, or of none.
        students: locked.
    """
    loaded = Loaded(0, {student: StudentInput(row) for student, row in students.items()})
    by_student: dict[StudentKey, list[FactRow]] = {}
    for row in rows:
        if row.student is not None:
            by_student.setdefault(row.student, []).append(row)
    await _load_folds(connection, loaded.students, by_student)
    await _place(connection, loaded.students, by_student)
    new_rows = await insert_facts(connection, keyring, sorted(rows, key=lambda row: row.key))
    for row in rows:
        if row.student is not None:
            loaded.students[row.student].facts.append(row.fact)
    for row in new_rows:
        if row.student is not None:
            loaded.students[row.student].new.append(NewFact(row.fact, row.record.received_at, row.text))
    await _load_histories(connection, {key: given for key, given in loaded.students.items() if given.new})
    asking = {key: given for key, given in loaded.students.items() if given.concerns_help}
    if asking:
        loaded.first_version = await connection.fetchval(f"SELECT {FIRST_VERSION}")
        await _load_help(connection, keyring, asking)
    return loaded, new_rows


async def _load_folds(
    connection: Connection, students: Mapping[StudentKey, StudentInput], rows: Mapping[StudentKey, list[FactRow]]
) -> None:
    """Load the folds of the cells and sessions that facts name."""
    if not rows:
        return
    cells = [(key, cell) for key, own in rows.items() for cell in group_by_cell(row.fact for row in own)]
    sessions = [(key, session) for key, own in rows.items() for session in {row.fact.session for row in own}]
    cell_folds, session_folds = await student_states.load_folds(connection, cells, sessions)
    for (key, cell), cell_fold in zip(cells, cell_folds, strict=True):
        if cell_fold is not None:
            students[key].cells[cell] = cell_fold
    for (key, session), session_fold in zip(sessions, session_folds, strict=True):
        if session_fold is not None:
            students[key].sessions[session] = session_fold


async def _place(
    connection: Connection, students: Mapping[StudentKey, StudentInput], rows: Mapping[StudentKey, list[FactRow]]
) -> None:
    """Give facts their times; those that are stored already keep theirs, since nothing is inserted of them."""
    late = [
        (key, row.fact.session, row.fact.seq, students[key].sessions[row.fact.session].first or 1)
        for key, own in rows.items()
        for row in own
        if is_late(row.fact, students[key].sessions.get(row.fact.session))
    ]
    neighbours: dict[StudentKey, dict[tuple[str, int], Neighbours]] = {}
    if late:
        for (student, session, seq), near in (await load_neighbours(connection, late)).items():
            neighbours.setdefault(student, {})[session, seq] = near
    for key, own in rows.items():
        arrivals = [Arrival(row.fact, row.record.received_at) for row in own]
        placed = place(arrivals, students[key].sessions, neighbours.get(key, {}))
        for row, fact in zip(own, placed, strict=True):
            row.fact = fact


async def _load_histories(connection: Connection, students: Mapping[StudentKey, StudentInput]) -> None:
    """Load the histories of the cells that must be folded again."""
    runs = {key: group_by_cell(new.fact for new in given.new) for key, given in students.items()}
    late: list[tuple[StudentKey, CellKey]] = [
        (key, cell)
        for key, given in students.items()
        for cell in StudentRecord(cells=given.cells).late_cells(runs[key])
    ]
    if late:
        histories = await student_states.load_histories(connection, late)
        for (key, cell), facts in zip(late, histories, strict=True):
            students[key].histories[cell] = facts


async def _load_help(connection: Connection, keyring: KeyRing, students: dict[StudentKey, StudentInput]) -> None:
    inputs = await help_requests.load_facts(connection, list(students))
    wanted = {}
    for key, given in students.items():
        given.help = inputs[key]
        given.help.messages = {
            new.fact.id: new.text for new in given.new if new.text and new.fact.type == "help_requested"
        }
        wanted[key] = given.concerned_requests(turns_of_student(given.help.facts))
    await help_requests.load_requests(connection, keyring, inputs, wanted)
