"""One batch of events, reduced: from what was loaded under the students' locks to what has to be saved.

Pure: the same ``Loaded`` always gives the same ``Changes``. Everything is derived here; loading and saving decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

import msgspec

from cell_monitor_core.derivation.cells import CellFold, CellKey
from cell_monitor_core.derivation.facts import Fact
from cell_monitor_core.derivation.help import HelpTurn, affected_requests, concerns_help, turns_of_student
from cell_monitor_core.derivation.help_reduction import (
    HelpInput,
    StoredRequest,
    active_help,
    help_state,
    reduce_help,
    renamed_requests,
)
from cell_monitor_core.derivation.notebook_names import newly_named
from cell_monitor_core.derivation.records import StudentRecord, group_by_cell
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.derivation.shown_state import student_state, with_error_text
from cell_monitor_core.derivation.students import StudentFold
from cell_monitor_core.publications import HelpState, StudentState

__all__ = [
    "Changes",
    "Loaded",
    "NewFact",
    "Student",
    "StudentInput",
    "StudentKey",
    "reduce",
]

StudentKey: TypeAlias = tuple[str, UUID]
"""(course id, person id)."""


@dataclass(slots=True)
class Student:
    """A student's row.

    Attributes:
        version: grows by one with each change of what is shown.
        fold: the reducer's own state.
        state: what is shown, without the error's text.
        error_text: the text of the shown run's error; None where there is none, or it was deleted.
        sealed: the same as it is stored, encrypted; None where it is not stored yet.
        enrolled: whether the person is a student of the course now: what concerns others is derived and not shown.
    """

    version: int
    fold: StudentFold
    state: StudentState
    error_text: str | None = None
    sealed: bytes | None = None
    enrolled: bool = True

    def advance(self, student_id: str, texts: Mapping[str, str]) -> bool:
        """Take the state that the fold gives now; return whether anything that is shown changed.

        Args:
            student_id: the person's id.
            texts: of the new runs' errors, by event id.
        """
        state = student_state(student_id, self.version, self.fold)
        if state == self.state:
            return False
        before, run = self.state.last_execution, state.last_execution
        if run is None or before is None or run.event_id != before.event_id:
            self.error_text = None if run is None or run.error is None else texts.get(run.event_id)
            self.sealed = None
        self.version += 1
        self.state = msgspec.structs.replace(state, version=self.version)
        return True

    @property
    def published(self) -> StudentState:
        """The state with the error's text."""
        return with_error_text(self.state, self.error_text)


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact that was not stored before.

    Attributes:
        received_at: milliseconds since the epoch, the API's clock.
        text: a help request's message or an error's text.
    """

    fact: Fact
    received_at: int
    text: str | None = None


@dataclass(slots=True)
class StudentInput:
    """One student of a batch.

    Attributes:
        student: the locked row.
        facts: of all the batch's events, those stored before included.
        new: those that were not stored before.
        cells: stored folds of the cells that new facts name; likewise ``sessions``.
        histories: of cells that must be folded again, all runs in the canonical order, the new ones included.
        help: None where no fact concerns help.
    """

    student: Student
    facts: list[Fact] = field(default_factory=list)
    new: list[NewFact] = field(default_factory=list)
    cells: dict[CellKey, CellFold] = field(default_factory=dict)
    sessions: dict[str, SessionFold] = field(default_factory=dict)
    histories: dict[CellKey, Sequence[Fact]] = field(default_factory=dict)
    help: HelpInput | None = None

    @property
    def concerns_help(self) -> bool:
        """Whether the batch can change a request of the student."""
        return self._returned or concerns_help(self.facts, self.student.fold.asked) or bool(self.notebooks_named)

    @property
    def notebooks_named(self) -> frozenset[str]:
        """The ids of the notebooks that the batch may give another name, where the student has an active request."""
        fold = self.student.fold
        return frozenset() if fold.help is None else newly_named(fold.notebook_names, self.facts)

    def concerned_requests(self, turns: Mapping[str, HelpTurn]) -> set[str]:
        """Return the event ids of the requests, all of which are ``turns``, that the batch can change."""
        return set(turns) if self._returned else affected_requests(turns, self.facts)

    @property
    def _returned(self) -> bool:
        """Whether a fact is of a time before a request closed itself."""
        expired = self.student.fold.help_expired_at
        return expired > 0 and any(fact.at <= expired for fact in self.facts)


@dataclass(slots=True)
class Loaded:
    """A batch, and what is stored of its students.

    Attributes:
        first_version: the version of a row that is made now; see ``storage.postgres.versions``.
    """

    first_version: int
    students: dict[StudentKey, StudentInput]


@dataclass(slots=True)
class Changes:
    """What has to be saved, and what is to be published once it is.

    Attributes:
        students: rows that changed; likewise ``cells``, ``sessions``, ``requests``.
        shown: the states of all students of the batch: what they changed may never have been published.
        help: the states of the requests that facts of the batch concern.
        counted: courses of which a counter (``publications.CourseState``) changed.
    """

    students: dict[StudentKey, Student] = field(default_factory=dict)
    cells: dict[tuple[StudentKey, CellKey], CellFold] = field(default_factory=dict)
    sessions: dict[tuple[StudentKey, str], SessionFold] = field(default_factory=dict)
    requests: list[StoredRequest] = field(default_factory=list)
    shown: list[tuple[str, StudentState]] = field(default_factory=list)
    help: list[tuple[str, HelpState]] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)


def reduce(loaded: Loaded) -> Changes:
    """Derive everything that a batch changes."""
    changes = Changes()
    for key, given in loaded.students.items():
        notebooks_named = given.notebooks_named
        if given.new:
            _reduce_runs(key, given, changes)
        help_changed = _reduce_requests(key, given, notebooks_named, loaded, changes)
        if given.new or help_changed:
            texts = {new.fact.id: new.text for new in given.new if new.text and new.fact.error is not None}
            before = _counted(given.student.state)
            given.student.advance(str(key[1]), texts)
            changes.students[key] = given.student
            if help_changed or _counted(given.student.state) != before:
                changes.counted.add(key[0])
        changes.shown.append((key[0], given.student.published))
    return changes


def _counted(state: StudentState) -> tuple[bool, int, int]:
    """Return what a student adds to the course's counters: whether anything was seen of them, runs, errors."""
    return (state.status != "waiting", state.runs, state.errors)


def _reduce_runs(key: StudentKey, given: StudentInput, changes: Changes) -> None:
    facts = [new.fact for new in given.new]
    record = StudentRecord(given.student.fold, given.cells, given.sessions)
    received = max(new.received_at for new in given.new)
    touched = record.apply(facts, group_by_cell(facts), given.histories, last_received_at=received)
    for cell, cell_fold in touched.cells.items():
        changes.cells[key, cell] = cell_fold
    for session, session_fold in touched.sessions.items():
        changes.sessions[key, session] = session_fold


def _reduce_requests(
    key: StudentKey, given: StudentInput, notebooks_named: frozenset[str], loaded: Loaded, changes: Changes
) -> bool:
    """Derive the requests that the batch concerns; return whether any changed."""
    stored = given.help
    if stored is None:
        return False
    turns = turns_of_student(stored.facts)
    concerned = given.concerned_requests(turns)
    changed = reduce_help(key, stored, concerned, loaded.first_version)
    renamed = renamed_requests(stored, changed, notebooks_named)
    changes.requests += renamed.values()
    if changed:
        changes.requests += changed.values()
        given.student.fold.help = active_help(stored, changed)
    new = {each.fact.id for each in given.new}
    superseded = {turn.supersedes for turn in turns.values()}
    for event_id in sorted(concerned | renamed.keys()):
        # A new request that is superseded already was never shown: a hundred in a batch are one publication.
        if event_id in new and event_id in superseded:
            continue
        request = changed.get(event_id) or renamed.get(event_id) or stored.stored.get(event_id)
        if request is not None:
            changes.help.append((key[0], help_state(request, given.student.fold.notebook_names)))
    return bool(changed)
