"""Derived state as a function of stored facts (docs/adr/0003): pure, no input or output.

``facts`` reads an event, ``reduce`` is the step from what is stored and new to what has to be saved; ``students``,
``cells``, ``sessions`` and ``help`` hold the rules, and ``shown_state`` is what is shown of a student.
"""

from __future__ import annotations

from cell_monitor_core.derivation.attention import Reason, ReasonKind, reasons_for, stuck_cell
from cell_monitor_core.derivation.cells import RUN_TYPES, CellFold, CellKey, cell_key, fold_cell
from cell_monitor_core.derivation.facts import (
    Fact,
    FactError,
    ReadEvent,
    decode_fact,
    encode_fact,
    fact_key,
    moment,
    read_event,
    rfc3339,
)
from cell_monitor_core.derivation.help import HelpAction, HelpActionKind, HelpOutcome, help_outcome
from cell_monitor_core.derivation.records import StudentRecord, Touched, fold_all, group_by_cell
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.derivation.shown_state import student_state
from cell_monitor_core.derivation.students import StudentFold
from cell_monitor_core.derivation.thresholds import Thresholds
from cell_monitor_core.derivation.thresholds import bounds as threshold_bounds
from cell_monitor_core.derivation.words import (
    has_left,
    has_started,
    is_active,
    is_here,
    is_quiet,
    is_running,
    left_waiting,
    needs_help,
)

__all__ = [
    "RUN_TYPES",
    "CellFold",
    "CellKey",
    "Fact",
    "FactError",
    "HelpAction",
    "HelpActionKind",
    "HelpOutcome",
    "ReadEvent",
    "Reason",
    "ReasonKind",
    "SessionFold",
    "StudentFold",
    "StudentRecord",
    "Thresholds",
    "Touched",
    "cell_key",
    "decode_fact",
    "encode_fact",
    "fact_key",
    "fold_all",
    "fold_cell",
    "group_by_cell",
    "has_left",
    "has_started",
    "help_outcome",
    "is_active",
    "is_here",
    "is_quiet",
    "is_running",
    "left_waiting",
    "moment",
    "needs_help",
    "read_event",
    "reasons_for",
    "rfc3339",
    "stuck_cell",
    "student_state",
    "threshold_bounds",
]
